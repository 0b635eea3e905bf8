package test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// maxListed bounds the names in the evidence. Of a suite with more, subtests
// are left out: their parents stand for them.
const maxListed = 10_000

// predicate is the evidence of one run: test-result v0.1 about the source.
func predicate(in Inputs, args []string, got *results, coverage string) ([]step.Evidence, error) {
	config := []evidence.ResourceDescriptor{{Name: "source", Digest: evidence.SHA256(in.SourceDigest)}}
	for _, name := range []string{"go.mod", "go.sum"} {
		raw, err := os.ReadFile(filepath.Join(string(in.Source), name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		config = append(config, evidence.ResourceDescriptor{Name: name, Digest: sum(raw)})
	}
	command, err := json.Marshal(append([]string{"go", "test"}, args...))
	if err != nil {
		return nil, err
	}
	suite := evidence.ResourceDescriptor{Name: "go test", MediaType: "application/json", Digest: sum(command)}
	if len(command) <= 1024 { // the specification's bound of inline content
		suite.Content = command
	}
	if coverage != "" {
		suite.Annotations = map[string]any{"coverage": coverage}
	}
	config = append(config, evidence.ResourceDescriptor{Name: "go", Digest: evidence.SHA256(in.ToolchainDigest)}, suite)
	p := evidence.TestResultV01{
		Result: evidence.TestsPassed, Configuration: config,
		PassedTests: listed(got.passed), FailedTests: listed(got.failed),
	}
	if len(got.failed) > 0 {
		p.Result = evidence.TestsFailed
	}
	raw, err := p.Encode()
	if err != nil {
		return nil, err
	}
	return []step.Evidence{{Type: evidence.TestResult.URI, Predicate: raw, Subject: &step.Subject{Name: "source", Digest: in.SourceDigest}}}, nil
}

func listed(names []string) []string {
	if len(names) <= maxListed {
		return names
	}
	top := slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		// The package's path has slashes as well; the test begins at the first
		// dot after the last element that is no test.
		i := strings.LastIndex(n, ".Test")
		return i >= 0 && strings.Contains(n[i:], "/")
	})
	return top[:min(len(top), maxListed)]
}

func sum(b []byte) map[string]string {
	h := sha256.Sum256(b)
	return map[string]string{"sha256": hex.EncodeToString(h[:])}
}
