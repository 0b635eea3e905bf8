package steptest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

var (
	stepName  = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	fieldName = regexp.MustCompile(`^[a-z][a-zA-Z0-9]*$`)
	version   = regexp.MustCompile(`^[0-9]+(\.[0-9]+){0,2}$`)
)

// CheckSpec reports what is missing or wrong in a specification.
func CheckSpec(s step.Spec) []string {
	var found []string
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if !stepName.MatchString(s.Name) {
		add("name %q: want lower-case words joined by dashes", s.Name)
	}
	if !version.MatchString(s.Version) {
		add("version %q: want one such as 1.0.0", s.Version)
	}
	if !sentence(s.Summary) {
		add("summary %q: want one sentence with a full stop", s.Summary)
	}
	if s.Proves != "" && !sentence(s.Proves) {
		add("proves %q: want one sentence with a full stop", s.Proves)
	}
	if (s.Proves != "") != (len(s.Evidence) > 0) {
		add("proves is %q, and the evidence is %q: both or none", s.Proves, s.Evidence)
	}
	if !slices.Contains(step.Zones(), s.Zone) {
		add("zone %q: want one of %v", s.Zone, step.Zones())
	}
	if s.Needs.UserCode && s.Zone != step.ZoneBuild {
		add("zone %s: only zone build may run user code", s.Zone)
	}
	if s.Needs.Network && s.Zone == step.ZoneBuild {
		add("zone build has no network")
	}
	for _, uri := range s.Evidence {
		if t, ok := evidence.Lookup(uri); !ok || t.URI != uri {
			add("evidence %q: no such predicate type URI in package evidence", uri)
		}
	}
	for kind, fields := range map[string][]step.Field{"input": s.Inputs, "output": s.Outputs} {
		seen := map[string]bool{}
		for _, f := range fields {
			for _, p := range checkField(f, kind == "output") {
				add("%s %s: %s", kind, f.Name, p)
			}
			if seen[f.Name] {
				add("%s %s: declared twice", kind, f.Name)
			}
			seen[f.Name] = true
		}
	}
	slices.Sort(found)
	return found
}

func sentence(s string) bool {
	return strings.HasSuffix(s, ".") && unicode.IsUpper([]rune(s)[0]) && !strings.Contains(s, "\n")
}

func checkField(f step.Field, output bool) []string {
	var found []string
	if !fieldName.MatchString(f.Name) {
		found = append(found, "want a lower camel name")
	}
	switch first, _, _ := strings.Cut(f.Help, " "); {
	case f.Help == "":
		found = append(found, "has no help")
	case strings.HasSuffix(f.Help, ".") && !strings.HasSuffix(f.Help, "...") || strings.Contains(f.Help, "\n"):
		found = append(found, "its help is more than one clause; leave out the full stop")
	case slices.Contains([]string{"A", "An", "The", "This", "It", "Whether", "If", "List", "Path", "Name"}, first):
		found = append(found, fmt.Sprintf("its help starts with %q; start in lower case", first))
	}
	if f.Default != "" {
		if _, err := step.Parse(f, f.Default); err != nil {
			found = append(found, "default: "+err.Error())
		}
	}
	// A string can be the name of a program on the host.
	if f.Keyless && f.Kind != step.KindFile && f.Kind != step.KindDir && (output || f.Kind != step.KindString) {
		found = append(found, fmt.Sprintf("is a keyless %s; only what names a file or folder can be", f.Kind))
	}
	if f.Kind == step.KindSecret && (output || f.Default != "") {
		found = append(found, "a secret is an input without default")
	}
	if output && (f.Default != "" || len(f.Enum) > 0) {
		found = append(found, "an output has no default and no enum")
	}
	return found
}

