package tekton_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What TestBenchTekton says of its figures is here, without a cluster.

// spread is what is told of many durations, in seconds. The API server's times have whole
// ones.
type spread struct {
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
}

func spreadOf(list []time.Duration) spread {
	slices.Sort(list)
	// The nearest rank: a duration that was measured, and no mean of two.
	rank := func(q float64) float64 {
		if len(list) == 0 {
			return 0
		}
		return list[max(0, int(math.Ceil(q*float64(len(list))))-1)].Seconds()
	}
	return spread{Median: rank(0.5), P99: rank(0.99)}
}

// benchSize is what was measured with so many runs at once.
type benchSize struct {
	Runs int     `json:"runs"`
	Wall float64 `json:"wallSeconds"` // from the first run's creation to the last one let go

	Signed     int `json:"signed"`
	Refused    int `json:"refused"`
	Lost       int `json:"lost"`       // not let go, or nothing says what became of it
	Incomplete int `json:"incomplete"` // signed, and evidence is missing, or is another run's
	Twice      int `json:"attestedTwice"`
	Rejected   int `json:"rejected"` // signed, and a verifier outside says no
	Retried    int `json:"retried"`  // signing TaskRuns beyond the first of each kind and run
	Evidence   int `json:"evidence"` // pieces of it in the registry
	Images     int `json:"images"`   // different ones

	Run      spread  `json:"runSeconds"`      // with its wait for the node
	Steps    spread  `json:"stepsSeconds"`    // from its first step's start to its last one's end
	Slot     spread  `json:"slotSeconds"`     // from a run's end to its signer's creation
	Evident  spread  `json:"evidenceSeconds"` // from a run's end to that of the step that publishes the evidence
	Attested spread  `json:"attestedSeconds"` // from a run's end to that of the attesting TaskRun
	Judged   spread  `json:"judgedSeconds"`   // from a run's end to that of the verifying TaskRun
	Chains   *spread `json:"chainsSeconds,omitempty"`
	Unsigned int     `json:"unsignedByChains,omitempty"`

	MemoryBase float64 `json:"memoryBaseBytes"` // of the controller, idle and fresh
	MemoryPeak float64 `json:"memoryPeakBytes"`
	Requests   float64 `json:"apiRequests"` // to the API server, but those for the Lease
	Lease      float64 `json:"leaseRequests"`
	Restarts   int     `json:"controllerRestarts"`

	ByKind map[string]float64 `json:"apiRequestsByKind"`
}

func (s benchSize) memoryPerRun() float64 { return (s.MemoryPeak - s.MemoryBase) / float64(s.Runs) }

func (s benchSize) requestsPerRun() float64 { return s.Requests / float64(s.Runs) }

// steeper is how much more a run of the larger size may cost than one of the smaller.
const steeper = 1.15

// heap is what Go's collector lets gather before it begins, twice over: below that, memory
// says nothing about runs.
const heap = 8 << 20

// judged are the goals, each with what was seen.
type judged struct {
	Goal string `json:"goal"`
	Seen string `json:"seen"`
	Met  bool   `json:"met"`
}

func judge(sizes []benchSize) []judged {
	var all []judged
	say := func(met bool, goal, seen string, args ...any) {
		all = append(all, judged{goal, fmt.Sprintf(seen, args...), met})
	}
	for _, s := range sizes {
		n := fmt.Sprintf("%d runs: ", s.Runs)
		say(s.Lost == 0 && s.Refused == 0 && s.Signed == s.Runs, n+"none lost, none refused", "%d signed, %d lost, %d refused", s.Signed, s.Lost, s.Refused)
		say(s.Twice == 0, n+"none attested twice", "%d attested twice", s.Twice)
		say(s.Incomplete == 0 && s.Rejected == 0, n+"each has all its evidence and verifies", "%d incomplete, %d rejected", s.Incomplete, s.Rejected)
		say(s.Restarts == 0, n+"the controller runs through", "%d restarts", s.Restarts)
	}
	for i := 1; i < len(sizes); i++ {
		a, b := sizes[i-1], sizes[i]
		n := fmt.Sprintf("%d runs beside %d: ", b.Runs, a.Runs)
		ratio := b.requestsPerRun() / a.requestsPerRun()
		say(ratio <= steeper, n+fmt.Sprintf("API requests per run at most %.2f times", steeper), "%.1f and %.1f, ratio %.2f", b.requestsPerRun(), a.requestsPerRun(), ratio)
		limit := steeper*float64(b.Runs)/float64(a.Runs)*(a.MemoryPeak-a.MemoryBase) + heap
		say(b.MemoryPeak-b.MemoryBase <= limit, n+fmt.Sprintf("memory above idle at most %.2f times per run, and 8 MiB that no run explains", steeper),
			"%s, and at most %s", mib(b.MemoryPeak-b.MemoryBase), mib(limit))
	}
	return all
}

func mib(bytes float64) string { return fmt.Sprintf("%.1f MiB", bytes/(1<<20)) }

