package reporttest

import (
	"encoding/json"
	"fmt"
	"testing"
)

// pkg is one package of the image.
type pkg struct{ name, version, purl, license string }

// pkg makes up the i-th package. A third are OpenTelemetry's, for searching.
func (im Image) pkg(i int) pkg {
	name := fmt.Sprintf("github.com/example/%smodule-%d/v2", im.Name, i)
	if i%3 == 0 {
		name = fmt.Sprintf("go.opentelemetry.io/%sotel/part-%d", im.Name, i)
	}
	version := fmt.Sprintf("v1.%d.%d", i%40, i%7)
	return pkg{name, version, "pkg:golang/" + name + "@" + version, []string{"Apache-2.0", "MIT", "BSD-3-Clause", "NOASSERTION"}[i%4]}
}

func (im Image) spdx(t testing.TB) json.RawMessage {
	var list []any
	for i := range im.Packages {
		p := im.pkg(i)
		list = append(list, map[string]any{
			"SPDXID": fmt.Sprintf("SPDXRef-Package-%d", i), "name": p.name, "versionInfo": p.version, "licenseDeclared": p.license, "downloadLocation": "NOASSERTION",
			"externalRefs": []any{map[string]any{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": p.purl}},
		})
	}
	return encode(t, map[string]any{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "orders", "documentNamespace": "https://example.com/spdx/orders",
		"creationInfo": map[string]any{"created": "2026-03-01T10:00:00Z", "creators": []string{"Tool: pathctl"}}, "packages": list,
	})
}

func (im Image) cyclonedx(t testing.TB) json.RawMessage {
	var list []any
	for i := range im.Packages {
		p := im.pkg(i)
		list = append(list, map[string]any{"type": "library", "name": p.name, "version": p.version, "purl": p.purl})
	}
	return encode(t, map[string]any{
		"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": map[string]any{"timestamp": "2026-03-01T10:00:00Z"}, "components": list,
	})
}

func encode(t testing.TB, v any) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
