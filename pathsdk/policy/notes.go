package policy

import (
	"fmt"
	"math"
)

// notes are loose fields: a finding's annotations, a report's conditions. err is
// the first that is not what it should be.
type notes struct {
	m   map[string]any
	err error
}

func annotations(list []map[string]any) (*notes, error) {
	n := &notes{m: map[string]any{}}
	for _, m := range list {
		for k, v := range m {
			if _, ok := n.m[k]; ok {
				return nil, fmt.Errorf("annotation %.40q stands there twice", k)
			}
			n.m[k] = v
		}
	}
	return n, nil
}

func (n *notes) text(key string) string {
	v, ok := n.m[key]
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok && n.err == nil {
		n.err = fmt.Errorf("%q is no text", key)
	}
	return s
}

func (n *notes) list(key string) []string {
	v, ok := n.m[key]
	if !ok {
		return nil
	}
	l, ok := v.([]any)
	var out []string
	for _, e := range l {
		s, isText := e.(string)
		ok = ok && isText
		out = append(out, s)
	}
	if !ok && n.err == nil {
		n.err = fmt.Errorf("%q is no list of texts", key)
	}
	return out
}

// object reads an object; its mistakes are its own.
func (n *notes) object(key string) notes {
	m, ok := n.m[key].(map[string]any)
	if !ok && n.err == nil {
		n.err = fmt.Errorf("%q is no object", key)
	}
	return notes{m: m}
}

// flag reads a boolean; false if it is absent.
func (n *notes) flag(key string) bool {
	v, ok := n.m[key]
	if !ok {
		return false
	}
	b, ok := v.(bool)
	if !ok && n.err == nil {
		n.err = fmt.Errorf("%q is no boolean", key)
	}
	return b
}

// count reads a number of things; false if it is none.
func count(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, v >= 0
	case float64:
		return int64(v), v >= 0 && v < 1<<53 && v == math.Trunc(v)
	}
	return 0, false
}
