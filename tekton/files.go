package tekton

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tektoncd/pipeline/pkg/apis/config"
	"knative.dev/pkg/apis"
	"sigs.k8s.io/yaml"

	"github.com/pavedpaths/paths/pathsdk/catalog"
)

// edit heads every generated file.
const edit = "# DO NOT EDIT: generated from the catalog; change it there, or in package tekton, and run: make gen\n"

// folders are those that hold generated files alone.
var folders = []string{"manifest", "pipeline", "stepaction", "task"}

// kustomization is the base with everything but the example's runs: kubectl apply -k.
const kustomization = "kustomization.yaml"

// Object is one of Tekton's objects.
type Object interface {
	apis.Defaultable
	apis.Validatable
	GetName() string
}

// Objects are Tekton's objects of the catalog, each valid by Tekton's own rules, by
// the path of its file with slashes. Artifact Hub wants each in a folder of its own.
func Objects(set Settings) (map[string]Object, error) {
	if err := set.check(); err != nil {
		return nil, err
	}
	all := map[string]Object{}
	add := func(kind string, o Object) { all[fmt.Sprintf("%s/%s/%[2]s.yaml", kind, o.GetName())] = o }
	for _, s := range catalog.Steps() {
		add("stepaction", stepAction(s.Spec(), set))
		add("task", stepTask(s.Spec(), set))
	}
	for _, p := range catalog.Paths() {
		o, err := pathPipeline(p, set)
		if err != nil {
			return nil, fmt.Errorf("path %s: %w", p.Name, err)
		}
		add("pipeline", o)
	}
	add("task", attestTask(catalog.Paths(), set))
	add("task", verifyTask(set))
	add("task", promoteTask(set))
	for name, o := range all {
		if err := validate(o); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return all, nil
}

// validate sets Tekton's defaults and asks Tekton, as its admission webhook with the
// feature flags of a fresh installation would.
func validate(o Object) error {
	flags, err := config.NewFeatureFlagsFromMap(map[string]string{})
	if err != nil {
		return err
	}
	defaults, err := config.NewDefaultsFromMap(map[string]string{})
	if err != nil {
		return err
	}
	ctx := config.ToContext(context.Background(), &config.Config{FeatureFlags: flags, Defaults: defaults})
	o.SetDefaults(ctx)
	if err := o.Validate(ctx); err != nil {
		return err
	}
	return nil
}

// Files returns every generated file by its path relative to this package's folder,
// with slashes.
func Files(set Settings) (map[string][]byte, error) {
	objects, err := Objects(set)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for name, o := range objects {
		if files[name], err = document(o); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	var resources []string
	for _, t := range []string{AttestTask, VerifyTask, PromoteTask} {
		resources = append(resources, "task/"+t+"/"+t+".yaml")
	}
	for name, list := range manifests() {
		if files[name], err = document(list...); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		resources = append(resources, name)
	}
	slices.Sort(resources)
	files[kustomization], err = document(map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources,
		"sortOptions": map[string]any{"order": "legacy"}, // namespaces first
	})
	return files, err
}

// document is an object as it is committed.
func document(objects ...any) ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(edit)
	for i, o := range objects {
		raw, err := plain(o)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(raw)
	}
	return out.Bytes(), nil
}

// plain is an object as YAML, without what the API server fills in.
func plain(o any) ([]byte, error) {
	raw, err := yaml.Marshal(o)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	if err := yaml.Unmarshal(raw, &m); err != nil {
		return nil, err
	}
	delete(m, "status")
	strip(m)
	return yaml.Marshal(m)
}

// strip removes fields without a value, such as creation times, which Go's types have
// where YAML needs none.
func strip(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			strip(e)
			if m, ok := e.(map[string]any); e == nil || ok && len(m) == 0 && (k == "metadata" || k == "spec" || k == "strategy" || k == "resources") {
				delete(v, k)
			}
		}
	case []any:
		for _, e := range v {
			strip(e)
		}
	}
}

// Check lists the files below dir that differ from files, are missing, or are left
// over from what is generated no more.
func Check(dir string, files map[string][]byte) ([]string, error) {
	var found []string
	for name, want := range files {
		have, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		switch {
		case os.IsNotExist(err):
			found = append(found, name+" is missing")
		case err != nil:
			return nil, err
		case !bytes.Equal(have, want):
			found = append(found, name+" is stale")
		}
	}
	left, err := leftOver(dir, files)
	if err != nil {
		return nil, err
	}
	for _, name := range left {
		found = append(found, name+" is generated no more")
	}
	slices.Sort(found)
	return found, nil
}

// Write brings the files below dir up to date, and returns those that it wrote or
// removed, in order.
func Write(dir string, files map[string][]byte) ([]string, error) {
	var changed []string
	for name, want := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, want) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return changed, err
		}
		if err := os.WriteFile(path, want, 0o644); err != nil {
			return changed, err
		}
		changed = append(changed, name)
	}
	left, err := leftOver(dir, files)
	if err != nil {
		return changed, err
	}
	for _, name := range left {
		if err := os.Remove(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return changed, err
		}
		changed = append(changed, name)
	}
	slices.Sort(changed)
	return changed, nil
}

// leftOver are generated files, by their first line, that are generated no more.
func leftOver(dir string, files map[string][]byte) ([]string, error) {
	var found []string
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join(dir, folder), func(path string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".yaml") {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			rel = filepath.ToSlash(rel)
			if _, ok := files[rel]; ok {
				return nil
			}
			have, err := os.ReadFile(path)
			if err == nil && bytes.HasPrefix(have, []byte(edit)) {
				found = append(found, rel)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
