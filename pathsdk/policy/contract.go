package policy

// What the steps' predicates call things; the steps' own tests and ours use the
// same spelling, and a test of the whole path would meet a difference.
const (
	// coverageAnnotation holds the statement coverage in percent, in an
	// annotation of a test result's configuration.
	coverageAnnotation = "coverage"
	// A custom step's test result has a configuration whose name is the step's.

	// secretsAttribute is the SCAI attribute of a secret scan; its conditions
	// hold what was looked at and found.
	secretsAttribute = "SECRETS_SCANNED"
	// configParameter is the external parameter with the service's paths.yaml.
	configParameter = "config"
)
