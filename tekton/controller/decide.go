package controller

import (
	"fmt"
	"time"
)

// do is what is to be done next for a run.
type do int

const (
	wait   do = iota // for an event, or until action.after
	hold             // put the finalizer on
	start            // create a TaskRun
	settle           // tell the run, and let it go
)

// Outcomes of a run, as metrics name them.
const (
	signed   = "signed"
	refused  = "refused"
	gaveUp   = "gave_up"
	failed   = "failed"
	released = "released"
)

// action is the next step for a run.
type action struct {
	do     do
	after  time.Duration // wait: look again then; 0: when something changes
	stage  stage         // start
	number int           // start
	event  event         // start, settle

	outcome string        // settle
	image   string        // start of the verifier, settle: what was signed
	note    string        // settle: the annotation
	latency time.Duration // settle, signed: from the run's end to the attester's
}

// event is told on the run. Its id makes it one event, however often it is told.
type event struct {
	id, reason, message string
	warning             bool
}

// decide says what to do next for a run, given all its signing TaskRuns. It asks whether
// a bundle is trusted only if it hangs on that.
func decide(r run, tries []try, cfg *Config, trusted func(bundle string) bool, now time.Time) action {
	switch {
	case !r.done && r.deleting:
		return r.let(released, "the run was deleted before it ended", "RunReleased")
	case !r.done && !r.held:
		return action{do: hold}
	case !r.done:
		return action{}
	case !r.held && now.Sub(r.ended) > cfg.Retention:
		// Its TaskRuns are deleted by now, or will be, so nobody knows any more whether
		// it was signed. A run that is not settled is held.
		return action{}
	case !r.ok:
		return r.let(failed, "the run failed", "RunFailed")
	}
	if len(tries) == 0 {
		if why := cfg.misplaced(r); why != "" {
			return r.refuse(why)
		}
		// The signer checks this again, by itself: it is looked at here to save its work.
		if r.bundle == "" {
			return r.refuse("its Pipeline is not from a bundle")
		}
		if !trusted(r.bundle) {
			return r.refuse(fmt.Sprintf("its Pipeline is not from a trusted bundle: %s is not in ConfigMap trust of %s", clean(r.bundle, maxQuote), SigningNamespace))
		}
	}
	stages := []stage{signing}
	if cfg.Verify {
		stages = append(stages, verifying)
	}
	var attested try
	for _, s := range stages {
		first, last, ok := span(tries, s)
		switch {
		case !ok:
			return r.start(s, 0, attested.image, event{})
		case !last.done:
			return action{}
		case last.ok && s == signing && !digest.MatchString(last.image):
			return r.refuse(fmt.Sprintf("%s did not say which image it has signed: %q", s.task, clean(last.image, maxQuote)))
		case last.ok && s == signing:
			attested = last
		case last.ok:
		case last.refused:
			return r.refuse(fmt.Sprintf("%s said no: %s", s.task, clean(last.why, maxMessage)))
		default:
			why := clean(last.why, maxMessage)
			at := last.ended.Add(cfg.backoff(last.number))
			if at.Sub(first.created) > cfg.RetryWindow {
				return r.giveUp(s, last.number+1, why)
			}
			if at.After(now) {
				return action{after: at.Sub(now)}
			}
			return r.start(s, last.number+1, attested.image, event{
				id: fmt.Sprintf("%s-%d", s.prefix, last.number+1), reason: "SigningRetried", warning: true,
				message: fmt.Sprintf("attempt %d to %s failed and is made again: %s", last.number+1, s.task, why),
			})
		}
	}
	return action{
		do: settle, outcome: signed, note: "true", image: attested.image, latency: attested.ended.Sub(r.ended),
		event: event{id: "signed", reason: "Signed", message: "signed: " + attested.image},
	}.unlessSettled(r)
}

// start begins an attempt. A run that nobody holds could be deleted while it is signed.
func (r run) start(s stage, number int, image string, e event) action {
	if !r.held && !r.deleting {
		return action{do: hold}
	}
	return action{do: start, stage: s, number: number, image: image, event: e}
}

func (r run) refuse(why string) action {
	return action{
		do: settle, outcome: refused, note: clean("no: "+why, maxNote),
		event: event{id: "refused", reason: "SigningRefused", warning: true,
			message: "not signed: " + why + "; put that right, and start another run"},
	}.unlessSettled(r)
}

func (r run) giveUp(s stage, attempts int, why string) action {
	return action{
		do: settle, outcome: gaveUp, note: clean(fmt.Sprintf("no: gave up after %d attempts: %s", attempts, why), maxNote),
		event: event{id: "gave-up", reason: "SigningGaveUp", warning: true,
			message: fmt.Sprintf("not signed: gave up after %d attempts to %s: %s; start another run, or ask the platform's operators to delete the TaskRuns with label %s=%s in %s, which begins anew",
				attempts, s.task, why, runUIDLabel, r.uid, SigningNamespace)},
	}.unlessSettled(r)
}

// let lets a run go that there is nothing to sign of.
func (r run) let(outcome, why, reason string) action {
	return action{
		do: settle, outcome: outcome, note: "no: " + why,
		event: event{id: outcome, reason: reason, message: "nothing to sign: " + why},
	}.unlessSettled(r)
}

// unlessSettled is a unless the run says so already and is held no more.
func (a action) unlessSettled(r run) action {
	// Nothing can be told to a run that is about to be gone.
	if !r.held && (r.deleting || r.note == a.note && r.signed == a.image) {
		return action{}
	}
	return a
}

// span finds the first and the last attempt at a stage.
func span(tries []try, s stage) (first, last try, ok bool) {
	for _, t := range tries {
		if t.stage != s.prefix {
			continue
		}
		if !ok || t.number < first.number {
			first = t
		}
		if !ok || t.number > last.number {
			last = t
		}
		ok = true
	}
	return first, last, ok
}
