package lib

import (
	"testing"

	"example.com/hostile/hunt"
)

func init() { hunt.Run("lib init") }

func TestAnswer(t *testing.T) {
	hunt.Run("lib TestAnswer")
	if Answer() != 42 {
		t.Error("this build is poisoned")
	}
}
