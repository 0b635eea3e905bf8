package run

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// maxReport bounds one kept file, in bytes.
const maxReport = 64 << 20

// keepReports copies the files that a step of the build zone left to where its
// user looks for them. User code may have had its hands in that folder: only
// regular files directly in it are taken. A copy that fails is worth a line in
// the log, not a failed run.
func (r *Runner) keepReports(c *call, o outcome, failed error) {
	if r.cfg.Reports == "" || c.spec.Zone != step.ZoneBuild {
		return
	}
	from := []string{}
	if failed != nil {
		entries, err := os.ReadDir(c.out())
		if err != nil {
			return
		}
		for _, e := range entries {
			if e.Type().IsRegular() {
				from = append(from, filepath.Join(c.out(), e.Name()))
			}
		}
	} else {
		_, _ = pathFields(c.spec.Outputs, o.result.Output, func(f step.Field, path string) (string, error) {
			if f.Kind == step.KindFile {
				from = append(from, path)
			}
			return path, nil
		})
	}
	if len(from) == 0 {
		return
	}
	dir := filepath.Join(r.cfg.Reports, c.id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		r.events.log(c.id, "reports are not kept: "+err.Error())
		return
	}
	for _, path := range from {
		if err := copyRegular(path, filepath.Join(dir, filepath.Base(path))); err != nil {
			r.events.log(c.id, "report is not kept: "+err.Error())
		}
	}
}

// copyRegular copies a regular file by way of a temporary one beside dst.
func copyRegular(src, dst string) error {
	info, err := os.Lstat(src)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > maxReport {
		return fmt.Errorf("%s is no regular file of at most %d bytes", filepath.Base(src), maxReport)
	}
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp, err := os.CreateTemp(filepath.Dir(dst), ".report-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := io.Copy(tmp, io.LimitReader(in, maxReport)); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Chmod(0o644); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), dst)
}
