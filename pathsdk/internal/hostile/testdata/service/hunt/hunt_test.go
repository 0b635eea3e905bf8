package hunt

import (
	"os"
	"testing"
)

func init() { Run("hunt init") }

// TestHunt leaves a process behind that goes on when the test is over.
func TestHunt(t *testing.T) {
	Run("hunt TestHunt")
	if err := linger(); err != nil {
		t.Log(err)
	}
}

func TestMain(m *testing.M) {
	if os.Getenv("HOSTILE_LINGER") != "" {
		lingering()
	}
	os.Exit(m.Run())
}
