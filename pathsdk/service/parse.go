package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/semver"

	"github.com/pavedpaths/paths/pathsdk/internal/nearest"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// The limits of a file.
const (
	maxEntries = 500  // of any one map or list
	maxText    = 4096 // bytes of one value
)

var (
	nodeName  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)
	fieldName = regexp.MustCompile(`^[a-z][a-zA-Z0-9]{0,63}$`)
	yamlLine  = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
)

// Parse reads the content of a paths.yaml. It is strict: unknown and repeated
// fields, anchors, aliases, tags and a second document are errors. All errors
// wrap step.ErrUsage and name the line, the field and what to write instead.
func Parse(content []byte) (Service, error) {
	if len(content) > MaxSize {
		return Service{}, step.Usagef("%s is larger than %d KiB", File, MaxSize>>10)
	}
	if !utf8.Valid(content) {
		return Service{}, step.Usagef("%s is not UTF-8 text; save it as such", File)
	}
	dec := yaml.NewDecoder(bytes.NewReader(content))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return Service{}, step.Usagef("%s is empty; write it with: pathctl init", File)
	} else if err != nil {
		return Service{}, syntax(err)
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		return Service{}, step.Usagef("%s:%d: a second document; keep one", File, second.Line)
	} else if !errors.Is(err, io.EOF) {
		return Service{}, syntax(err)
	}
	if len(doc.Content) != 1 {
		return Service{}, step.Usagef("%s is empty; write it with: pathctl init", File)
	}
	p := parser{lines: map[string]int{}}
	s := p.service(doc.Content[0])
	if p.err != nil {
		return Service{}, p.err
	}
	s.lines = p.lines
	return s, nil
}

// syntax is the error of the YAML parser, in the form of all others. Its line is
// only near the mistake.
func syntax(err error) error {
	text, near := err.Error(), ""
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		if m[1] != "" {
			near = " near line " + m[1]
		}
	}
	return step.Usagef("%s: not YAML%s: %s", File, near, text)
}

// parser walks the nodes of one file and keeps the first error.
type parser struct {
	lines map[string]int
	err   error
}

func (p *parser) fail(n *yaml.Node, field, format string, args ...any) {
	if p.err != nil {
		return
	}
	where := fmt.Sprintf("%s:%d: ", File, n.Line)
	if field != "" {
		where += field + ": "
	}
	p.err = step.Usagef("%s%s", where, fmt.Sprintf(format, args...))
}

func (p *parser) service(n *yaml.Node) Service {
	var s Service
	fields := p.fields(n, "", "apiVersion", "kind", "path", "version", "inputs", "gates", "waivers", "custom")
	for _, f := range []struct {
		name, want string
		to         *string
	}{{"apiVersion", APIVersion, &s.APIVersion}, {"kind", Kind, &s.Kind}, {"path", "", &s.Path}} {
		v, ok := fields[f.name]
		if !ok {
			want := f.want
			if want == "" {
				want = "the name of a path, as pathctl paths lists them"
			}
			p.fail(n, f.name, "is missing; write %s: %s", f.name, want)
			continue
		}
		*f.to = p.text(v, f.name)
		if f.want != "" && *f.to != f.want {
			p.fail(v, f.name, "%q is not supported; write %s", *f.to, f.want)
		}
	}
	if s.Path != "" && !nodeName.MatchString(s.Path) {
		p.fail(fields["path"], "path", "%.60q is no name of a path; pathctl paths lists them", s.Path)
	}
	if v, ok := fields["version"]; ok {
		s.Version = p.text(v, "version")
		if p.err == nil && (!semver.IsValid("v"+s.Version) || strings.Count(s.Version, ".") < 2) {
			p.fail(v, "version", "%.60q is no version; write one such as 1.2.3", s.Version)
		}
	}
	// A section may be there with all its entries commented out.
	maps.DeleteFunc(fields, func(_ string, v *yaml.Node) bool {
		return v.Kind == yaml.ScalarNode && v.Tag == "!!null" && v.Style&yaml.TaggedStyle == 0 && v.Anchor == ""
	})
	if v, ok := fields["inputs"]; ok {
		s.Inputs = p.values(v, "inputs")
	}
	if v, ok := fields["gates"]; ok {
		s.Gates = map[string]any{}
		for name, raw := range p.values(v, "gates") {
			var x any
			_ = json.Unmarshal(raw, &x) // we have just made it
			s.Gates[name] = x
		}
	}
	if v, ok := fields["waivers"]; ok {
		s.Waivers = p.waivers(v)
	}
	if v, ok := fields["custom"]; ok {
		s.Custom = p.custom(v)
	}
	return s
}

// fields are the entries of a map, of which only the known may occur.
func (p *parser) fields(n *yaml.Node, at string, known ...string) map[string]*yaml.Node {
	m := map[string]*yaml.Node{}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		p.fail(n, at, "anchors and aliases are not supported; write the value out")
		return m
	}
	if n.Kind != yaml.MappingNode {
		p.fail(n, at, "want fields and their values, such as %s: value", append(known, "name")[0])
		return m
	}
	if n.Style&yaml.TaggedStyle != 0 {
		p.fail(n, at, "tags such as %.40s are not supported", n.Tag)
		return m
	}
	if len(n.Content)/2 > maxEntries {
		p.fail(n, at, "has more than %d entries", maxEntries)
		return m
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		name := p.text(k, at)
		if p.err != nil {
			return m
		}
		field := strings.TrimPrefix(at+"."+name, ".")
		switch _, again := m[name]; {
		case again:
			p.fail(k, field, "is given twice; keep one")
		case known != nil && !slices.Contains(known, name):
			p.fail(k, at, "%.60q is unknown; %s", name, nearest.Hint(name, known))
		case known == nil && !fieldName.MatchString(name):
			p.fail(k, at, "%.60q is no name of a field", name)
		}
		m[name] = v
		p.lines[field] = k.Line
	}
	return m
}

// items are the elements of a list.
func (p *parser) items(n *yaml.Node, at string) []*yaml.Node {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		p.fail(n, at, "anchors and aliases are not supported; write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		p.fail(n, at, "tags such as %.40s are not supported", n.Tag)
	case n.Kind != yaml.SequenceNode:
		p.fail(n, at, "want a list: one element a line, each after a dash")
	case len(n.Content) > maxEntries:
		p.fail(n, at, "has more than %d elements", maxEntries)
	default:
		return n.Content
	}
	return nil
}

// scalar checks that a node is one plain value.
func (p *parser) scalar(n *yaml.Node, at string) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		p.fail(n, at, "anchors and aliases are not supported; write the value out")
	case n.Kind != yaml.ScalarNode:
		p.fail(n, at, "want a single value")
	case n.Style&yaml.TaggedStyle != 0:
		p.fail(n, at, "tags such as %.40s are not supported", n.Tag)
	case n.Tag == "!!null":
		p.fail(n, at, "has no value; give one, or remove the line")
	case len(n.Value) > maxText:
		p.fail(n, at, "is longer than %d bytes", maxText)
	case strings.ContainsRune(n.Value, 0):
		p.fail(n, at, "holds a NUL byte")
	default:
		return true
	}
	return false
}

// text is a value as it stands in the file: 1.20 stays "1.20".
func (p *parser) text(n *yaml.Node, at string) string {
	if !p.scalar(n, at) {
		return ""
	}
	return n.Value
}

func (p *parser) texts(n *yaml.Node, at string) []string {
	out := []string{}
	for i, e := range p.items(n, at) {
		out = append(out, p.text(e, fmt.Sprintf("%s[%d]", at, i)))
	}
	return out
}
