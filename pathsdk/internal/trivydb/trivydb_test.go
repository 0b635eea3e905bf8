package trivydb_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aquasecurity/trivy-db/pkg/db"
	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/internal/trivydb"
	"github.com/pavedpaths/paths/pathsdk/step"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const demo = "../../../examples/vulndb"

func makeDB(t *testing.T, advisories string) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := trivydb.Make(advisories, dir, now); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMakeIsReproducible(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	first, err := trivydb.Make(demo, a, now)
	if err != nil {
		t.Fatal(err)
	}
	second, err := trivydb.Make(demo, b, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the same records gave another database:\n%s", diff)
	}
	if first.Advisories < 10 {
		t.Errorf("advisories = %d, want the whole folder", first.Advisories)
	}
	if err := trivydb.Pack(&bytes.Buffer{}, a); err != nil {
		t.Error(err)
	}
	var p, q bytes.Buffer
	if err := errors.Join(trivydb.Pack(&p, a), trivydb.Pack(&q, a)); err != nil || !bytes.Equal(p.Bytes(), q.Bytes()) {
		t.Errorf("packing twice differs (err %v)", err)
	}
}

func TestCheckReadsStampAndMark(t *testing.T) {
	info, err := trivydb.Check(makeDB(t, demo))
	if err != nil {
		t.Fatal(err)
	}
	records, err := trivydb.ReadRecords(demo)
	if err != nil {
		t.Fatal(err)
	}
	want := trivydb.Info{
		Metadata: trivydb.Metadata{UpdatedAt: now, NextUpdate: now.Add(24 * time.Hour)},
		Small:    len(records),
	}
	if diff := cmp.Diff(want, info); diff != "" {
		t.Error(diff)
	}
}

