package policy

import (
	"maps"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
)

// A record is what CEL sees as one object: a map whose keys are exactly the
// fields of its type below. The types exist for the checker only, so that a
// misspelt field is an error when a policy is loaded, not when it judges.
type record = map[string]any

var (
	str     = cel.StringType
	texts   = cel.ListType(cel.StringType)
	dynamic = cel.MapType(cel.StringType, cel.DynType)
)

// object is the CEL type of records of that name.
func object(name string) *cel.Type { return cel.ObjectType(name) }

// meta are the fields of every type that comes from one attestation.
func meta(more map[string]*cel.Type) map[string]*cel.Type {
	m := map[string]*cel.Type{
		"name":     str,              // short name of the predicate type
		"type":     str,              // its URI
		"digest":   str,              // of the referrer
		"image":    str,              // the image that it hangs on
		"subject":  str,              // what the statement is about
		"platform": str,              // of the image; empty for an index
		"signer":   str,              // in the trust root
		"roles":    texts,            // of the signer
		"tier":     str,              // effective
		"claimed":  str,              // tier that the statement claims
		"tierRank": cel.IntType,      // 1 reported, 2 derived, 3 observed, 4 reproduced
		"age":      cel.DurationType, // by the time inside; zero where there is none
	}
	maps.Copy(m, more)
	return m
}

// objects are the fields of every type.
func objects() map[string]map[string]*cel.Type {
	return map[string]map[string]*cel.Type{
		"Image":     {"digest": str, "platform": str},
		"Level":     {"build": cel.IntType, "missing": texts},
		"Evidence":  meta(nil),
		"Signature": meta(nil),
		"Provenance": meta(map[string]*cel.Type{
			"builder":      str,
			"buildType":    str,
			"invocation":   str,
			"started":      cel.TimestampType,
			"finished":     cel.TimestampType,
			"parameters":   dynamic, // externalParameters
			"internal":     dynamic, // internalParameters
			"dependencies": cel.ListType(object("Dependency")),
			"custom":       texts, // names of the custom steps in the service's paths.yaml
			"source":       str,   // sha256: of the source among the dependencies; empty if there is not exactly one
		}),
		"Dependency": {"name": str, "uri": str, "digest": cel.MapType(str, str)},
		"Test": meta(map[string]*cel.Type{
			"suites":      texts, // names of its configurations
			"result":      str,
			"passed":      texts,
			"warned":      texts,
			"failed":      texts,
			"hasCoverage": cel.BoolType,
			"coverage":    cel.DoubleType, // percent
		}),
		"SBOM": meta(map[string]*cel.Type{
			"format":   str,
			"version":  str,
			"created":  cel.TimestampType,
			"packages": cel.IntType,
			"named":    cel.IntType, // packages with a version and a purl
		}),
		"Scan": meta(map[string]*cel.Type{
			"scanner":   str,
			"version":   str,
			"db":        str,
			"dbUpdated": cel.TimestampType,
			"started":   cel.TimestampType,
			"finished":  cel.TimestampType,
			"findings":  cel.IntType,
		}),
		"Vuln": {
			"image":    str,
			"platform": str,
			"id":       str,
			"ids":      texts, // id and aliases
			"package":  str,
			"version":  str,
			"purl":     str,
			"fixed":    str,          // version that fixes it; empty if none does
			"severity": str,          // none, low, medium, high, critical or unknown
			"rank":     cel.IntType,  // 0 none and unknown, 1 low to 4 critical
			"vex":      str,          // status of an OpenVEX statement; empty without one
			"vexWhy":   str,          // its justification
			"kev":      cel.BoolType, // on the list of known exploited vulnerabilities
		},
		"SecretScan": meta(map[string]*cel.Type{
			"findings":    cel.IntType,
			"source":      str,         // digest of the source that was scanned as well
			"imageFiles":  cel.IntType, // files that were looked at
			"sourceFiles": cel.IntType,
			"truncated":   cel.BoolType, // a limit ended the scan early
		}),
		"Secret": {
			"image":    str,
			"platform": str,
			"ids":      texts,
			"rule":     str,
			"where":    str,
		},
	}
}

// variables are the names that expressions can use, besides params and it.
func variables() map[string]*cel.Type {
	return map[string]*cel.Type{
		"image":       object("Image"),
		"images":      cel.ListType(object("Image")),
		"level":       object("Level"),
		"now":         cel.TimestampType,
		"kevChecked":  cel.BoolType,
		"evidence":    cel.ListType(object("Evidence")),
		"signatures":  cel.ListType(object("Signature")),
		"provenances": cel.ListType(object("Provenance")),
		"tests":       cel.ListType(object("Test")),
		"sboms":       cel.ListType(object("SBOM")),
		"scans":       cel.ListType(object("Scan")),
		"vulns":       cel.ListType(object("Vuln")),
		"secretScans": cel.ListType(object("SecretScan")),
		"secrets":     cel.ListType(object("Secret")),
	}
}

// needs says which predicate types a variable is made of: a rule that reads it
// can't be judged without any of them.
func needs(variable string) []string {
	switch variable {
	case "signatures":
		return []string{"signature"}
	case "provenances", "level":
		return []string{"provenance"}
	case "tests":
		return []string{"test-result"}
	case "sboms":
		return []string{"spdx", "cyclonedx"}
	case "scans", "vulns":
		return []string{"vulns"}
	case "secretScans", "secrets":
		return []string{"scai"}
	}
	return nil
}

// provider tells the checker the fields of the types in objects.
type provider struct {
	types.Provider
	objects map[string]map[string]*cel.Type
}

func (p provider) FindStructType(name string) (*types.Type, bool) {
	if _, ok := p.objects[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldType leaves out the getters, so that fields are read as keys of
// a record.
func (p provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if o, ok := p.objects[name]; ok {
		t, ok := o[field]
		return &types.FieldType{Type: t}, ok
	}
	return p.Provider.FindStructFieldType(name, field)
}
