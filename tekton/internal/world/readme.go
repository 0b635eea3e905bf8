package world

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// block is the first block of a language that a part of a README shows, and that has a text.
func block(folder, part, language, with string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(folder, "README.md"))
	if err != nil {
		return "", err
	}
	_, text, _ := strings.Cut(string(raw), "\n"+part+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	for _, b := range strings.Split(text, "```"+language+"\n")[1:] {
		if b, _, ok := strings.Cut(b, "```"); ok && strings.Contains(b, with) {
			return b, nil
		}
	}
	return "", fmt.Errorf("README.md of %s, %s, has no block of %s with %q", folder, part, language, with)
}

// Example is the first object that a part of a folder's README shows, with other words in
// it: each has to be there once, or it would be another object that is tried.
func Example(folder, part string, swaps [][2]string) (string, error) {
	text, err := block(folder, part, "yaml", "")
	if err != nil {
		return "", err
	}
	for _, swap := range swaps {
		if strings.Count(text, swap[0]) != 1 {
			return "", fmt.Errorf("README.md of %s, %s, does not say %q once:\n%s", folder, part, swap[0], text)
		}
		text = strings.Replace(text, swap[0], swap[1], 1)
	}
	return text, nil
}

// Commands are those by which the README of package tekton starts a run and verifies what
// comes of it, to be run by a shell that has Variables.
func Commands(source string) (string, error) { return block(source, "## Run", "sh", "<<EOF\n") }

// PipelineRun is the run that Commands create.
func PipelineRun(source string, variables map[string]string) (string, error) {
	text, err := Commands(source)
	if err != nil {
		return "", err
	}
	_, text, _ = strings.Cut(text, "<<EOF\n")
	text, _, ok := strings.Cut(text, "\nEOF\n")
	if !ok {
		return "", fmt.Errorf("README.md of %s: the run has no end", source)
	}
	var unknown []string
	text = os.Expand(text+"\n", func(name string) string {
		v, ok := variables[name]
		if !ok {
			unknown = append(unknown, name)
		}
		return v
	})
	if unknown != nil {
		return "", fmt.Errorf("README.md of %s: the run names %q, which nobody sets", source, unknown)
	}
	return text, nil
}

// Variables are what Commands need to build a commit of a service of the example tenant.
func (w *World) Variables(url, commit, service string) map[string]string {
	return map[string]string{
		"BUNDLE": w.Bundle, "URL": url, "REVISION": commit,
		"IMAGE": Local + "/" + Apps + "/" + Tenant + "/" + service, "STAGING": Local + "/staging/" + Tenant,
	}
}

// Shell writes a file that a shell reads before Commands, and returns its name: Variables,
// kubectl as somebody of the tenant, and pathctl as a verifier.
func (w *World) Shell(url, commit, service string) (string, error) {
	variables := w.Variables(url, commit, service)
	maps.Copy(variables, map[string]string{
		"KUBECONFIG": w.Kubeconfig, "PATHS_HOME": w.Home, "PATHS_CONNECT": Local + "=" + w.RegistryHost,
		"PATH": filepath.Dir(w.env["PATHS_TOOL"]) + ":" + filepath.Dir(w.env["PATHS_KUBECTL"]) + ":" + os.Getenv("PATH"),
	})
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		fmt.Fprintf(&text, "export %s='%s'\n", name, strings.ReplaceAll(variables[name], "'", `'\''`))
	}
	file := filepath.Join(w.Dir, "env")
	return file, os.WriteFile(file, []byte(text.String()), 0o600)
}
