package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/bubbles/spinner"
	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"

	"github.com/pavedpaths/paths/pathsdk/run"
)

// tree is the live view on a terminal: zones, their steps and times, and the
// last log line of each step that runs.
type tree struct {
	program *tea.Program
	done    chan struct{}
}

func newTree(a *app, title string) view {
	render := lipgloss.NewRenderer(a.stderr)
	if !a.host.Color {
		render.SetColorProfile(termenv.Ascii)
	}
	m := treeModel{title: title, started: time.Now(), spin: spinner.New(spinner.WithSpinner(spinner.MiniDot)), style: styles{
		bold: render.NewStyle().Bold(true), dim: render.NewStyle().Faint(true),
		good: render.NewStyle().Foreground(lipgloss.Color("2")), bad: render.NewStyle().Foreground(lipgloss.Color("1")),
	}}
	// Keys stay the terminal's own: interrupt reaches the process as a signal.
	t := &tree{program: tea.NewProgram(m, tea.WithOutput(a.stderr), tea.WithInput(nil), tea.WithoutSignalHandler()), done: make(chan struct{})}
	go func() {
		defer close(t.done)
		_, _ = t.program.Run()
	}()
	return t
}

func (t *tree) event(e run.Event) { t.program.Send(e) }

func (t *tree) close() {
	t.program.Send(closing{})
	<-t.done
}

type closing struct{}

type styles struct{ bold, dim, good, bad lipgloss.Style }

// treeModel is what the view shows; bubbletea owns it.
type treeModel struct {
	title   string
	started time.Time
	nodes   []treeNode
	spin    spinner.Model
	style   styles
	width   int
	over    bool
}

type treeNode struct {
	name, zone, result, log string
	started                 time.Time
	elapsed                 time.Duration
}

func (m treeModel) Init() tea.Cmd { return m.spin.Tick }

func (m treeModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width = msg.Width
	case spinner.TickMsg:
		var cmd tea.Cmd
		m.spin, cmd = m.spin.Update(msg)
		return m, cmd
	case closing:
		m.over = true
		return m, tea.Quit
	case run.Event:
		if msg.Kind == "ask" {
			return m, tea.Println(clean(msg.Text)) // above the tree, whole
		}
		m.take(msg)
	}
	return m, nil
}

func (m *treeModel) take(e run.Event) {
	if e.Kind == "start" {
		m.nodes = append(m.nodes, treeNode{name: e.Node, zone: e.Zone, started: time.Now()})
		return
	}
	for i := range m.nodes {
		n := &m.nodes[i]
		if n.name != e.Node {
			continue
		}
		switch e.Kind {
		case "log":
			n.log, _, _ = strings.Cut(clean(e.Text), "\n")
		case "finish":
			n.result, n.elapsed = e.Result, e.Elapsed
			if e.Result == run.Failed {
				n.log, _, _ = strings.Cut(clean(e.Text), "\n")
			}
		}
	}
}

func (m treeModel) View() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", m.style.bold.Render(m.title), m.style.dim.Render(time.Since(m.started).Round(100*time.Millisecond).String()))
	zone := ""
	for i, n := range m.nodes {
		if n.zone != zone {
			zone = n.zone
			fmt.Fprintf(&b, "%s\n", m.style.dim.Render(zone))
		}
		branch := "├─"
		if i == len(m.nodes)-1 || m.nodes[i+1].zone != zone {
			branch = "└─"
		}
		b.WriteString(m.line(branch, n) + "\n")
	}
	return b.String()
}

func (m treeModel) line(branch string, n treeNode) string {
	mark, took := m.spin.View(), time.Since(n.started)
	text := n.log
	switch n.result {
	case run.Passed:
		mark, took, text = m.style.good.Render("✓"), n.elapsed, ""
	case run.Cached:
		mark, took, text = m.style.dim.Render("="), n.elapsed, "unchanged"
	case run.Failed:
		mark, took = m.style.bad.Render("✗"), n.elapsed
	case run.Cancelled:
		mark, took, text = m.style.dim.Render("-"), n.elapsed, "cancelled"
	}
	line := fmt.Sprintf("%s %s %-11s %7s ", branch, mark, n.name, took.Round(time.Millisecond))
	if room := m.width - lipgloss.Width(line) - 1; m.width > 0 && len([]rune(text)) > room {
		text = string([]rune(text)[:max(0, room)])
	}
	if n.result == run.Failed {
		return line + m.style.bad.Render(text)
	}
	return line + m.style.dim.Render(text)
}