// benchTable writes a line for each figure, a column for each size, and then the goals.
func benchTable(w io.Writer, sizes []benchSize, goals []judged) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name string, of func(benchSize) string) {
		fmt.Fprint(tw, name)
		for _, s := range sizes {
			fmt.Fprint(tw, "\t"+of(s))
		}
		fmt.Fprintln(tw)
	}
	count := func(name string, of func(benchSize) int) {
		row(name, func(s benchSize) string { return strconv.Itoa(of(s)) })
	}
	times := func(name string, of func(benchSize) spread) {
		row(name, func(s benchSize) string { return fmt.Sprintf("%.0f s, %.0f s", of(s).Median, of(s).P99) })
	}
	count("runs at once", func(s benchSize) int { return s.Runs })
	row("all done after", func(s benchSize) string { return fmt.Sprintf("%.0f s", s.Wall) })
	row("signed, refused, lost", func(s benchSize) string { return fmt.Sprintf("%d, %d, %d", s.Signed, s.Refused, s.Lost) })
	count("attested twice", func(s benchSize) int { return s.Twice })
	row("pieces of evidence, images", func(s benchSize) string { return fmt.Sprintf("%d, %d", s.Evidence, s.Images) })
	count("attempts to sign that failed", func(s benchSize) int { return s.Retried })
	times("a run, with its wait for the node: median, p99", func(s benchSize) spread { return s.Run })
	times("a run, its steps", func(s benchSize) spread { return s.Steps })
	times("from a run's end to its signer's start", func(s benchSize) spread { return s.Slot })
	times("  to the evidence in the registry", func(s benchSize) spread { return s.Evident })
	times("  to the attestation's end", func(s benchSize) spread { return s.Attested })
	times("  to the verdict", func(s benchSize) spread { return s.Judged })
	if slices.ContainsFunc(sizes, func(s benchSize) bool { return s.Chains != nil }) {
		row("  to Tekton Chains' signature", func(s benchSize) string {
			if s.Chains == nil {
				return "-"
			}
			return fmt.Sprintf("%.0f s, %.0f s (%d unsigned)", s.Chains.Median, s.Chains.P99, s.Unsigned)
		})
	}
	row("attestation / the run's steps, medians", func(s benchSize) string { return ratioOf(s.Attested.Median, s.Steps.Median) })
	if slices.ContainsFunc(sizes, func(s benchSize) bool { return s.Chains != nil }) {
		row("attestation / Tekton Chains, medians", func(s benchSize) string {
			if s.Chains == nil {
				return "-"
			}
			return ratioOf(s.Attested.Median, s.Chains.Median)
		})
	}
	row("controller's memory, idle and peak", func(s benchSize) string { return mib(s.MemoryBase) + ", " + mib(s.MemoryPeak) })
	row("  above idle, a run", func(s benchSize) string { return fmt.Sprintf("%.1f KiB", s.memoryPerRun()/1024) })
	row("API requests, a run", func(s benchSize) string { return fmt.Sprintf("%.2f", s.requestsPerRun()) })
	_ = tw.Flush()
	for _, g := range goals {
		met := "met"
		if !g.Met {
			met = "MISSED"
		}
		fmt.Fprintf(w, "%-6s  %s: %s\n", met, g.Goal, g.Seen)
	}
}

func ratioOf(a, b float64) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b)
}

