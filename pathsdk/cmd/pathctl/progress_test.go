package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/run"
)

func TestPlainProgress(t *testing.T) {
	var out bytes.Buffer
	l := newLines(&out, time.Hour)
	l.event(run.Event{Kind: "start", Node: "build"})
	l.event(run.Event{Kind: "start", Node: "test"})
	l.event(run.Event{Kind: "log", Node: "test", Text: "up\x1b[2Aand over"})
	l.event(run.Event{Kind: "finish", Node: "test", Result: run.Failed, Elapsed: time.Second, Text: "first line\nsecond"})
	l.event(run.Event{Kind: "ask", Node: "sign", Text: "open\x1b[2A this"})
	l.remind(0)
	l.event(run.Event{Kind: "finish", Node: "build", Result: run.Cached})
	l.remind(0)
	l.close()
	want := "test        | up[2Aand over\n" +
		"test        failed in 1s: first line\n" +
		"sign        | open[2A this\n" +
		"still running: build for 0s\n" +
		"build       cached in 0s\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The tree draws the same events without a terminal's help.
func TestTreeProgress(t *testing.T) {
	m := treeModel{title: "ship x", started: time.Now()}
	for _, e := range []run.Event{
		{Kind: "start", Node: "fetch", Zone: "fetch"},
		{Kind: "finish", Node: "fetch", Zone: "fetch", Result: run.Passed, Elapsed: 5 * time.Millisecond},
		{Kind: "start", Node: "test", Zone: "build"},
		{Kind: "log", Node: "test", Text: "compiling\x1b[31m"},
		{Kind: "start", Node: "build", Zone: "build"},
		{Kind: "finish", Node: "build", Zone: "build", Result: run.Failed, Text: "no main package\nmore"},
	} {
		m.take(e)
	}
	view := m.View()
	for _, want := range []string{"ship x", "fetch\n└─ ✓ fetch", "├─", "compiling[31m", "✗ build", "no main package"} {
		if !strings.Contains(view, want) {
			t.Errorf("no %q in\n%s", want, view)
		}
	}
	if strings.Contains(view, "more") || strings.Contains(view, "\x1b[31m") {
		t.Errorf("more than the first, clean line in\n%q", view)
	}
}

// What a person has to do stands above the tree, whole, however narrow it is.
func TestTreeAsks(t *testing.T) {
	text := "open https://example.com/" + strings.Repeat("x", 100) + "\x1b[2A"
	_, cmd := treeModel{width: 40}.Update(run.Event{Kind: "ask", Node: "sign", Text: text})
	if cmd == nil {
		t.Fatal("nothing is printed")
	}
	if got := fmt.Sprint(cmd()); !strings.Contains(got, text[:len(text)-4]) || strings.Contains(got, "\x1b") {
		t.Errorf("got %q", got)
	}
}
