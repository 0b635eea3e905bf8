// Export checks what pathctl policy export writes, with the other verifiers' own Go
// types and schemas: fields that they don't know are refused, and so is what their own
// validation objects to, be it a warning.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	conforma "github.com/enterprise-contract/enterprise-contract-controller/api/v1alpha1"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/sigstore/policy-controller/pkg/apis/policy/v1alpha1"
	"github.com/sigstore/policy-controller/pkg/apis/policy/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: export FILE...")
		os.Exit(2)
	}
	checked := map[string]int{}
	for _, file := range os.Args[1:] {
		if err := check(file, checked); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", file, err)
			os.Exit(1)
		}
	}
	for _, kind := range []string{"ClusterImagePolicy", "TrustRoot", "EnterpriseContractPolicySpec"} {
		fmt.Printf("%d of kind %s\n", checked[kind], kind)
	}
}

// check checks every document of a file.
func check(file string, checked map[string]int) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, doc := range strings.Split(string(text), "\n---\n") {
		var head metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
			return err
		}
		kind := head.Kind
		switch head.APIVersion + " " + kind {
		case "policy.sigstore.dev/v1beta1 ClusterImagePolicy":
			err = checkObject(doc, &v1beta1.ClusterImagePolicy{})
		case "policy.sigstore.dev/v1alpha1 TrustRoot":
			err = checkObject(doc, &v1alpha1.TrustRoot{})
		case " ":
			kind, err = "EnterpriseContractPolicySpec", checkSpec(doc)
		default:
			err = fmt.Errorf("%s %s is nothing that is checked here", head.APIVersion, kind)
		}
		if err != nil {
			return err
		}
		checked[kind]++
	}
	return nil
}

// checkObject is for what policy-controller's webhook validates.
func checkObject(doc string, into apis.Validatable) error {
	if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
		return err
	}
	// A nil *FieldError is no error, and in an interface it would be one.
	if err := into.Validate(context.Background()); err != nil {
		return err
	}
	return nil
}

// checkSpec is for what Conforma checks against its schema.
func checkSpec(doc string) error {
	var spec conforma.EnterpriseContractPolicySpec
	if err := yaml.UnmarshalStrict([]byte(doc), &spec); err != nil {
		return err
	}
	if (spec.PublicKey == "") == (spec.Identity == nil) {
		return errors.New("want one of publicKey and identity")
	}
	schema, err := jsonschema.UnmarshalJSON(strings.NewReader(conforma.Schema))
	if err != nil {
		return err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("spec.json", schema); err != nil {
		return err
	}
	compiled, err := c.Compile("spec.json")
	if err != nil {
		return err
	}
	raw, err := yaml.YAMLToJSON([]byte(doc))
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	return compiled.Validate(v)
}
