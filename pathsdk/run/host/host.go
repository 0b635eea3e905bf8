// Package host says under whom pathctl runs: on a command line, or in a container
// of a Dagger engine. It alone reads the process environment; everything below it
// takes explicit inputs.
package host

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/mattn/go-isatty"

	"github.com/pavedpaths/paths/pathsdk/provenance"
)

// Host is what pathctl learned from its environment, once.
type Host struct {
	// Home holds keys, trust root and caches: PATHS_HOME, or ~/.paths.
	Home string
	// Self is the path of the running binary.
	Self string
	// PassphraseFile names the file with the passphrase of the keys:
	// PATHS_PASSPHRASE_FILE.
	PassphraseFile string
	// AttesterKey and VerifierKey name private keys in place of those in Home, by file
	// or by the URI of a KMS: PATHS_ATTESTER_KEY, PATHS_VERIFIER_KEY.
	AttesterKey string
	VerifierKey string
	// SigningConfig, TrustedRoot and IdentityTokenFile name the files for signing by
	// identity: PATHS_SIGNING_CONFIG, PATHS_TRUSTED_ROOT, PATHS_IDENTITY_TOKEN_FILE.
	SigningConfig     string
	TrustedRoot       string
	IdentityTokenFile string
	// Login is true if a person logs in to sign: PATHS_LOGIN=device.
	Login bool
	// GitHub is where identity tokens come from in a job of GitHub Actions.
	GitHub GitHub
	// Kubernetes is the API server of the cluster that this is a pod of.
	Kubernetes Kubernetes
	// Terminal is true if progress may be drawn, Color if it may be coloured.
	Terminal bool
	Color    bool
	// OTLPEndpoint is where traces go; empty sends none. Traceparent and
	// Tracestate continue a caller's trace.
	OTLPEndpoint string
	Traceparent  string
	Tracestate   string
	// Dagger is true in the containers of our Dagger modules (PATHS_HOST=dagger).
	// It changes what provenance calls the builder, and raises no level.
	Dagger bool
	// Tekton is true in the steps of our Tasks (PATHS_HOST=tekton), which can't leave a
	// flag out: there an empty one counts as not given.
	Tekton bool
	// RefusalFile is where the reason goes as well if a command refuses, or is called
	// wrongly: PATHS_REFUSAL_FILE.
	RefusalFile string
	// Connect says which address really answers for a registry's HOST:PORT, such
	// as that of a tunnel: PATHS_CONNECT, HOST:PORT=HOST:PORT joined by commas.
	Connect map[string]string
	// SourceDateEpoch overrides the creation time, in seconds since 1970.
	SourceDateEpoch string
}

// CLI reads the environment of a command line.
func CLI() (Host, error) {
	self, err := os.Executable()
	if err != nil {
		return Host{}, fmt.Errorf("find my own binary: %w", err)
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return Host{}, fmt.Errorf("find my own binary: %w", err)
	}
	h := Host{
		Home:           os.Getenv("PATHS_HOME"),
		Self:           self,
		PassphraseFile: os.Getenv("PATHS_PASSPHRASE_FILE"),
		AttesterKey:    os.Getenv("PATHS_ATTESTER_KEY"),
		VerifierKey:    os.Getenv("PATHS_VERIFIER_KEY"),

		SigningConfig:     os.Getenv("PATHS_SIGNING_CONFIG"),
		TrustedRoot:       os.Getenv("PATHS_TRUSTED_ROOT"),
		IdentityTokenFile: os.Getenv("PATHS_IDENTITY_TOKEN_FILE"),
		GitHub:            GitHub{URL: os.Getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), Token: os.Getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")},

		Kubernetes:  inCluster(),
		RefusalFile: os.Getenv("PATHS_REFUSAL_FILE"),

		OTLPEndpoint:    first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
		Traceparent:     os.Getenv("TRACEPARENT"),
		Tracestate:      os.Getenv("TRACESTATE"),
		SourceDateEpoch: os.Getenv("SOURCE_DATE_EPOCH"),
	}
	h.Terminal = isatty.IsTerminal(os.Stderr.Fd()) && os.Getenv("TERM") != "dumb" && os.Getenv("CI") == ""
	h.Color = h.Terminal && os.Getenv("NO_COLOR") == ""
	switch v := os.Getenv("PATHS_HOST"); v {
	case "":
	case provenance.HostDagger:
		h.Dagger = true
	case provenance.HostTekton:
		h.Tekton = true
	default:
		return Host{}, fmt.Errorf("PATHS_HOST is %.40q: unset it, or set it to %s or %s", v, provenance.HostDagger, provenance.HostTekton)
	}
	switch v := os.Getenv("PATHS_LOGIN"); v {
	case "":
	case "device":
		h.Login = true
	default:
		return Host{}, fmt.Errorf("PATHS_LOGIN is %.40q: unset it, or set it to device", v)
	}
	if h.Connect, err = connections(os.Getenv("PATHS_CONNECT")); err != nil {
		return Host{}, err
	}
	if h.Home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return Host{}, fmt.Errorf("find the home folder: %w; set PATHS_HOME to a folder of your choice", err)
		}
		h.Home = filepath.Join(user, ".paths")
	}
	if h.Home, err = filepath.Abs(h.Home); err != nil {
		return Host{}, fmt.Errorf("PATHS_HOME: %w", err)
	}
	return h, nil
}

// connections reads PATHS_CONNECT.
func connections(text string) (map[string]string, error) {
	to := map[string]string{}
	for _, pair := range strings.Split(text, ",") {
		if pair == "" {
			continue
		}
		from, addr, ok := strings.Cut(pair, "=")
		_, _, bad := net.SplitHostPort(from)
		_, _, worse := net.SplitHostPort(addr)
		if !ok || bad != nil || worse != nil {
			return nil, fmt.Errorf("PATHS_CONNECT: %.100q is not HOST:PORT=HOST:PORT", pair)
		}
		to[from] = addr
	}
	return to, nil
}

func first(names ...string) string {
	for _, n := range names {
		if v := os.Getenv(n); v != "" {
			return v
		}
	}
	return ""
}

// Environ is the environment for a child that is another zone of pathctl itself:
// the host's own, with the trace that it continues.
func (h Host) Environ(traceparent string) []string {
	env := append(os.Environ(), "PATHS_HOME="+h.Home)
	if traceparent != "" {
		env = append(env, "TRACEPARENT="+traceparent)
	}
	return env
}
