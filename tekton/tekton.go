// Package tekton turns the catalog into Tekton's objects: it is the only importer of
// Tekton's types. Generated files are committed, and a test fails when they are stale.
package tekton

import "github.com/pavedpaths/paths/pathsdk/provenance"

// Names that the manifests, the controller and the attester agree on.
const (
	// SigningNamespace is where evidence is signed; no build ever runs there.
	SigningNamespace = "paths-signing"
	// SigningPriority is the PriorityClass of signers.
	SigningPriority = "paths-signing"
	// SystemNamespace is the controller's.
	SystemNamespace = "paths-system"
	// BuildPrefix begins the name of each tenant's build namespace.
	BuildPrefix = "paths-build-"
	// ZoneLabel marks namespaces with the zone whose pods they hold: build or signing.
	ZoneLabel = "pavedpaths.dev/zone"
	// Finalizer holds a run until it is signed, or refused for good.
	Finalizer = "pavedpaths.dev/signing"
	// SignedAnnotation says on a run what became of it: true, or why not.
	SignedAnnotation = "pavedpaths.dev/signed"
	// ProducerAccount is the ServiceAccount of builds: it may do nothing.
	ProducerAccount = provenance.ProducerAccount
	// AttesterAccount, VerifierAccount and PromoterAccount are identities that sign.
	AttesterAccount = "attester"
	VerifierAccount = "verifier"
	PromoterAccount = "promoter"
	// ResultImageURL, ResultImageDigest and ResultHandover are a run's results. The first
	// two are those that Tekton Chains looks for.
	ResultImageURL    = "IMAGE_URL"
	ResultImageDigest = provenance.ResultImageDigest
	ResultHandover    = provenance.ResultHandover
	// ResultRefusal is a result of the Tasks that sign, and ResultSigned one of AttestTask.
	ResultRefusal = "refusal"
	ResultSigned  = "image-digest"
	// ProduceTask is the one task of a path's Pipeline, and these are its steps. The
	// results are those of StepSource, StepPublish and StepHand, in that order: only
	// the step itself can write its results, while those of a task lie in a folder
	// that every step of the pod can write.
	ProduceTask = "produce"
	StepSource  = "source"
	StepFetch   = "fetch"
	StepBuild   = "build"
	StepPublish = provenance.StepPublish
	StepHand    = provenance.StepHand
	// AttestTask, VerifyTask and PromoteTask are the Tasks in SigningNamespace.
	AttestTask  = "attest"
	VerifyTask  = "verify"
	PromoteTask = "promote"
	// TrustMap is the ConfigMap in SigningNamespace that says what is trusted;
	// TrustPipelines is its list of bundles, and TrustRuntimeClass the RuntimeClass of
	// Tekton's default pod template, if there is one.
	TrustMap          = "trust"
	TrustPipelines    = "pipelines"
	TrustRuntimeClass = "runtime-class"
)
