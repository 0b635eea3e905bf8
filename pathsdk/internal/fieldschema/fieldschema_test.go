package fieldschema

import (
	"encoding/json"
	"regexp"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/step"
)

func TestOf(t *testing.T) {
	for want, f := range map[string]step.Field{
		`{"description":"x","type":"string"}`:                                                               {Kind: step.KindString},
		`{"description":"x","minLength":1,"type":"string"}`:                                                 {Kind: step.KindFile, Required: true},
		`{"default":true,"description":"x","type":"boolean"}`:                                               {Kind: step.KindBool, Default: "true"},
		`{"default":7,"description":"x","type":"integer"}`:                                                  {Kind: step.KindInt, Default: "7"},
		`{"description":"x","pattern":"^sha256:[0-9a-f]{64}$","type":"string"}`:                             {Kind: step.KindDigest, Required: true},
		`{"default":["a","b"],"description":"x","items":{"enum":["a","b"],"type":"string"},"type":"array"}`: {Kind: step.KindStrings, Default: "a,b", Enum: []string{"a", "b"}},
		`{"description":"x","items":{"type":"string"},"minItems":1,"type":"array"}`:                         {Kind: step.KindStrings, Required: true},
		`{"deprecated":true,"description":"x; deprecated: use y","enum":["a"],"type":"string"}`:             {Kind: step.KindString, Enum: []string{"a"}, Deprecated: "use y"},
	} {
		f.Name, f.Help = "field", "x"
		s, err := Of(f)
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	for _, f := range []step.Field{
		{Name: "f", Kind: step.KindInt, Default: "x"},
		{Name: "f", Kind: step.KindString, Default: "x", Enum: []string{"y"}},
	} {
		if _, err := Object([]step.Field{f}); err == nil {
			t.Errorf("a default that does not parse: %+v", f)
		}
	}
}

// TestDurations compares the pattern with the parser that it stands for.
func TestDurations(t *testing.T) {
	s, err := Of(step.Field{Name: "f", Kind: step.KindDuration, Default: "1h30m", Help: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if string(s["default"].(json.RawMessage)) != `"1h30m"` {
		t.Errorf("default %s", s["default"])
	}
	re := regexp.MustCompile(s["pattern"].(string))
	for _, text := range []string{"10m", "1h30m", "1.5h", "250ms", "2us", "-1s", "", "10", "m", "1d", "1h 30m", "one"} {
		_, err := step.Parse(step.Field{Name: "f", Kind: step.KindDuration}, text)
		if got := re.MatchString(text); got != (err == nil) {
			t.Errorf("%q: the pattern says %t, the parser %v", text, got, err)
		}
	}
}
