package sbom

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemas compiles the published schemas. SPDX 2.3 and CycloneDX 1.6 come from
// syft's module, and the signature schema that CycloneDX refers to from
// cyclonedx-go's: files of the module cache, read where they are.
var schemas = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	syft, err := moduleDir("github.com/anchore/syft")
	if err != nil {
		return nil, err
	}
	cyclonedx, err := moduleDir("github.com/CycloneDX/cyclonedx-go")
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.UseLoader(offline{})
	for url, file := range map[string]string{
		"http://cyclonedx.org/schema/bom-1.6.schema.json":  filepath.Join(syft, "schema/cyclonedx/cyclonedx.json"),
		"http://cyclonedx.org/schema/spdx.schema.json":     filepath.Join(syft, "schema/cyclonedx/spdx.schema.json"),
		"http://cyclonedx.org/schema/jsf-0.82.schema.json": filepath.Join(cyclonedx, "schema/jsf-0.82.schemax.json"),
		"http://spdx.org/rdf/terms/2.3":                    filepath.Join(syft, "schema/spdx-json/spdx-schema-2.3.json"),
	} {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if err := c.AddResource(url, doc); err != nil {
			return nil, err
		}
	}
	m := map[string]*jsonschema.Schema{}
	for name, url := range map[string]string{"CycloneDX": "http://cyclonedx.org/schema/bom-1.6.schema.json", "SPDX": "http://spdx.org/rdf/terms/2.3"} {
		if m[name], err = c.Compile(url); err != nil {
			return nil, err
		}
	}
	return m, nil
})

// offline refuses what isn't in the module cache.
type offline struct{}

func (offline) Load(url string) (any, error) { return nil, fmt.Errorf("schema %s is not at hand", url) }

func moduleDir(path string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		return "", fmt.Errorf("go list -m %s: %w", path, err)
	}
	return strings.TrimSpace(string(out)), nil
}

func validate(t testing.TB, spdx, cdx []byte) {
	t.Helper()
	m, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"SPDX": spdx, "CycloneDX": cdx} {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		if err := m[name].Validate(doc); err != nil {
			t.Errorf("%s document against its schema: %v", name, err)
		}
	}
}

// TestSchemasRefuse makes sure that validate can fail.
func TestSchemasRefuse(t *testing.T) {
	m, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"SPDX":      `{"spdxVersion":"SPDX-2.3"}`,
		"CycloneDX": `{"bomFormat":"CycloneDX","specVersion":"1.6","serialNumber":"17"}`,
	} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		if m[name].Validate(doc) == nil {
			t.Errorf("the %s schema takes anything", name)
		}
	}
}

func goVersion(t testing.TB) string {
	t.Helper()
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("no build information in the test")
	}
	return info.GoVersion
}

// TestToolVersion: documents name the version of syft that go.mod pins.
func TestToolVersion(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "github.com/anchore/syft").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := syftVersion, strings.TrimSpace(string(out)); got != want {
		t.Errorf("syft %s, want %s", got, want)
	}
}
