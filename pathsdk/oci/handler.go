package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// referrersPage is how many referrers one answer of the Handler lists, so that
// it stays well below MaxManifest.
const referrersPage = 1000

// Handler serves a layout as a read-only registry (distribution specification
// 1.1, the "Pull" and "Content Discovery" categories, with the referrers API).
// Every repository name stands for the layout; tags are the layout's. What is
// written to the layout is served at once.
func Handler(layoutDir string) http.Handler {
	h := &handler{dir: layoutDir, path: regexp.MustCompile(
		`^/v2/(` + nameForm + `)/(manifests/(?:` + tagForm + `|sha256:[0-9a-f]{64})|blobs/sha256:[0-9a-f]{64}|tags/list|referrers/[^/]+)$`)}
	return http.HandlerFunc(h.serve)
}

type handler struct {
	dir  string
	path *regexp.Regexp

	mu     sync.Mutex
	layout *Layout
}

// open opens the layout once it is there. A Layout notices later changes.
func (h *handler) open() (*Layout, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.layout == nil {
		l, err := OpenLayout(h.dir)
		if err != nil {
			return nil, err
		}
		h.layout = l
	}
	return h.layout, nil
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry serves an OCI image layout and is read-only")
		return
	}
	if r.URL.Path == "/v2/" || r.URL.Path == "/v2" {
		reply(w, r, "application/json", []byte("{}"))
		return
	}
	m := h.path.FindStringSubmatch(r.URL.Path)
	if m == nil {
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "no such address")
		return
	}
	layout, err := h.open()
	if err != nil {
		broken(w)
		return
	}
	kind, rest, _ := strings.Cut(m[2], "/")
	switch kind {
	case "manifests":
		h.manifest(w, r, layout, rest)
	case "blobs":
		h.blob(w, r, layout, step.Digest(rest))
	case "tags":
		h.tags(w, r, layout, m[1])
	case "referrers":
		h.referrers(w, r, layout, rest)
	}
}

func (h *handler) manifest(w http.ResponseWriter, r *http.Request, l *Layout, reference string) {
	d := step.Digest(reference)
	if !strings.HasPrefix(reference, "sha256:") {
		tags, err := l.Tags()
		if err != nil {
			broken(w)
			return
		}
		if d = tags[reference]; d == "" {
			refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no such tag")
			return
		}
	}
	m, err := l.Manifest(r.Context(), d)
	if err != nil {
		// A blob that is no manifest is unknown as one.
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrContent) {
			refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no such manifest")
			return
		}
		broken(w)
		return
	}
	w.Header().Set("Docker-Content-Digest", string(m.Digest))
	w.Header().Set("Etag", `"`+string(m.Digest)+`"`)
	reply(w, r, m.MediaType, m.Bytes)
}

func (h *handler) blob(w http.ResponseWriter, r *http.Request, l *Layout, d step.Digest) {
	f, err := openRegular(l.blobPath(d))
	if err != nil {
		refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "no such blob")
		return
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		broken(w)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", string(d))
	w.Header().Set("Etag", `"`+string(d)+`"`)
	http.ServeContent(w, r, "", fi.ModTime(), f) // ranges
}

func (h *handler) tags(w http.ResponseWriter, r *http.Request, l *Layout, repo string) {
	all, err := l.Tags()
	if err != nil {
		broken(w)
		return
	}
	names := sortedKeys(all)
	q := r.URL.Query()
	if last := q.Get("last"); last != "" {
		i, found := slices.BinarySearch(names, last)
		if found {
			i++
		}
		names = names[i:]
	}
	if q.Has("n") {
		n, err := strconv.Atoi(q.Get("n"))
		if err != nil || n < 0 {
			refuse(w, http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "n is not a number of tags")
			return
		}
		if n < len(names) {
			names = names[:n]
			if n > 0 {
				next := url.Values{"n": {strconv.Itoa(n)}, "last": {names[n-1]}}
				w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, r.URL.EscapedPath(), next.Encode()))
			}
		}
	}
	replyJSON(w, r, "application/json", map[string]any{"name": repo, "tags": names})
}

func (h *handler) referrers(w http.ResponseWriter, r *http.Request, l *Layout, subject string) {
	d, err := step.ParseDigest(subject)
	if err != nil {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "the subject is not a sha256 digest")
		return
	}
	found, err := l.Referrers(r.Context(), d)
	if err != nil {
		broken(w)
		return
	}
	q := r.URL.Query()
	if t := q.Get("artifactType"); t != "" {
		found = slices.DeleteFunc(found, func(d v1.Descriptor) bool { return d.ArtifactType != t })
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	if last := q.Get("last"); last != "" {
		found = slices.DeleteFunc(found, func(d v1.Descriptor) bool { return d.Digest.String() <= last })
	}
	if len(found) > referrersPage {
		found = found[:referrersPage]
		q.Set("last", found[referrersPage-1].Digest.String())
		w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, r.URL.EscapedPath(), q.Encode()))
	}
	if found == nil {
		found = []v1.Descriptor{}
	}
	replyJSON(w, r, string(types.OCIImageIndex), v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: found})
}

func replyJSON(w http.ResponseWriter, r *http.Request, contentType string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		broken(w)
		return
	}
	reply(w, r, contentType, b)
}

func reply(w http.ResponseWriter, r *http.Request, contentType string, b []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	if r.Method == http.MethodGet {
		// A client that went away is no concern of the others.
		_, _ = w.Write(b)
	}
}

// broken tells nothing of the machine: its paths are none of the client's
// business.
func broken(w http.ResponseWriter) {
	refuse(w, http.StatusInternalServerError, "UNKNOWN", "the layout can't be read")
}

// refuse writes an error as the distribution specification wants it, "Error
// Codes".
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	b, err := json.Marshal(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
	if err == nil {
		_, _ = io.WriteString(w, string(b))
	}
}