// metric adds up a metric of Prometheus' text form by its labels, as they are written.
func metric(text, name string) (byLabels map[string]float64, err error) {
	byLabels = map[string]float64{}
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		rest, ok := strings.CutPrefix(s.Text(), name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		i := strings.LastIndexByte(rest, ' ')
		v, err := strconv.ParseFloat(rest[i+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metric %s: %w", name, err)
		}
		byLabels[rest[:i]] += v
	}
	return byLabels, nil
}

// chainsSigned is when Tekton Chains wrote on a run that it has signed it. The annotation
// has no time of its own; the API server's record of who wrote which field has.
func chainsSigned(raw []byte) (at time.Time, ok bool, err error) {
	const annotation = "chains.tekton.dev/signed"
	var o struct {
		Metadata struct {
			Annotations   map[string]string
			ManagedFields []struct {
				Time     time.Time
				FieldsV1 struct {
					Metadata struct {
						Annotations map[string]any `json:"f:annotations"`
					} `json:"f:metadata"`
				}
			}
		}
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return at, false, err
	}
	if o.Metadata.Annotations[annotation] != "true" {
		return at, false, nil
	}
	for _, f := range o.Metadata.ManagedFields {
		if _, has := f.FieldsV1.Metadata.Annotations["f:"+annotation]; has {
			return f.Time, true, nil
		}
	}
	return at, false, nil
}

func TestSpread(t *testing.T) {
	var list []time.Duration
	for i := 200; i > 0; i-- {
		list = append(list, time.Duration(i)*time.Second)
	}
	for _, c := range []struct {
		list []time.Duration
		want spread
	}{
		{nil, spread{}},
		{[]time.Duration{3 * time.Second}, spread{3, 3}},
		{[]time.Duration{5 * time.Second, time.Second, 2 * time.Second}, spread{2, 5}},
		{list, spread{100, 198}},
	} {
		if got := spreadOf(slices.Clone(c.list)); got != c.want {
			t.Errorf("%v, want %v", got, c.want)
		}
	}
}

func TestJudge(t *testing.T) {
	good := func(runs int) benchSize {
		return benchSize{Runs: runs, Signed: runs, MemoryBase: 30 << 20, MemoryPeak: 30<<20 + float64(runs)*100*1024, Requests: float64(runs) * 8}
	}
	for name, c := range map[string]struct {
		change func(*benchSize)
		missed string
	}{
		"all is well":       {func(*benchSize) {}, ""},
		"one is lost":       {func(s *benchSize) { s.Signed, s.Lost = 249, 1 }, "none lost"},
		"one is refused":    {func(s *benchSize) { s.Signed, s.Refused = 249, 1 }, "none refused"},
		"one is not known":  {func(s *benchSize) { s.Signed = 249 }, "none lost"},
		"one is twice":      {func(s *benchSize) { s.Twice = 1 }, "attested twice"},
		"evidence is gone":  {func(s *benchSize) { s.Incomplete = 1 }, "all its evidence"},
		"a verifier's no":   {func(s *benchSize) { s.Rejected = 1 }, "verifies"},
		"a restart":         {func(s *benchSize) { s.Restarts = 1 }, "runs through"},
		"more requests":     {func(s *benchSize) { s.Requests *= 1.2 }, "API requests"},
		"more memory":       {func(s *benchSize) { s.MemoryPeak += 20 << 20 }, "memory"},
		"a little more":     {func(s *benchSize) { s.Requests *= 1.1; s.MemoryPeak += 5 << 20 }, ""},
		"a larger base":     {func(s *benchSize) { s.MemoryBase += 9 << 20; s.MemoryPeak += 9 << 20 }, ""},
		"memory falls idle": {func(s *benchSize) { s.MemoryPeak = s.MemoryBase - 1 }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := good(250)
			c.change(&b)
			var missed []string
			for _, g := range judge([]benchSize{good(80), b}) {
				if !g.Met {
					missed = append(missed, g.Goal)
				}
			}
			if c.missed == "" && len(missed) > 0 || c.missed != "" && (len(missed) != 1 || !strings.Contains(missed[0], c.missed)) {
				t.Errorf("missed %q, want %q", missed, c.missed)
			}
		})
	}
}

func TestMetric(t *testing.T) {
	const text = "# HELP a_total x\n# TYPE a_total counter\na_total{resource=\"leases\",verb=\"get\"} 3\na_total{resource=\"x y\",verb=\"get\"} 1.5e+01\na_total_b 9\nrss 1.048576e+06\n"
	got, err := metric(text, "a_total")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]float64{`{resource="leases",verb="get"}`: 3, `{resource="x y",verb="get"}`: 15}, got); diff != "" {
		t.Error(diff)
	}
	if got, err := metric(text, "rss"); err != nil || got[""] != 1<<20 {
		t.Errorf("rss: %v, %v", got, err)
	}
	if _, err := metric("a x\n", "a"); err == nil {
		t.Error("no number is read")
	}
}

func TestChainsSigned(t *testing.T) {
	const run = `{"metadata": {"annotations": {"chains.tekton.dev/signed": "%s"}, "managedFields": [
		{"manager": "kubectl", "time": "2026-01-31T12:00:00Z", "fieldsV1": {"f:metadata": {"f:generateName": {}}}},
		{"manager": "controller", "time": "2026-01-31T12:00:07Z", "fieldsV1": {"f:metadata": {"f:annotations": {"f:chains.tekton.dev/signed": {}}}}}]}}`
	at, ok, err := chainsSigned(fmt.Appendf(nil, run, "true"))
	if err != nil || !ok || at.Second() != 7 {
		t.Errorf("signed at %v, %v, %v", at, ok, err)
	}
	for _, other := range []string{fmt.Sprintf(run, "failed"), `{"metadata": {}}`, `{"metadata": {"annotations": {"chains.tekton.dev/signed": "true"}}}`} {
		if _, ok, err := chainsSigned([]byte(other)); ok || err != nil {
			t.Errorf("signed: %v, %v: %s", ok, err, other)
		}
	}
}

func TestBenchTable(t *testing.T) {
	s := benchSize{Runs: 80, Attested: spread{10, 20}, Steps: spread{5, 6}}
	var plain, beside strings.Builder
	benchTable(&plain, []benchSize{s}, []judged{{"a goal", "seen", false}})
	s.Chains = &spread{4, 5}
	benchTable(&beside, []benchSize{s}, nil)
	for _, want := range []string{"2.00", "MISSED  a goal: seen"} {
		if !strings.Contains(plain.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, plain.String())
		}
	}
	if strings.Contains(plain.String(), "Chains") || !strings.Contains(beside.String(), "2.50") {
		t.Errorf("Tekton Chains has a line where it is not, or none where it is:\n%s\n%s", plain.String(), beside.String())
	}
}
