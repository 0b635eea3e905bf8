package sbom

import (
	"debug/buildinfo"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
)

// module is one module that a program in the image says it was built from: the
// ground truth for the completeness gate.
type module struct {
	path    string
	version string // empty where the program has none, as for its own module
	file    string
}

// ground is what the image's own programs say.
type ground struct {
	modules []module
	// programs are those with build information that syft may parse.
	programs []found
	// others are executables without any.
	others []found
}

// stdlib is the name under which a toolchain's standard library stands in an
// SBOM.
const stdlib = "stdlib"

// survey reads the build information of every executable, independently of
// syft.
func survey(r *resolver, note func(subject, reason string)) ground {
	var g ground
	for _, f := range r.regular() {
		if f.node.unread != "" {
			note(f.access, f.node.unread)
			continue
		}
		if !executable(f.node) {
			continue
		}
		info, err := readProgram(r.tree, f.node)
		switch {
		case errors.Is(err, errNoBuildInfo):
			g.others = append(g.others, f)
		case err != nil:
			note(f.access, err.Error())
		default:
			g.programs = append(g.programs, f)
			g.modules = append(g.modules, modules(info, f.access)...)
		}
	}
	return g
}

// executable goes by content, since a program without execute bit can be run
// through an interpreter or loaded.
func executable(n *node) bool {
	if n.kind != kindFile {
		return false
	}
	switch m := n.magic; {
	case string(m[:]) == "\x7fELF", string(m[:2]) == "MZ":
		return true
	case string(m[:3]) == "\xfe\xed\xfa", string(m[1:]) == "\xfa\xed\xfe":
		return true
	}
	return false
}

var errNoBuildInfo = errors.New("no build information")

// readProgram reads the build information of an executable.
func readProgram(t *tree, n *node) (info *debug.BuildInfo, err error) {
	s, err := t.open(n, t.limits.file)
	if err != nil {
		return nil, err
	}
	if n.magic[0] == 0x7f {
		if err := checkELF(s, s.Size(), t.limits.symbols); err != nil {
			return nil, err
		}
	}
	defer func() {
		// debug/buildinfo is not hardened against hostile files.
		if p := recover(); p != nil {
			info, err = nil, fmt.Errorf("an executable that can't be parsed: %v", p)
		}
	}()
	info, err = buildinfo.Read(s)
	if err != nil && strings.Contains(err.Error(), "not a Go executable") {
		return nil, errNoBuildInfo
	}
	if err != nil {
		return nil, fmt.Errorf("an executable whose build information can't be read: %w", err)
	}
	return info, nil
}

// checkELF refuses what would make a parser allocate far more than the file's
// size: segments and sections beyond the end, compressed tables, giant ones.
// See the System V ABI, "Object Files".
func checkELF(r io.ReaderAt, size, symbols int64) error {
	malformed := func(what string) error {
		return fmt.Errorf("an executable that is malformed: %s", what)
	}
	var h [64]byte
	if n, err := r.ReadAt(h[:], 0); n < 52 {
		return malformed(fmt.Sprintf("its header is cut off (%v)", err))
	}
	var order binary.ByteOrder = binary.LittleEndian
	if h[5] == 2 {
		order = binary.BigEndian
	}
	const ( // section types and flags
		nobits     = 8
		symtab     = 2
		strtab     = 3
		dynsym     = 11
		compressed = 0x800
	)
	wide := h[4] == 2
	word := func(b []byte, off32, off64 int) uint64 {
		if wide {
			return order.Uint64(b[off64:])
		}
		return uint64(order.Uint32(b[off32:]))
	}
	half := func(off32, off64 int) int64 {
		if wide {
			return int64(order.Uint16(h[off64:]))
		}
		return int64(order.Uint16(h[off32:]))
	}
	inside := func(off, n uint64) bool {
		return off <= uint64(size) && n <= uint64(size)-off
	}
	table := func(off uint64, entsize, count, least int64) ([]byte, error) {
		if count == 0 || off == 0 {
			return nil, nil
		}
		if entsize < least || !inside(off, uint64(entsize*count)) {
			return nil, malformed("a table of headers is not in the file")
		}
		b := make([]byte, entsize*count) // at most 4 GiB by the ABI, and no more than the file
		if _, err := r.ReadAt(b, int64(off)); err != nil {
			return nil, malformed(err.Error())
		}
		return b, nil
	}
	progSize, progCount := half(42, 54), half(44, 56)
	progs, err := table(word(h[:], 28, 32), progSize, progCount, pick(wide, 56, 32))
	if err != nil {
		return err
	}
	for b := range slices.Chunk(progs, int(max(progSize, 1))) {
		if !inside(word(b, 4, 8), word(b, 16, 32)) {
			return malformed("a segment is not in the file")
		}
	}
	sectSize, sectCount, names := half(46, 58), half(48, 60), half(50, 62)
	if sectCount == 0 && word(h[:], 32, 40) != 0 {
		return malformed("it has more than 65279 sections")
	}
	sects, err := table(word(h[:], 32, 40), sectSize, sectCount, pick(wide, 64, 40))
	if err != nil {
		return err
	}
	i := int64(-1)
	for b := range slices.Chunk(sects, int(max(sectSize, 1))) {
		i++
		typ, flags := order.Uint32(b[4:]), word(b, 8, 8)
		n := word(b, 20, 32)
		if typ == nobits {
			continue
		}
		if !inside(word(b, 16, 24), n) {
			return malformed("a section is not in the file")
		}
		isTable := typ == symtab || typ == strtab || typ == dynsym || i == names
		if isTable && flags&compressed != 0 {
			return malformed("a symbol or string table is compressed")
		}
		if isTable && n > uint64(symbols) {
			return fmt.Errorf("an executable with a table of symbols or strings larger than %d bytes, not examined", symbols)
		}
	}
	return nil
}

func pick(wide bool, a, b int64) int64 {
	if wide {
		return a
	}
	return b
}

// modules lists what a program was built from: its own module, its
// dependencies as they were replaced, and the standard library.
func modules(info *debug.BuildInfo, file string) []module {
	var ms []module
	add := func(m *debug.Module) {
		if m == nil || m.Path == "" {
			return
		}
		p, v := m.Path, m.Version
		if r := m.Replace; r != nil {
			v = r.Version
			// A replacement by a folder keeps the name.
			if !strings.HasPrefix(r.Path, ".") && !strings.HasPrefix(r.Path, "/") {
				p = r.Path
			}
		}
		if v == "(devel)" {
			v = ""
		}
		ms = append(ms, module{path: p, version: v, file: file})
	}
	if info.Main.Path != "command-line-arguments" {
		add(&info.Main)
	}
	for _, d := range info.Deps {
		add(d)
	}
	release, _, _ := strings.Cut(info.GoVersion, " ")
	if v, ok := strings.CutPrefix(release, "go"); ok {
		ms = append(ms, module{path: stdlib, version: v, file: file})
	}
	return ms
}
