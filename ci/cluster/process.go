package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// background starts this program with a hidden verb, as a process that outlives its
// parent. It does nothing before its number is on record: who is killed in between
// leaves no process that nobody knows.
func background(c *config, verb string, namespaces uintptr) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(c.run("log", verb+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	wait, recorded, err := os.Pipe()
	if err != nil {
		return err
	}
	defer wait.Close()
	defer recorded.Close()
	cmd := exec.Command(self, verb)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = "/", wait, log, log
	cmd.Env = append(os.Environ(), "PATHS_CLUSTER="+c.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: namespaces}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the %s: %w", verb, err)
	}
	record := fmt.Sprintf("%d %s", cmd.Process.Pid, started(cmd.Process.Pid))
	if err := write(c.run(verb+".pid"), []byte(record), 0o644); err != nil {
		return err
	}
	if _, err := recorded.Write([]byte{1}); err != nil {
		return fmt.Errorf("start the %s: %w", verb, err)
	}
	return cmd.Process.Release()
}

// onRecord waits until the parent of a background process has put it on record.
func onRecord() error {
	if _, err := io.ReadFull(os.Stdin, make([]byte, 1)); err != nil {
		return fmt.Errorf("the command that started this has ended: %w", err)
	}
	return nil
}

// pid is the recorded process of that name; 0 if it does not run any more. A number may
// have gone to another process meanwhile, which started at another time.
func pid(c *config, name string) int {
	raw, err := os.ReadFile(c.run(name + ".pid"))
	if err != nil {
		return 0
	}
	number, at, _ := strings.Cut(string(raw), " ")
	n, err := strconv.Atoi(number)
	if err != nil || at == "" || started(n) != at {
		return 0
	}
	return n
}

// started is when a process started, in ticks since the machine did; empty if it does
// not run.
func started(pid int) string {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return ""
	}
	// The name, which may hold anything, is in parentheses; proc_pid_stat(5).
	f := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return ""
	}
	return f[19]
}

// kill ends a process for good. With the first of a namespace go all others in it.
func kill(c *config, name string) error {
	n := pid(c, name)
	if n == 0 {
		return nil
	}
	_ = syscall.Kill(n, syscall.SIGKILL)
	for range 300 {
		if pid(c, name) == 0 {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("the %s, process %d, does not end\n  fix: see what it waits for: cat /proc/%d/stack", name, n, n)
}

// output runs a command for what it prints.
func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(name), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

func tail(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
