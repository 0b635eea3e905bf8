package oci_test

import (
	"os"
	"syscall"
	"testing"
)

// damageFile does to a file what disks and people do.
func damageFile(t *testing.T, path, how string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	switch how {
	case "flip":
		b[len(b)/2] ^= 1
		err = os.WriteFile(path, b, 0o644)
	case "cut":
		err = os.WriteFile(path, b[:len(b)-1], 0o644)
	case "remove":
		err = os.Remove(path)
	case "pipe":
		if err = os.Remove(path); err == nil {
			err = syscall.Mkfifo(path, 0o644)
		}
	default:
		t.Fatalf("unknown damage %q", how)
	}
	if err != nil {
		t.Fatal(err)
	}
}
