package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func newStep(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "step NAME [flags]",
		Short: "Run one step by itself",
		Long: `Step runs one step of the catalog in its zone, with its inputs as flags, and
prints its output. Its evidence is unsigned: only attest signs.`,
		Example: `  pathctl step fetch --source . --out ./fetched
  pathctl step build --help`,
	}
	for _, s := range catalog.Steps() {
		cmd.AddCommand(newOneStep(a, s.Spec()))
	}
	return cmd
}

func newOneStep(a *app, spec step.Spec) *cobra.Command {
	values := map[string]*string{}
	var out, caches, record string
	var results []string
	cmd := &cobra.Command{
		Use:   spec.Name,
		Short: spec.Summary,
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := map[string]json.RawMessage{}
			for _, f := range spec.Inputs {
				flag := flagName(f)
				if !cmd.Flags().Changed(flag) || a.host.Tekton && *values[f.Name] == "" {
					continue
				}
				v, err := step.Parse(f, *values[f.Name])
				if err != nil {
					return err
				}
				in[f.Name] = v
			}
			raw, err := json.Marshal(in)
			if err != nil {
				return err
			}
			digests, err := digestFiles(spec, results)
			if err != nil {
				return err
			}
			if err := newCaches(spec, caches); err != nil {
				return err
			}
			show := newProgress(a, "step "+spec.Name)
			defer show.close()
			r, err := a.runner(0, out != "", out, show.observe)
			if err != nil {
				return err
			}
			defer r.Close()
			rec, err := r.Step(cmd.Context(), spec.Name, spec.Name, raw)
			if err != nil {
				return err
			}
			if out != "" {
				if rec.Output, err = keepOutputs(spec, rec.Output, out); err != nil {
					return fmt.Errorf("keep the output: %w", err)
				}
			}
			if caches != "" {
				if rec.Output, err = keepCaches(spec, rec.Output, caches); err != nil {
					return fmt.Errorf("--caches: %w", err)
				}
			}
			show.close()
			if record != "" {
				raw, err := json.Marshal(rec)
				if err != nil {
					return err
				}
				if err := writeFile(record, raw, 0o644); err != nil {
					return fmt.Errorf("write the record: %w", err)
				}
			}
			if err := writeDigests(digests, rec.Output); err != nil {
				return err
			}
			return a.print(rec, func(w io.Writer) { writeOutput(w, rec.Output) })
		},
	}
	for _, f := range spec.Inputs {
		values[f.Name] = cmd.Flags().String(flagName(f), "", f.Help)
		cmd.Flags().Lookup(flagName(f)).DefValue = f.Default
		if f.Deprecated != "" {
			_ = cmd.Flags().MarkDeprecated(flagName(f), f.Deprecated)
		}
	}
	cmd.Flags().StringVar(&record, "record", "", "also write what the runner saw, output and unsigned evidence, to this file as JSON")
	if names := digestNames(spec); len(names) > 0 {
		cmd.Flags().StringArrayVar(&results, "result", nil, "also write an output's digest to a file, NAME=FILE, without a line's end; NAME is one of "+strings.Join(names, ", "))
	}
	if cmd.Flags().Lookup("out") == nil {
		cmd.Flags().StringVar(&out, "out", "", "folder to copy output files to; they stay in the cache otherwise")
	}
	if names := spec.Caches(); len(names) > 0 {
		cmd.Flags().StringVar(&caches, "caches", "", "folder to copy "+strings.Join(names, ", ")+" to as well, whole, for a machine that lacks them; they stay where they are otherwise")
	}
	return cmd
}

// flagName is an input's flag; a secret is given as the name of a file that
// holds it, never as an argument.
func flagName(f step.Field) string {
	if f.Kind == step.KindSecret {
		return step.Flag(f.Name) + "-file"
	}
	return step.Flag(f.Name)
}

func writeOutput(w io.Writer, out json.RawMessage) {
	var m map[string]any
	if json.Unmarshal(out, &m) != nil {
		return
	}
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		fmt.Fprintf(w, "%-16s %v\n", k, m[k])
	}
}

// digestNames are the outputs that are digests: what a host's results may carry.
func digestNames(spec step.Spec) []string {
	var names []string
	for _, f := range spec.Outputs {
		if f.Kind == step.KindDigest {
			names = append(names, f.Name)
		}
	}
	return names
}

