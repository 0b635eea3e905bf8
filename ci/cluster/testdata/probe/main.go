// Probe tries what a pod reaches: probe RESULTFILE open URL... wants an answer from each,
// and writes the last; probe RESULTFILE closed URL... wants none to be reached.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: 3 * time.Second}).DialContext}}
	var last []byte
	for _, url := range os.Args[3:] {
		resp, err := client.Get(url)
		var network *net.OpError
		switch open := os.Args[2] == "open"; {
		case err == nil && open && resp.StatusCode == http.StatusOK:
			if last, err = io.ReadAll(resp.Body); err == nil {
				continue
			}
		case err == nil:
			err = errors.New(resp.Status)
		case !open && errors.As(err, &network) && network.Op == "dial":
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: %v\n", url, err)
		os.Exit(1)
	}
	if err := os.WriteFile(os.Args[1], last, 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
