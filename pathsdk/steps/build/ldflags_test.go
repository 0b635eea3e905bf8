package build

import "testing"

func TestLinkerFlags(t *testing.T) {
	for _, ok := range [][]string{nil, {"-s", "-w"}, {"-X main.version=1"}, {"-X", "main.version=1"}, {"-X=main.a=b -buildid=x"}} {
		if err := linkerFlags(ok); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range [][]string{{"-extld=/bin/sh"}, {"-s -importcfg=x"}, {"-o", "x"}, {"-X"}, {"-X", "-extld=x=y"}, {"main.a=b"}, {"-linkmode=external"}} {
		if linkerFlags(bad) == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
