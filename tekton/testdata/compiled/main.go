// Command compiled is a cache of the go command's, for GOCACHEPROG: it looks in a folder
// that may be read-only, such as one in an image with the standard library compiled, and
// then in GOCACHE, where all that is new goes. Both have the form of the go command's own
// cache, so go build fills the first.
//
//	GOCACHEPROG="/usr/local/bin/compiled /usr/local/gocache"
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// request and response are those of cmd/go/internal/cacheprog.
type request struct {
	ID                 int64
	Command            string
	ActionID, OutputID []byte
	BodySize           int64
}

type response struct {
	ID            int64
	Err           string   `json:",omitempty"`
	KnownCommands []string `json:",omitempty"`
	Miss          bool     `json:",omitempty"`
	OutputID      []byte   `json:",omitempty"`
	Size          int64    `json:",omitempty"`
	DiskPath      string   `json:",omitempty"`
}

func main() {
	if len(os.Args) != 2 || os.Getenv("GOCACHE") == "" {
		fmt.Fprintln(os.Stderr, "usage: GOCACHEPROG='compiled FOLDER', and GOCACHE set")
		os.Exit(2)
	}
	if err := serve(os.Stdin, os.Stdout, os.Args[1], os.Getenv("GOCACHE")); err != nil {
		fmt.Fprintln(os.Stderr, "compiled:", err)
		os.Exit(1)
	}
}

func serve(r io.Reader, w io.Writer, given, own string) error {
	in, out := json.NewDecoder(bufio.NewReader(r)), json.NewEncoder(w)
	if err := out.Encode(response{KnownCommands: []string{"get", "put", "close"}}); err != nil {
		return err
	}
	for {
		var q request
		if err := in.Decode(&q); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		var body []byte
		if q.Command == "put" && q.BodySize > 0 {
			if err := in.Decode(&body); err != nil {
				return err
			}
		}
		a := response{ID: q.ID}
		switch q.Command {
		case "get":
			a.Miss = true
			for _, dir := range []string{given, own} {
				if id, size, file, ok := get(dir, q.ActionID); ok {
					a.Miss, a.OutputID, a.Size, a.DiskPath = false, id, size, file
					break
				}
			}
		case "put":
			var err error
			if a.DiskPath, err = put(own, q.ActionID, q.OutputID, body); err != nil {
				a.Err = err.Error()
			}
		case "close":
			return out.Encode(a)
		default:
			a.Err = "unknown command " + q.Command
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}

func name(dir string, id []byte, kind string) string {
	h := hex.EncodeToString(id)
	return filepath.Join(dir, h[:2], h+kind)
}

// get reads what an action made: its entry is "v1 ACTION OUTPUT SIZE TIME".
func get(dir string, action []byte) (output []byte, size int64, file string, ok bool) {
	raw, err := os.ReadFile(name(dir, action, "-a"))
	f := strings.Fields(string(raw))
	if err != nil || len(f) != 5 || f[0] != "v1" {
		return nil, 0, "", false
	}
	if output, err = hex.DecodeString(f[2]); err != nil || len(output) == 0 {
		return nil, 0, "", false
	}
	if size, err = strconv.ParseInt(f[3], 10, 64); err != nil {
		return nil, 0, "", false
	}
	file = name(dir, output, "-d")
	fi, err := os.Stat(file)
	return output, size, file, err == nil && fi.Size() == size
}

func put(dir string, action, output, body []byte) (string, error) {
	file := name(dir, output, "-d")
	if err := write(file, body); err != nil {
		return "", err
	}
	return file, write(name(dir, action, "-a"), fmt.Appendf(nil, "v1 %x %x %20d %20d\n", action, output, len(body), time.Now().UnixNano()))
}

// write makes a file whole or not at all: two go commands may share the folder.
func write(file string, data []byte) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, "new-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}
