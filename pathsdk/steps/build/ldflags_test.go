package build

import "testing"

func TestLinkerFlags(t *testing.T) {
	for _, c := range []struct {
		ok    []string
		debug bool
	}{
		{nil, true}, {[]string{"-s", "-w"}, false}, {[]string{"-X main.version=1"}, true}, {[]string{"-X", "main.version=-w"}, true},
		{[]string{"-X=main.a=b -w"}, false}, {[]string{"-X=main.a=b -buildid=x"}, true},
	} {
		if debug, err := linkerFlags(c.ok); err != nil || debug != c.debug {
			t.Errorf("%q: for debuggers: %t, want %t; %v", c.ok, debug, c.debug, err)
		}
	}
	for _, bad := range [][]string{{"-extld=/bin/sh"}, {"-s -importcfg=x"}, {"-o", "x"}, {"-X"}, {"-X", "-extld=x=y"}, {"main.a=b"}, {"-linkmode=external"}} {
		if _, err := linkerFlags(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