func TestUseFindsAdvisory(t *testing.T) {
	dir := makeDB(t, demo)
	err := trivydb.Use(dir, func(trivydb.Info) error {
		advs, err := db.Config{}.GetAdvisories("go::", "golang.org/x/crypto")
		if err != nil {
			return err
		}
		ids := map[string][]string{}
		for _, a := range advs {
			ids[a.VulnerabilityID] = a.VendorIDs
		}
		if got := ids["CVE-2024-45337"]; !cmp.Equal(got, []string{"GHSA-v778-237x-gjrc"}) {
			t.Errorf("vendor ids of CVE-2024-45337 = %v", got)
		}
		v, err := db.Config{}.GetVulnerability("CVE-2024-45337")
		if err == nil && v.Severity != "CRITICAL" {
			t.Errorf("severity = %s", v.Severity)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestGarbled(t *testing.T) {
	good := makeDB(t, demo)
	content, err := os.ReadFile(filepath.Join(good, trivydb.DBFile))
	if err != nil {
		t.Fatal(err)
	}
	garbled := bytes.Clone(content)
	for i := 3 * 4096; i < len(garbled); i++ {
		garbled[i] = 0xff
	}
	tests := map[string]struct{ db, metadata string }{
		"truncated":     {string(content[:len(content)/2]), ""},
		"pages garbled": {string(garbled), ""},
		"empty":         {"", ""},
		"text":          {strings.Repeat("no database ", 2000), ""},
		"schema":        {string(content), `{"Version":1,"UpdatedAt":"2026-03-01T12:00:00Z"}`},
		"no date":       {string(content), `{"Version":2}`},
		"metadata":      {string(content), `[`},
		"giant":         {string(content), `{"Version":2,"x":"` + strings.Repeat("x", trivydb.MaxMetadata) + `"}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			meta := tt.metadata
			if meta == "" {
				b, err := os.ReadFile(filepath.Join(good, trivydb.MetadataFile))
				if err != nil {
					t.Fatal(err)
				}
				meta = string(b)
			}
			write(t, filepath.Join(dir, trivydb.DBFile), tt.db)
			write(t, filepath.Join(dir, trivydb.MetadataFile), meta)
			err := trivydb.Use(dir, func(trivydb.Info) error {
				_, err := db.Config{}.GetAdvisories("go::", "golang.org/x/net")
				if err == nil {
					_, err = db.Config{}.GetVulnerability("CVE-2023-39325")
				}
				return err
			})
			if !errors.Is(err, trivydb.ErrInvalid) {
				t.Errorf("err = %v, want ErrInvalid", err)
			}
			if _, err := os.Stat(filepath.Join(dir, trivydb.DBFile)); err != nil {
				t.Errorf("the caller's file is gone: %v", err)
			}
		})
	}
	if _, err := trivydb.Check(t.TempDir()); !errors.Is(err, trivydb.ErrInvalid) {
		t.Errorf("empty folder: %v", err)
	}
}

func TestUsePanicReleasesDatabase(t *testing.T) {
	dir := makeDB(t, demo)
	for range 2 {
		if err := trivydb.Use(dir, func(trivydb.Info) error { panic("boom") }); !errors.Is(err, trivydb.ErrInvalid) {
			t.Fatalf("err = %v", err)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	dirs := []string{makeDB(t, demo), makeDB(t, demo)}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			err := trivydb.Use(dirs[i%2], func(trivydb.Info) error {
				_, err := db.Config{}.GetVulnerability("CVE-2024-45337")
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestRecords(t *testing.T) {
	const good = "id: GHSA-v778-237x-gjrc\ntitle: t\nseverity: high\naffected: [{package: a.example/m, vulnerable: ['<1.0.0']}]\n"
	tests := map[string]struct{ yaml, want string }{
		"good":          {good, ""},
		"unknown field": {good + "extra: 1\n", "extra"},
		"twice":         {good + "title: u\n", "already set"},
		"id":            {strings.Replace(good, "GHSA-v778-237x-gjrc", "../x", 1), "id"},
		"cve":           {good + "cve: CVE-1\n", "cve"},
		"severity":      {strings.Replace(good, "high", "moderate", 1), "severity"},
		"range":         {strings.Replace(good, "<1.0.0", "1.0 - 2.0", 1), "range"},
		"no range":      {strings.Replace(good, ", vulnerable: ['<1.0.0']", "", 1), "range"},
		"no package":    {strings.Replace(good, "a.example/m", `""`, 1), "package"},
		"title":         {strings.Replace(good, "title: t", "title: ' '", 1), "title"},
		"cvss":          {good + "cvss: {vector: x, score: 1}\n", "cvss"},
		"date":          {good + "published: yesterday\n", "published"},
		"distro":        {strings.Replace(good, "package:", "ecosystem: plan9 4, package:", 1), "ecosystem"},
		"distro ranges": {strings.Replace(good, "package:", "ecosystem: alpine 3.20, package:", 1), "exactly one"},
		"giant":         {good + strings.Repeat("#", 70000), "larger"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "a.yaml"), tt.yaml)
			_, err := trivydb.Make(dir, t.TempDir(), now)
			switch {
			case tt.want == "" && err != nil:
				t.Fatal(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, step.ErrUsage)):
				t.Errorf("err = %v, want usage error with %q", err, tt.want)
			}
		})
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), good)
	write(t, filepath.Join(dir, "b.yaml"), good)
	if _, err := trivydb.Make(dir, t.TempDir(), now); err == nil || !strings.Contains(err.Error(), "keep one") {
		t.Errorf("repeated record: %v", err)
	}
	if _, err := trivydb.Make(t.TempDir(), t.TempDir(), now); !errors.Is(err, step.ErrUsage) {
		t.Errorf("no records: %v", err)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte("id: GHSA-v778-237x-gjrc\ntitle: t\nseverity: high\naffected: [{package: m, vulnerable: ['<1.0.0']}]\n"))
	f.Add([]byte("id: [&a [*a]]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := trivydb.ParseRecord(b)
		if err == nil && (r.ID == "" || len(r.Affected) == 0) {
			t.Errorf("accepted %+v", r)
		}
	})
}

func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte(`{"Version":2,"NextUpdate":"2026-03-02T12:00:00Z","UpdatedAt":"2026-03-01T12:00:00Z"}`))
	f.Add([]byte(`{"Version":2,"UpdatedAt":0}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := trivydb.ParseMetadata(b)
		if err == nil && m.UpdatedAt.IsZero() {
			t.Error("accepted a database without a date")
		}
		if err != nil && fmt.Sprint(err) == "" {
			t.Error("silent error")
		}
	})
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
