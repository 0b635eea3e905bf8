package legacy

import (
	"errors"
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/slsa-framework/slsa-verifier/v2/verifiers/utils"
	kjson "sigs.k8s.io/json"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

const (
	statementType  = "https://in-toto.io/Statement/v0.1"
	provenanceType = "https://slsa.dev/provenance/v0.2"
)

// claims are what a Fulcio certificate says of a workflow run.
type claims struct {
	repository, ref, commit, trigger string
}

// claimsOf reads them. Certificates have them in extensions of two generations
// (github.com/sigstore/fulcio docs/oid-info.md); where both are, they must agree.
func claimsOf(c *certificate.Summary) (claims, error) {
	old := c.GithubWorkflowRepository
	if old != "" {
		old = github + old
	}
	var out claims
	for _, f := range []struct {
		name     string
		to       *string
		old, new string
	}{
		{"repository", &out.repository, old, c.SourceRepositoryURI},
		{"ref", &out.ref, c.GithubWorkflowRef, c.SourceRepositoryRef},
		{"commit", &out.commit, c.GithubWorkflowSHA, c.SourceRepositoryDigest},
		{"trigger", &out.trigger, c.GithubWorkflowTrigger, c.BuildTrigger},
	} {
		switch {
		case f.old == "" && f.new == "":
			return out, fmt.Errorf("certificate: it names no %s of the source", f.name)
		case f.old != "" && f.new != "" && f.old != f.new:
			return out, fmt.Errorf("certificate: it names two of the source's %s: %q and %q", f.name, f.old, f.new)
		}
		if *f.to = f.new; f.new == "" {
			*f.to = f.old
		}
	}
	return out, nil
}

// statement is the part of an in-toto Statement v0.1 with SLSA provenance v0.2
// (https://slsa.dev/spec/v0.2/provenance) that is checked.
type statement struct {
	Type          string `json:"_type"`
	PredicateType string `json:"predicateType"`
	Predicate     struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
		BuildType  string `json:"buildType"`
		Invocation struct {
			ConfigSource material `json:"configSource"`
		} `json:"invocation"`
		Materials []material `json:"materials"`
	} `json:"predicate"`
}

type material struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

func parseStatement(payload []byte) (statement, error) {
	var st statement
	if len(payload) > evidence.MaxStatement {
		return st, fmt.Errorf("statement: %d bytes are more than the limit of %d", len(payload), evidence.MaxStatement)
	}
	// Two readers must not see two documents in the same bytes.
	strict, err := kjson.UnmarshalStrict(payload, &st, kjson.DisallowDuplicateFields)
	if err == nil && len(strict) > 0 {
		err = strict[0]
	}
	if err != nil {
		return st, fmt.Errorf("statement: %w", err)
	}
	if st.Type != statementType || st.PredicateType != provenanceType {
		return st, fmt.Errorf("statement: it is %.80q with %.80q, want %s with %s, as slsa-github-generator writes", st.Type, st.PredicateType, statementType, provenanceType)
	}
	return st, nil
}

// agrees checks that the statement names the source that the certificate names,
// both as what the workflow was started from and as what was built.
func (st statement) agrees(c claims) error {
	if len(st.Predicate.Materials) == 0 {
		return errors.New("the statement has no materials")
	}
	for where, m := range map[string]material{
		"invocation.configSource": st.Predicate.Invocation.ConfigSource, "materials[0]": st.Predicate.Materials[0],
	} {
		uri, ref, err := utils.ParseGitURIAndRef(m.URI)
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		if uri != "git+"+c.repository || ref != c.ref || m.Digest["sha1"] != c.commit {
			return fmt.Errorf("%s is %.200q at %.64q, the certificate says %s@%s at %s", where, m.URI, m.Digest["sha1"], c.repository, c.ref, c.commit)
		}
	}
	return nil
}
