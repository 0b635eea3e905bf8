//go:build e2e

package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
	"github.com/pavedpaths/paths/pathsdk/oci"
)

// TestE2EPromote takes an image with its evidence from one registry to another: once,
// and again, cut off at every write, and not at all if the policy refuses.
func TestE2EPromote(t *testing.T) {
	h := newHarbour(t)
	staging := regtest.New(t)
	from := staging.Repo("team/hello")
	h.ship(t, from+":v1").says(t, "ship", 0)
	shipped := h.referrers(t, from)

	promoted := map[string]int{"release": 1}
	for name, n := range shipped {
		promoted[name] = n
	}
	promoted["vsa"]++ // one from there, one from here
	tagged := func(reg *regtest.Server) bool {
		resp, err := http.Head("http://" + reg.Repo("v2/prod/hello/manifests/v1"))
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode == http.StatusOK
	}
	for _, api := range []bool{true, false} {
		t.Run(fmt.Sprintf("referrers API %v", api), func(t *testing.T) {
			reg := newTestRegistry(t, api)
			to := reg.Repo("prod/hello")
			for range 2 {
				r := runProcess(t, h.home, "promote", from+":v1", "--to", to+":v1")
				r.says(t, "promote", 0)
				if !strings.Contains(r.stdout, to+"@"+string(h.image)) || !strings.Contains(r.stdout, "PASSED") {
					t.Errorf("it says:\n%s", r.stdout)
				}
				if d := cmp.Diff(promoted, h.referrers(t, to)); d != "" {
					t.Errorf("referrers (-want +got):\n%s", d)
				}
				runProcess(t, h.home, "verify", to+":v1", "--deep").says(t, "verify", 0)
			}

			// From here on, one write after the other is the last that gets through.
			reg.Requests()
			runProcess(t, h.home, "promote", from+":v1", "--to", reg.Repo("count/hello")+":v1").says(t, "promote", 0)
			writes := regtest.Count(reg.Requests(), http.MethodPut, "")
			if writes < 10 {
				t.Fatalf("%d writes", writes)
			}
			for _, through := range []int{0, writes / 4, writes / 2, writes - 2, writes - 1} {
				repo := fmt.Sprintf("cut%d/hello", through)
				n := 0
				reg.Inject(regtest.Fault{Times: regtest.Always, Match: func(r *http.Request) bool {
					if r.Method != http.MethodPut {
						return false
					}
					n++
					return n > through
				}, Do: regtest.Status(http.StatusForbidden)})
				r := runProcess(t, h.home, "promote", from+":v1", "--to", reg.Repo(repo)+":v1")
				r.says(t, "promote, cut off", 1)
				if resp, err := http.Head("http://" + reg.Repo("v2/"+repo+"/manifests/v1")); err != nil || resp.StatusCode == http.StatusOK {
					t.Errorf("cut off after %d writes, and tagged: %v, %v", through, resp, err)
				}
				reg.Heal()
				runProcess(t, h.home, "promote", from+":v1", "--to", reg.Repo(repo)+":v1").says(t, "promote again", 0)
				if d := cmp.Diff(promoted, h.referrers(t, reg.Repo(repo))); d != "" {
					t.Errorf("cut off after %d writes, then again (-want +got):\n%s", through, d)
				}
			}
		})
	}

	t.Run("refused", func(t *testing.T) {
		reg := regtest.New(t)
		to := reg.Repo("prod/hello")
		runProcess(t, h.home, "promote", from+":v1", "--to", to+":v1", "--param", "minLevel=3").says(t, "promote", 3)
		if n := regtest.Count(reg.Requests(), http.MethodPut, ""); n > 0 || tagged(reg) {
			t.Errorf("%d writes for an image that the policy refuses", n)
		}
		runProcess(t, h.home, "promote", from+":v1", "--to", to+"@"+string(h.image)).says(t, "promote to a digest", 2, "the digest is the image's own")
		runProcess(t, h.home, "promote", from+":v2", "--to", to+":v1").says(t, "promote what is not there", 1)
	})

	// Who deletes evidence on the way changes the verdict there.
	t.Run("lost on the way", func(t *testing.T) {
		reg := regtest.New(t)
		at, err := oci.ParseLocator(from)
		if err != nil {
			t.Fatal(err)
		}
		store, err := oci.Open(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		found, err := store.Referrers(t.Context(), h.image)
		if err != nil {
			t.Fatal(err)
		}
		lost := map[string]bool{}
		for _, d := range found {
			lost[d.Digest.String()] = true
		}
		// It says that it has them, and has not.
		reg.Inject(regtest.Fault{Times: regtest.Always, Match: func(r *http.Request) bool {
			_, digest, ok := strings.Cut(r.URL.Path, "/manifests/")
			return ok && lost[digest]
		}, Do: func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			if r.Method == http.MethodPut {
				w.WriteHeader(http.StatusCreated)
				return
			}
			http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, http.StatusNotFound)
		}})
		r := runProcess(t, h.home, "promote", from+":v1", "--to", reg.Repo("prod/hello")+":v1")
		if r.code == 0 || tagged(reg) {
			t.Errorf("exit %d, tagged %t:\n%s%s", r.code, tagged(reg), r.stdout, r.stderr)
		}
	})
}
