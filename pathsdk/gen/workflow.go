package gen

import (
	"bytes"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"text/template"

	"github.com/pavedpaths/paths/pathsdk/paths"
)

// workflowText is the GitHub workflow that a consumer's repository runs a path
// with. Actions are pinned by commit. What comes from GitHub reaches the shell as
// environment variables only.
var workflowText = template.Must(template.New("workflow").Delims("[[", "]]").Parse(`# DO NOT EDIT: written by the module [[.Path]]; bring it up to date with: dagger generate
name: path
on:
  push:
    branches: [main]
  pull_request:

permissions:
  contents: read

jobs:
  check:
    runs-on: ubuntu-24.04
    timeout-minutes: 30
    steps:
      - uses: actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0
        with:
          persist-credentials: false
      - name: Test
        uses: dagger/dagger-for-github@27b130bf0f79a7f6fbbbe0fbca6760dc9bb40a77 # v8.4.1
        with:
          version: "[[.Dagger]]"
          module: [[.Module]]
          call: test --source . files export --path reports
      - name: Build
        uses: dagger/dagger-for-github@27b130bf0f79a7f6fbbbe0fbca6760dc9bb40a77 # v8.4.1
        with:
          version: "[[.Dagger]]"
          module: [[.Module]]
          call: build --source . digest

  # One job builds and signs, so what it makes is SLSA Build L1: steps share the job
  # with the keys. Keys are secrets of the environment "release".
  ship:
    if: github.event_name == 'push'
    needs: check
    runs-on: ubuntu-24.04
    timeout-minutes: 30
    environment: release
    permissions:
      contents: read
      packages: write
    steps:
      - uses: actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0
        with:
          persist-credentials: false
      - name: Log in to the registry
        env:
          TOKEN: ${{ secrets.GITHUB_TOKEN }}
        run: printf '%s' "$TOKEN" | docker login ghcr.io --username "$GITHUB_ACTOR" --password-stdin
      - name: Ship
        uses: dagger/dagger-for-github@27b130bf0f79a7f6fbbbe0fbca6760dc9bb40a77 # v8.4.1
        env:
          ATTESTER_KEY: ${{ secrets.ATTESTER_KEY }}
          VERIFIER_KEY: ${{ secrets.VERIFIER_KEY }}
        with:
          version: "[[.Dagger]]"
          module: [[.Module]]
          # Not in the checkout: a .env there would choose arguments that are not given.
          workdir: ${{ runner.temp }}
          call: >-
            ship --source "$GITHUB_WORKSPACE" --registry "ghcr.io/${GITHUB_REPOSITORY_OWNER,,}"
            --registry-config "file://$HOME/.docker/config.json"
            --revision "$GITHUB_SHA" --created "$(git -C "$GITHUB_WORKSPACE" log -1 --format=%cI)"
            --repository "$GITHUB_SERVER_URL/$GITHUB_REPOSITORY"
            --attester-key env://ATTESTER_KEY --verifier-key env://VERIFIER_KEY
            --trust "$GITHUB_WORKSPACE/trust" summary
`))

// versionFile says which version of Dagger the repository uses: the requirement of
// the engine's own module.
const versionFile = "ci/engine/go.mod"

// DaggerVersion reads the version of Dagger that the repository uses.
func DaggerVersion(repoRoot string) (string, error) {
	mod, err := os.ReadFile(filepath.Join(repoRoot, filepath.FromSlash(versionFile)))
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^\s*github\.com/dagger/dagger (v\S+)`).FindSubmatch(mod)
	if m == nil {
		return "", fmt.Errorf("%s requires no github.com/dagger/dagger", versionFile)
	}
	return string(m[1]), nil
}

// workflows are the files that carry a path's workflow: the module's constant, and
// the example's own copy. Outside of the repository there are none.
func workflows(repoRoot string, p paths.Path) (map[string][]byte, error) {
	version, err := DaggerVersion(repoRoot)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = workflowText.Execute(&b, map[string]string{
		"Path": p.Name, "Dagger": version, "Module": "github.com/pavedpaths/paths/modules/" + p.Name + "@v" + p.Version,
	})
	if err != nil {
		return nil, err
	}
	code, err := format.Source(fmt.Appendf(nil, "%s// workflow is .github/workflows/path.yaml of a consumer's repository.\nconst workflow = %q\n", goEdit, b.String()))
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		"modules/" + p.Name + "/workflow.gen.go":                 code,
		"examples/" + p.Name + "-go/.github/workflows/path.yaml": b.Bytes(),
	}, nil
}
