package provenance

import (
	"encoding/json"
	"fmt"
	"strings"
)

// GitHubRun is what GitHub Actions says of the job that asks it for an OIDC token
// (https://docs.github.com/actions/reference/security/oidc), once the token's
// signature has been checked against its issuer's keys. The field names are the
// claims'.
type GitHubRun struct {
	Issuer string `json:"iss"`
	// JobWorkflowRef is the workflow file that the job stands in, with the commit or
	// ref it was taken from: OWNER/REPO/.github/workflows/FILE@REF.
	JobWorkflowRef string `json:"job_workflow_ref"`
	// Repository (OWNER/REPO), Ref and SHA are what the run was started for.
	Repository string `json:"repository"`
	Ref        string `json:"ref"`
	SHA        string `json:"sha"`
	Event      string `json:"event_name"`
	RunID      string `json:"run_id"`
	RunAttempt string `json:"run_attempt"`
	// RunnerEnvironment is github-hosted or self-hosted.
	RunnerEnvironment string `json:"runner_environment"`
}

// githubHosted is the runner environment of machines that GitHub makes for one job.
const githubHosted = "github-hosted"

// github is where GitHub's repositories, workflows and runs are, in certificates, too.
const github = "https://github.com/"

// URI names the run, as certificates for its jobs do.
func (g GitHubRun) URI() string {
	return fmt.Sprintf("%s%s/actions/runs/%s/attempts/%s", github, g.Repository, g.RunID, g.RunAttempt)
}

// Validate reports the first claim that is missing.
func (g GitHubRun) Validate() error {
	for _, c := range []struct{ name, value string }{
		{"iss", g.Issuer}, {"job_workflow_ref", g.JobWorkflowRef}, {"repository", g.Repository}, {"ref", g.Ref}, {"sha", g.SHA},
		{"run_id", g.RunID}, {"run_attempt", g.RunAttempt}, {"runner_environment", g.RunnerEnvironment},
	} {
		if c.value == "" {
			return fmt.Errorf("claim %s is missing", c.name)
		}
	}
	return nil
}

// Observed is the record of a path that ran in a job of GitHub Actions, with what
// GitHub says of that job in the place of what the runner believes. What the runner
// alone knows, such as its fence, stays what it is. GitHub vouches for the run, and so
// for the source if the record names the run's own commit: else nobody does.
func (g GitHubRun) Observed(r Record) (Record, error) {
	if err := g.Validate(); err != nil {
		return r, fmt.Errorf("the token of GitHub's: %w", err)
	}
	const how = "GitHub's token for this job, checked against the issuer's keys"
	host, ephemeral, machine := HostGitHubOther, "false", "a machine that is not GitHub's may outlive the build ("+g.RunnerEnvironment+")"
	if g.RunnerEnvironment == githubHosted {
		host, ephemeral, machine = HostGitHub, "true", how+": runner_environment is "+githubHosted+", a machine made for one job"
	}
	source, vouched := SourceControlPlane, how+": it names the run and its commit; what went on in the job was recorded there"
	if why := g.otherSource(r); why != "" {
		source, vouched = SourceRunner, "GitHub vouches for another source: "+why
	}
	facts := []Fact{
		{FactHost, host, how},
		{FactSource, source, vouched},
		{FactEphemeral, ephemeral, machine},
		{FactCaches, CachesShared, "nothing shows that the job restored no cache of another run"},
		{FactProducer, github + g.JobWorkflowRef, how + ": job_workflow_ref"},
		{FactProducerIssuer, g.Issuer, "it signed that token"},
		{FactRun, g.URI(), how},
		{"run.ref", g.Ref, how},
	}
	if g.Event != "" {
		facts = append(facts, Fact{"run.event", g.Event, how})
	}
	known := map[string]bool{}
	for _, f := range facts {
		known[f.Name] = true
	}
	for _, f := range r.Facts {
		if !known[f.Name] {
			facts = append(facts, f)
		}
	}
	r.Facts, r.Invocation = facts, g.URI()
	return r, nil
}

// otherSource says how the record's source differs from the run's; empty if it doesn't.
func (g GitHubRun) otherSource(r Record) string {
	dirty := true // unless the record says that it isn't
	_ = json.Unmarshal(r.Inputs["dirty"], &dirty)
	repo := strings.TrimSuffix(text(r.Inputs["repository"]), ".git")
	switch revision := text(r.Inputs["revision"]); {
	case revision == "":
		return "the record names no commit, the run is for " + g.SHA
	case revision != g.SHA:
		return fmt.Sprintf("the record's commit is %.80s, the run's %s", revision, g.SHA)
	case repo != github+g.Repository:
		return fmt.Sprintf("the record's repository is %.200q, the run's %s", repo, github+g.Repository)
	case dirty:
		return "what was built differs from commit " + g.SHA
	}
	return ""
}
