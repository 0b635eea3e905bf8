package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// kubectl is the user's own, and not a client of ours: it has every way to log in that a
// cluster may ask for, and pathctl is no larger and starts no slower for it. It looks for
// the cluster in KUBECONFIG, ~/.kube/config, and the pod that it runs in.
type kubectl struct {
	// config is the file to use instead of those, if there is one.
	config string
}

const (
	// maxKubectl bounds an answer: a list of some thousand objects of several KiB.
	maxKubectl = 32 << 20
	// kubectlTime is enough for a plug-in that logs in. kubectl asks a server that isn't
	// there several times, each of them up to its own limit.
	kubectlTime = time.Minute
)

// errNotThere is of an object, or a kind, that the cluster has not.
var errNotThere = errors.New("is not there")

var errTooMuch = fmt.Errorf("kubectl says more than %d bytes", maxKubectl)

// deniedError is of what the user may not read, in the API server's words.
type deniedError struct{ said string }

func (e *deniedError) Error() string { return e.said }

// missingRight is how Kubernetes' RBAC puts it.
var missingRight = regexp.MustCompile(`cannot ([a-z]+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)")?`)

// right is the one that is missing.
func (e *deniedError) right() string {
	m := missingRight.FindStringSubmatch(e.said)
	if m == nil {
		return "read it"
	}
	verb, resource, group, namespace := m[1], m[2], m[3], m[4]
	if group != "" {
		resource += "." + group
	}
	if namespace == "" {
		return fmt.Sprintf("%s %s in the cluster", verb, resource)
	}
	return fmt.Sprintf("%s %s in namespace %s", verb, resource, namespace)
}

// answered tells whether a failure is the API server's word on an object. Else there is
// no use in asking for another one.
func answered(err error) bool {
	var denied *deniedError
	return errors.Is(err, errNotThere) || errors.As(err, &denied)
}

func (k kubectl) get(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, kubectlTime, fmt.Errorf("kubectl has no answer after %s", kubectlTime))
	defer cancel()
	args = append([]string{"get", "--request-timeout=10s", "-o", "json"}, args...)
	if k.config != "" {
		args = append([]string{"--kubeconfig", k.config}, args...)
	}
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	// What kubectl has started may outlive it, and hold its output open.
	cmd.WaitDelay = time.Second
	stdout, stderr := &atMost{limit: maxKubectl}, &atMost{limit: maxKubectl}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err := cmd.Run()
	said := lastLine(stderr.kept.String())
	switch {
	case err == nil:
		return stdout.kept.Bytes(), nil
	case stdout.full || stderr.full:
		return nil, errTooMuch
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case strings.Contains(said, "(NotFound)"):
		return nil, errNotThere
	case strings.Contains(said, "the server doesn't have a resource type"):
		return nil, fmt.Errorf("%w: %s", errNotThere, said)
	case strings.Contains(said, "(Forbidden)"):
		return nil, &deniedError{said}
	case said != "":
		return nil, errors.New(said)
	}
	return nil, fmt.Errorf("kubectl: %w", err)
}

// lastLine is what kubectl gives up with; before it may stand each attempt, and warnings.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// atMost keeps what a command says, and fails one that says too much. The buffer is no
// embedded one: io.Copy would read into it past Write.
type atMost struct {
	kept  bytes.Buffer
	limit int
	full  bool
}

func (w *atMost) Write(p []byte) (int, error) {
	if w.kept.Len()+len(p) > w.limit {
		w.full = true
		return 0, errTooMuch
	}
	return w.kept.Write(p)
}
