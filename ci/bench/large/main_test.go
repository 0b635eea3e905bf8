package main

import (
	"net/http/httptest"
	"testing"
)

func TestHello(t *testing.T) {
	w := httptest.NewRecorder()
	handler().ServeHTTP(w, httptest.NewRequest("GET", "/hello/you", nil))
	if got, want := w.Body.String(), "hello, you\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
