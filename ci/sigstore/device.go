package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Below the issuer of people's tokens.
const (
	peoplePath   = "/people"
	devicePath   = peoplePath + "/device"      // the page that a person opens
	askPath      = peoplePath + "/device/code" // device authorization endpoint
	exchangePath = peoplePath + "/token"
	grantDevice  = "urn:ietf:params:oauth:grant-type:device_code"
	audience     = "sigstore"
	codeLife     = 2 * time.Minute
	pollInterval = time.Second
	slowedBy     = 5 * time.Second
)

// devices is the device authorization grant (RFC 8628) of the people's issuer. What a
// person does is a POST to the page; nobody is asked who they are.
type devices struct {
	mu    sync.Mutex
	asked map[string]*login // by device code
	mint  func(tokenOptions) (string, error)
}

// login is one that was begun.
type login struct {
	user, client, challenge string
	since, until            time.Time
	interval                time.Duration
	polls                   []time.Time
	email                   string // who approved it
	denied                  bool
}

func (d *devices) register(mux *http.ServeMux, page string, answer func(http.ResponseWriter, any)) {
	refuse := func(w http.ResponseWriter, code string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		answer(w, map[string]string{"error": code})
	}
	mux.HandleFunc("POST "+askPath, func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		l := &login{
			user: userCode(), client: r.PostFormValue("client_id"), challenge: r.PostFormValue("code_challenge"),
			since: now, until: now.Add(codeLife), interval: pollInterval,
		}
		switch scopes := strings.Fields(r.PostFormValue("scope")); {
		case l.client != audience:
			refuse(w, "invalid_client")
			return
		case len(scopes) != 2 || scopes[0] != "openid" || scopes[1] != "email":
			refuse(w, "invalid_scope")
			return
		case l.challenge == "" || r.PostFormValue("code_challenge_method") != "S256":
			refuse(w, "invalid_request")
			return
		}
		device := rand.Text()
		d.mu.Lock()
		d.asked[device] = l
		d.mu.Unlock()
		answer(w, map[string]any{
			"device_code": device, "user_code": l.user, "verification_uri": page, "verification_uri_complete": page + "?user_code=" + l.user,
			"expires_in": int(codeLife.Seconds()), "interval": int(pollInterval.Seconds()),
		})
	})
	mux.HandleFunc("POST "+exchangePath, func(w http.ResponseWriter, r *http.Request) {
		email, code := d.poll(r)
		if code != "" {
			refuse(w, code)
			return
		}
		o := defaults()
		o.shape, o.email = "email", email
		token, err := d.mint(o)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, map[string]any{"access_token": rand.Text(), "token_type": "bearer", "expires_in": int(o.life.Seconds()), "id_token": token})
	})
	mux.HandleFunc("GET "+devicePath, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = pageTemplate.Execute(w, r.FormValue("user_code"))
	})
	mux.HandleFunc("POST "+devicePath, func(w http.ResponseWriter, r *http.Request) {
		if !d.decide(r) {
			http.Error(w, "no login has this code, or it has ended", http.StatusNotFound)
		}
	})
	// When a login was polled, so that a test sees whether a client keeps to the interval.
	mux.HandleFunc("GET "+devicePath+"/polls", func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, l := range d.asked {
			if l.user == r.FormValue("user_code") {
				answer(w, l.polls)
				return
			}
		}
		http.NotFound(w, r)
	})
}

var pageTemplate = template.Must(template.New("").Parse(`<!doctype html><title>Log in</title>
<form method="post"><label>Code <input name="user_code" value="{{.}}"></label> <label>E-mail <input name="email" type="email"></label>
<button name="do" value="approve">Approve</button> <button name="do" value="deny">Deny</button></form>
`))

// userCode is short, and has no vowels: no word comes of it.
func userCode() string {
	const letters = "BCDFGHJKLMNPQRSTVWXZ"
	raw := make([]byte, 8)
	_, _ = rand.Read(raw) // never fails
	for i, b := range raw {
		raw[i] = letters[int(b)%len(letters)]
	}
	return string(raw[:4]) + "-" + string(raw[4:])
}

// decide is what a person does on the page. Besides, a test lets time run out with
// expire, and makes the issuer ask for longer pauses with slow.
func (d *devices) decide(r *http.Request) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.asked {
		if l.user != r.PostFormValue("user_code") || time.Now().After(l.until) {
			continue
		}
		switch r.PostFormValue("do") {
		case "approve":
			l.email = r.PostFormValue("email")
		case "deny":
			l.denied = true
		case "expire":
			l.until = time.Now()
		case "slow":
			l.interval += slowedBy
		default:
			return false
		}
		return true
	}
	return false
}

// poll answers a client that asks for its token: who approved it, or an error code.
func (d *devices) poll(r *http.Request) (email, code string) {
	if r.PostFormValue("grant_type") != grantDevice {
		return "", "unsupported_grant_type"
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	device := r.PostFormValue("device_code")
	l := d.asked[device]
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if l == nil || l.client != r.PostFormValue("client_id") || l.challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
		return "", "invalid_grant"
	}
	now := time.Now()
	// A network's delays are not the client's.
	const tolerance = 200 * time.Millisecond
	before := l.since
	if n := len(l.polls); n > 0 {
		before = l.polls[n-1]
	}
	fast := now.Sub(before) < l.interval-tolerance
	l.polls = append(l.polls, now)
	switch {
	case now.After(l.until):
		return "", "expired_token"
	case l.denied:
		return "", "access_denied"
	case fast:
		return "", "slow_down"
	case l.email == "":
		return "", "authorization_pending"
	}
	l.until = now // once
	email, l.email = l.email, ""
	return email, ""
}
