package policy

// What the steps' predicates call things; the steps' own tests and ours use the
// same spelling, and a test of the whole path would meet a difference.
const (
	// coverageAnnotation holds the statement coverage in percent, in an
	// annotation of a test result's configuration.
	coverageAnnotation = "coverage"
	// noSecretsAttribute is the SCAI attribute of a clean secret scan.
	noSecretsAttribute = "NO_SECRETS_FOUND"
	// configParameter is the external parameter with the service's paths.yaml.
	configParameter = "config"
)
