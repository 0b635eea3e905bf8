package sbom

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	rpmdb "github.com/anchore/go-rpmdb/pkg"
	"github.com/anchore/packageurl-go"
	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/linux"
	"github.com/anchore/syft/syft/pkg"

	// The rpm databases of current distributions are SQLite files; rpmdb opens
	// them through database/sql, by the driver name "sqlite", and has no other
	// way to be given a driver.
	_ "modernc.org/sqlite"
)

// findRPM reads rpm's databases with the library that syft's cataloger uses.
// The cataloger itself works in syft's own runner only, which would put a copy
// of the database into the system's folder for temporary files.
func findRPM(ctx context.Context, s *scene) ([]pkg.Package, []artifact.Relationship, error) {
	dbs, err := s.resolver.FilesByGlob(pkg.RpmDBGlob)
	if err != nil {
		return nil, nil, err
	}
	var all []pkg.Package
	var errs []error
	for _, l := range dbs {
		infos, err := readRPM(ctx, s, l.RealPath)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", l.RealPath, err))
		}
		for _, i := range infos {
			if i == nil || i.Name == "" || i.Version == "" || i.Name == "gpg-pubkey" {
				continue
			}
			all = append(all, rpmPackage(ctx, i, s.release, l))
		}
	}
	return all, nil, errors.Join(errs...)
}

func readRPM(ctx context.Context, s *scene, path string) ([]*rpmdb.PackageInfo, error) {
	t := s.resolver.tree
	n := t.lookup(path, true)
	if n == nil {
		return nil, errors.New("vanished")
	}
	r, err := t.open(n, t.limits.database)
	if err != nil {
		return nil, err
	}
	f, remove, err := temporary(s.work, "rpmdb-*")
	if err != nil {
		return nil, err
	}
	defer remove()
	if _, err := io.Copy(f, &contextReader{ctx: ctx, r: r}); err != nil {
		return nil, err
	}
	db, err := rpmdb.Open(f.Name())
	if err != nil {
		return nil, err
	}
	defer db.Close()
	return db.ListPackages()
}

func rpmPackage(ctx context.Context, i *rpmdb.PackageInfo, release *linux.Release, l file.Location) pkg.Package {
	version := i.Version + "-" + i.Release
	purl := rpmPURL(i, release, version)
	if i.Epoch != nil {
		version = strconv.Itoa(*i.Epoch) + ":" + version
	}
	names, _ := i.InstalledFileNames() // nil where the header has none
	files := make([]pkg.RpmFileRecord, len(names))
	for k, n := range names {
		files[k].Path = n
	}
	p := pkg.Package{
		Name: i.Name, Version: version, PURL: purl, Type: pkg.RpmPkg, FoundBy: "rpm-db",
		Locations: file.NewLocationSet(l.WithAnnotation(pkg.EvidenceAnnotationKey, pkg.PrimaryEvidenceAnnotation)),
		Licenses:  pkg.NewLicenseSet(pkg.NewLicensesFromLocationWithContext(ctx, l, i.License)...),
		Metadata: pkg.RpmDBEntry{
			Name: i.Name, Version: i.Version, Epoch: i.Epoch, Arch: i.Arch, Release: i.Release, SourceRpm: i.SourceRpm,
			Vendor: i.Vendor, Size: i.Size, ModularityLabel: &i.Modularitylabel, Files: files,
		},
	}
	p.SetID()
	return p
}

// rpmPURL follows the package URL specification, type rpm.
func rpmPURL(i *rpmdb.PackageInfo, release *linux.Release, version string) string {
	namespace := ""
	if release != nil {
		namespace = release.ID
	}
	if namespace == "rhel" {
		namespace = "redhat"
	}
	q := map[string]string{
		pkg.PURLQualifierArch: i.Arch, pkg.PURLQualifierUpstream: i.SourceRpm,
		"modularitylabel": i.Modularitylabel,
	}
	if i.Epoch != nil {
		q[pkg.PURLQualifierEpoch] = strconv.Itoa(*i.Epoch)
	}
	return packageurl.NewPackageURL(packageurl.TypeRPM, namespace, i.Name, version, pkg.PURLQualifiers(q, release), "").ToString()
}
