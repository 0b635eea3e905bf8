// Command large answers HTTP requests. It stands for a service with a few
// hundred dependencies: what it does is small, what it is made of is not.
package main

import (
	"fmt"
	"log"
	"net/http"
	"time"
)

func main() {
	srv := &http.Server{Addr: ":8080", Handler: handler(), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(srv.ListenAndServe())
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, %s\n", r.PathValue("name"))
	})
	return mux
}