// CheckResult reports what is wrong with the result of one run with env.
func CheckResult(spec step.Spec, env step.Env, res step.Result) []string {
	var found []string
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	// A gate that refuses may have evidence, but no output.
	if res.Output != nil {
		if _, err := step.ParseDigest(string(res.Subject.Digest)); err != nil || res.Subject.Name == "" {
			add("subject %+v: want a name and a digest (%v)", res.Subject, err)
		}
		found = append(found, checkOutput(spec, env, res.Output)...)
	}
	for i, e := range res.Evidence {
		if !slices.Contains(spec.Evidence, e.Type) {
			add("evidence %d: type %q is not in the Spec's list %q", i, e.Type, spec.Evidence)
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(e.Predicate, &object); err != nil || object == nil {
			add("evidence %d (%s): its predicate is no JSON object: %v", i, e.Type, err)
		}
		for name, secret := range machine(env) {
			if strings.Contains(string(e.Predicate), secret) {
				add("evidence %d (%s): its predicate holds %s (%s)", i, e.Type, name, secret)
			}
		}
		if e.Subject == nil && res.Output == nil {
			add("evidence %d (%s): without an output it needs a subject of its own", i, e.Type)
		}
		if e.Subject != nil {
			if _, err := step.ParseDigest(string(e.Subject.Digest)); err != nil || e.Subject.Name == "" {
				add("evidence %d (%s): subject %+v: want a name and a digest (%v)", i, e.Type, *e.Subject, err)
			}
		}
	}
	return found
}

// machine is what no evidence may show: it differs from machine to machine.
func machine(env step.Env) map[string]string {
	return map[string]string{"a path below Env.Work": env.Work, "a path below Env.Out": env.Out, "a path below Env.Cache": env.Cache}
}

// checkClock reports predicates with today's date: Env.Now says another, and if
// the inputs don't, it came from the machine's clock.
func checkClock(in json.RawMessage, res step.Result) []string {
	today := time.Now().UTC().Format(time.DateOnly)
	if strings.Contains(string(in), today) {
		return nil
	}
	var found []string
	for i, e := range res.Evidence {
		if strings.Contains(string(e.Predicate), today) {
			found = append(found, fmt.Sprintf("evidence %d (%s): its predicate holds today's date; take the time from Env.Now", i, e.Type))
		}
	}
	return found
}

func checkOutput(spec step.Spec, env step.Env, output json.RawMessage) []string {
	// Complete knows the form of every kind, and unknown names.
	fields := slices.Clone(spec.Outputs)
	if _, err := step.Complete(step.Spec{Meta: spec.Meta, Inputs: fields}, output); err != nil {
		return []string{"output: " + err.Error()}
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(output, &values); err != nil {
		return []string{"output: " + err.Error()}
	}
	var found []string
	for _, f := range fields {
		raw, ok := values[f.Name]
		if !ok {
			found = append(found, fmt.Sprintf("output %s: is missing", f.Name))
			continue
		}
		if f.Kind != step.KindFile && f.Kind != step.KindDir {
			for name, path := range machine(env) {
				if strings.Contains(string(raw), path) {
					found = append(found, fmt.Sprintf("output %s: holds %s (%s)", f.Name, name, raw))
				}
			}
			continue
		}
		var path string
		if err := json.Unmarshal(raw, &path); err != nil {
			found = append(found, fmt.Sprintf("output %s: %v", f.Name, err))
		} else if path != "" {
			if p := place(f, env, path); p != "" {
				found = append(found, fmt.Sprintf("output %s: %s", f.Name, p))
			}
		}
	}
	return found
}

// place says what is wrong with the path of an output file or folder.
func place(f step.Field, env step.Env, path string) string {
	info, err := os.Lstat(path)
	if err != nil {
		return err.Error()
	}
	if f.Kind == step.KindFile && !info.Mode().IsRegular() || f.Kind == step.KindDir && !info.IsDir() {
		return fmt.Sprintf("%s is a %s, want a %s", path, info.Mode().Type(), f.Kind)
	}
	if f.Keyless {
		return "" // in Cache, or on the host (a toolchain): another field fixes its content
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err.Error()
	}
	out, err := filepath.EvalSymlinks(env.Out)
	if err != nil {
		return err.Error()
	}
	if rel, err := filepath.Rel(out, real); err != nil || !filepath.IsLocal(rel) {
		return fmt.Sprintf("%s is not below Env.Out", path)
	}
	return ""
}
