package controller

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Names that package tekton defines. They are repeated, and a test compares them, because
// that package brings all of Tekton's types and this binary needs none.
const (
	SigningNamespace = "paths-signing"
	signingPriority  = "paths-signing"
	SystemNamespace  = "paths-system"
	BuildPrefix      = "paths-build-"
	ZoneLabel        = "pavedpaths.dev/zone"
	Finalizer        = "pavedpaths.dev/signing"
	SignedAnnotation = "pavedpaths.dev/signed"
	attesterAccount  = "attester"
	verifierAccount  = "verifier"
	paramImage       = "image"
)

// ImageAnnotation says on a signed run which image was signed, by digest.
const ImageAnnotation = "pavedpaths.dev/signed-image"

// run is what decisions read of a PipelineRun. It leaves out labels and annotations but
// the two that the controller writes, and those serve to see whether a write is needed.
// It leaves out the run's results as well: a build that broke out of its fence could have
// written them. What was signed is the attester's to say.
type run struct {
	namespace, name, uid, version string

	finalizers   []string
	held         bool
	deleting     bool
	note, signed string // SignedAnnotation, ImageAnnotation

	done, ok bool
	why      string // the condition's reason
	ended    time.Time
	wanted   string // where it wants its image, HOST/NAME[:TAG]
	bundle   string // REPOSITORY@DIGEST that the Pipeline came from, as Tekton has resolved it
}

func readRun(u *unstructured.Unstructured) run {
	r := run{
		namespace: u.GetNamespace(), name: u.GetName(), uid: string(u.GetUID()), version: u.GetResourceVersion(),
		finalizers: u.GetFinalizers(),
		deleting:   u.GetDeletionTimestamp() != nil,
		note:       u.GetAnnotations()[SignedAnnotation],
		signed:     u.GetAnnotations()[ImageAnnotation],
	}
	r.held = slices.Contains(r.finalizers, Finalizer)
	end := readEnd(u)
	r.done, r.ok, r.why, r.ended = end.done, end.ok, end.reason, end.at
	r.wanted = parameter(u, paramImage)
	uri, _, _ := unstructured.NestedString(u.Object, "status", "provenance", "refSource", "uri")
	sum, _, _ := unstructured.NestedString(u.Object, "status", "provenance", "refSource", "digest", "sha256")
	if uri != "" && sum != "" {
		r.bundle = uri + "@sha256:" + sum
	}
	return r
}

func (r run) key() string { return r.namespace + "/" + r.name }

// parameter is the value of a parameter of a run that is a string.
func parameter(u *unstructured.Unstructured, name string) string {
	params, _, _ := unstructured.NestedSlice(u.Object, "spec", "params")
	for _, p := range params {
		if p, _ := p.(map[string]any); p["name"] == name {
			v, _ := p["value"].(string)
			return v
		}
	}
	return ""
}

// end is how a run or TaskRun has ended, by its condition Succeeded.
type end struct {
	done, ok        bool
	reason, message string
	at              time.Time
}

func readEnd(u *unstructured.Unstructured) end {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		c, _ := c.(map[string]any)
		if c["type"] != "Succeeded" {
			continue
		}
		var e end
		e.reason, _ = c["reason"].(string)
		e.message, _ = c["message"].(string)
		if c["status"] != "True" && c["status"] != "False" {
			return e
		}
		e.done, e.ok = true, c["status"] == "True"
		at, _, _ := unstructured.NestedString(u.Object, "status", "completionTime")
		if at == "" {
			at, _ = c["lastTransitionTime"].(string)
		}
		var err error
		if e.at, err = time.Parse(time.RFC3339, at); err != nil {
			e.at = u.GetCreationTimestamp().Time
		}
		return e
	}
	return end{}
}

// result is the value of a result that is a string, of a run or a TaskRun.
func result(u *unstructured.Unstructured, name string) string {
	results, _, _ := unstructured.NestedSlice(u.Object, "status", "results")
	for _, r := range results {
		if r, _ := r.(map[string]any); r["name"] == name {
			v, _ := r["value"].(string)
			return strings.TrimSpace(v)
		}
	}
	return ""
}
