package kev_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/internal/kev"
)

const good = `{"title":"CISA Catalog of Known Exploited Vulnerabilities","catalogVersion":"2026.02.27",
 "dateReleased":"2026-02-27T15:00:11.5832Z","count":2,"vulnerabilities":[
 {"cveID":"CVE-2023-44487","vendorProject":"IETF","product":"HTTP/2","knownRansomwareCampaignUse":"Unknown"},
 {"cveID":"CVE-2021-44228","vendorProject":"Apache","product":"Log4j2","cwes":["CWE-20"]}]}`

func TestParse(t *testing.T) {
	got, err := kev.Parse(strings.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	want := kev.Catalog{
		Version: "2026.02.27",
		Date:    time.Date(2026, 2, 27, 15, 0, 11, 583200000, time.UTC),
		IDs:     map[string]bool{"CVE-2023-44487": true, "CVE-2021-44228": true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !got.Has("CVE-2023-44487") || got.Has("CVE-2000-0001") {
		t.Error("Has disagrees with IDs")
	}
}

func TestParseRefuses(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"empty":        {"", "JSON"},
		"cut":          {good[:len(good)-40], "JSON"},
		"trailing":     {good + "{}", "invalid"},
		"another page": {`<html>`, "invalid"},
		"object":       {`{}`, "catalogVersion"},
		"nothing":      {`{"catalogVersion":"1","dateReleased":"2026-02-27T15:00:11Z","count":0,"vulnerabilities":[]}`, "no vulnerabilities"},
		"count":        {strings.Replace(good, `"count":2`, `"count":3`, 1), "count says 3"},
		"no count":     {strings.Replace(good, `"count":2,`, ``, 1), "count"},
		"id":           {strings.Replace(good, "CVE-2021-44228", "cve-2021-44228 ", 1), "no CVE id"},
		"date":         {strings.Replace(good, "2026-02-27T", "27.2.2026 ", 1), "no time"},
		"type":         {strings.Replace(good, `"CVE-2021-44228"`, `7`, 1), "cannot unmarshal"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := kev.Parse(strings.NewReader(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := kev.Parse(endless{}); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("endless input: %v", err)
	}
	boom := errors.New("boom")
	if _, err := kev.Parse(iotest.ErrReader(boom)); !errors.Is(err, boom) {
		t.Errorf("failing reader: %v", err)
	}
}

// endless is a catalogue that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

var _ io.Reader = endless{}

func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add(`{"catalogVersion":"1","dateReleased":"2026-02-27T15:00:11Z","count":1,"vulnerabilities":[{"cveID":"CVE-2020-1234"}]}`)
	f.Add(`{"count":-1}`)
	f.Fuzz(func(t *testing.T, s string) {
		c, err := kev.Parse(strings.NewReader(s))
		if err == nil && (len(c.IDs) == 0 || c.Version == "" || c.Date.IsZero()) {
			t.Errorf("accepted %q as %+v", s, c)
		}
	})
}
