package evidence

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Outcomes of a test run.
const (
	TestsPassed = "PASSED"
	TestsWarned = "WARNED"
	TestsFailed = "FAILED"
)

// TestResultV01 is the predicate test-result v0.1
// (in-toto/attestation spec/predicates/test-result.md). Its subject is the
// source that was tested.
type TestResultV01 struct {
	// Result is TestsPassed, TestsWarned or TestsFailed.
	Result string `json:"result"`
	// Configuration describes what configured the run; at least one.
	Configuration []ResourceDescriptor `json:"configuration"`
	URL           string               `json:"url,omitempty"`
	// PassedTests, WarnedTests and FailedTests are names of single tests.
	PassedTests []string `json:"passedTests,omitempty"`
	WarnedTests []string `json:"warnedTests,omitempty"`
	FailedTests []string `json:"failedTests,omitempty"`
}

var _ Predicate = TestResultV01{}

// Type is TestResult.
func (TestResultV01) Type() Type { return TestResult }

// Encode validates p and encodes it with sorted test names.
func (p TestResultV01) Encode() (json.RawMessage, error) {
	p.PassedTests = slices.Sorted(slices.Values(p.PassedTests))
	p.WarnedTests = slices.Sorted(slices.Values(p.WarnedTests))
	p.FailedTests = slices.Sorted(slices.Values(p.FailedTests))
	return encode(TestResult, p)
}

// ParseTestResult reads a test-result v0.1 predicate.
func ParseTestResult(raw json.RawMessage) (TestResultV01, error) {
	return parse[TestResultV01](TestResult, raw)
}

// Validate checks the required fields, and that the result and the list of
// failed tests do not contradict each other.
func (p TestResultV01) Validate() error {
	if err := missing("result", p.Result, "configuration", len(p.Configuration) > 0); err != nil {
		return err
	}
	if !slices.Contains([]string{TestsPassed, TestsWarned, TestsFailed}, p.Result) {
		return fmt.Errorf("result %.40q is none of PASSED, WARNED, FAILED", p.Result)
	}
	if p.Result != TestsFailed && len(p.FailedTests) > 0 {
		return fmt.Errorf("result is %s although %d tests failed", p.Result, len(p.FailedTests))
	}
	return validateAll("configuration", p.Configuration)
}
