package scan

import (
	"strings"
	"testing"
)

// A module that only the tests need is an input of the build; a flaw in it is
// none of the image.
func TestExcludedComponentsAreNotScanned(t *testing.T) {
	doc := sbomOf("", "pkg:golang/example.com/in@v1.0.0", "pkg:golang/example.com/out@v1.0.0")
	marked := strings.Replace(doc, `"name":"example.com/out"`, `"name":"example.com/out","scope":"excluded"`, 1)
	if doc == marked {
		t.Fatalf("nothing was marked in %s", doc)
	}
	for text, want := range map[string]int{doc: 2, marked: 1} {
		bom, err := decodeFrom(t.Context(), strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, a := range bom.Applications {
			got += len(a.Packages)
		}
		if got != want {
			t.Errorf("%d packages, want %d, in %s", got, want, text)
		}
	}
}
