package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// What crosses the fence is bounded on both sides.
const maxMessage = 256 << 20

// childRequest goes into the fence on standard input.
type childRequest struct {
	Node  string          `json:"node"`
	Step  string          `json:"step"`
	In    json.RawMessage `json:"in"`
	Work  string          `json:"work"`
	Out   string          `json:"out"`
	Cache string          `json:"cache"`
	Jobs  int             `json:"jobs"`
}

// childReply comes back on standard output. The runner believes nothing in it
// but the form: what a fenced step says is reported.
type childReply struct {
	Result   step.Result `json:"result"`
	Started  time.Time   `json:"started"`
	Finished time.Time   `json:"finished"`
	Error    *childError `json:"error,omitempty"`
}

// childError carries an error across processes with its kind.
type childError struct {
	Kind string          `json:"kind"` // usage, gate or other
	Text string          `json:"text"`
	Gate *step.GateError `json:"gate,omitempty"`
}

func encodeError(err error) *childError {
	if err == nil {
		return nil
	}
	e := &childError{Kind: "other", Text: err.Error()}
	var gate *step.GateError
	switch {
	case errors.As(err, &gate):
		e.Kind, e.Gate = "gate", gate
	case errors.Is(err, step.ErrUsage):
		e.Kind = "usage"
	}
	return e
}

func (e *childError) decode() error {
	switch {
	case e == nil:
		return nil
	case e.Kind == "gate" && e.Gate != nil:
		return e.Gate
	case e.Kind == "usage":
		return step.Usagef("%s", e.Text)
	}
	return errors.New(e.Text)
}

// serve is the inside of the fence: it runs one step and replies.
func serve(ctx context.Context, in io.Reader, out, events io.Writer, find func(string) (step.Step, error), x step.Execer) error {
	var req childRequest
	if err := json.NewDecoder(io.LimitReader(in, maxMessage)).Decode(&req); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	s, err := find(req.Step)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(events)
	r := &Runner{
		cfg:    Config{Now: time.Now, Jobs: max(1, req.Jobs)},
		events: newEvents(func(e Event) { _ = enc.Encode(e) }, time.Now),
	}
	c := &call{id: req.Node, step: s, spec: s.Spec(), in: req.In}
	env := r.ports(c, x)
	env.Work, env.Out, env.Cache = req.Work, req.Out, req.Cache
	reply := childReply{Started: time.Now().UTC()}
	reply.Result, err = s.Run(ctx, env, req.In)
	reply.Finished, reply.Error = time.Now().UTC(), encodeError(err)
	return json.NewEncoder(out).Encode(reply)
}