// digestFiles reads the values of --result: files by the output that goes into them.
func digestFiles(spec step.Spec, results []string) (map[string]string, error) {
	files := map[string]string{}
	for _, r := range results {
		name, file, ok := strings.Cut(r, "=")
		if !ok || file == "" {
			return nil, step.Usagef("--result %s: give it as NAME=FILE", r)
		}
		if names := digestNames(spec); !slices.Contains(names, name) {
			return nil, step.Usagef("--result %s: step %s has no digest of that name; it has %s", r, spec.Name, strings.Join(names, ", "))
		}
		if files[name] != "" {
			return nil, step.Usagef("--result %s: %s goes to %s already; give each name once", r, name, files[name])
		}
		files[name] = file
	}
	return files, nil
}

// writeDigests writes one file for each output asked for, and nothing but a digest into it.
func writeDigests(files map[string]string, out json.RawMessage) error {
	if len(files) == 0 {
		return nil
	}
	var m map[string]any
	if err := json.Unmarshal(out, &m); err != nil {
		return fmt.Errorf("--result: read the output: %w", err)
	}
	for name, file := range files {
		text, _ := m[name].(string)
		digest, err := step.ParseDigest(text)
		if err != nil {
			return fmt.Errorf("--result %s=%s: the step gave none: %w", name, file, err)
		}
		if err := writeFile(file, []byte(digest), 0o644); err != nil {
			return fmt.Errorf("--result %s=%s: %w", name, file, err)
		}
	}
	return nil
}

// keepOutputs copies output files to a folder of the user's.
func keepOutputs(spec step.Spec, out json.RawMessage, to string) (json.RawMessage, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(out, &m); err != nil {
		return nil, err
	}
	for _, f := range spec.Outputs {
		var path string
		if (f.Kind != step.KindFile && f.Kind != step.KindDir) || f.Keyless || json.Unmarshal(m[f.Name], &path) != nil || path == "" {
			continue
		}
		dst := filepath.Join(to, filepath.Base(path))
		if spec.Zone == step.ZoneBuild && f.Kind == step.KindFile {
			// A report: the runner has put it there, as it does when a gate fails.
			dst = filepath.Join(to, spec.Name, filepath.Base(path))
			if raw, err := json.Marshal(dst); err == nil {
				m[f.Name] = raw
			}
			continue
		}
		if _, err := os.Lstat(dst); err == nil {
			return nil, step.Usagef("%s exists: remove it, or give another folder with --out", dst)
		}
		if f.Kind == step.KindDir {
			if err := copyFolder(path, dst); err != nil {
				return nil, err
			}
		} else {
			b, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			if err := writeFile(dst, b, 0o644); err != nil {
				return nil, err
			}
		}
		raw, err := json.Marshal(dst)
		if err != nil {
			return nil, err
		}
		m[f.Name] = raw
	}
	return json.Marshal(m)
}

// newCaches refuses a folder that has one of the step's caches already: it may be another
// one, and the step can take long.
func newCaches(spec step.Spec, to string) error {
	if to == "" {
		return nil
	}
	for _, name := range spec.Caches() {
		dst := filepath.Join(to, name)
		if _, err := os.Lstat(dst); err == nil {
			return step.Usagef("--caches: %s exists: remove it, or give another folder", dst)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return step.Usagef("--caches: %w: give a folder, or the name of a new one", err)
		}
	}
	return nil
}

// keepCaches copies folders whose content other outputs fix to a folder of the user's, each
// by its output's name.
func keepCaches(spec step.Spec, out json.RawMessage, to string) (json.RawMessage, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(out, &m); err != nil {
		return nil, err
	}
	for _, name := range spec.Caches() {
		var path string
		if err := json.Unmarshal(m[name], &path); err != nil || path == "" {
			return nil, fmt.Errorf("the step gave no folder %s", name)
		}
		dst := filepath.Join(to, name)
		if err := copyFolder(path, dst); err != nil {
			return nil, err
		}
		raw, err := json.Marshal(dst)
		if err != nil {
			return nil, err
		}
		m[name] = raw
	}
	return json.Marshal(m)
}

// copyFolder copies a folder to one that is not there yet, and appears when it is complete.
// What a copy that was killed left goes first: its name is always the same.
func copyFolder(from, to string) error {
	half := filepath.Join(filepath.Dir(to), ".half-"+filepath.Base(to))
	if err := errors.Join(os.RemoveAll(half), os.MkdirAll(filepath.Dir(to), 0o755)); err != nil {
		return err
	}
	if err := os.CopyFS(half, os.DirFS(from)); err != nil {
		return errors.Join(err, os.RemoveAll(half))
	}
	return os.Rename(half, to)
}
