package attest

import (
	"errors"
	"testing"
	"testing/synctest"
)

// TestInTime: what never ends is given up, and what ends in time is not.
func TestInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan int)
		if _, err := inTime(t.Context(), func() (int, error) { return <-hang, nil }); !errors.Is(err, errTooLong) {
			t.Errorf("got %v", err)
		}
		close(hang)
		if n, err := inTime(t.Context(), func() (int, error) { return 42, nil }); n != 42 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
	})
}
