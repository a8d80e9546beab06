package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway/oip"
	"github.com/skein-project/skein/view"
)

const (
	// viewHeader asks for the view that an answer is to be given in: "flat", "flat@3", or "none" for the answer as it is. In an
	// answer it says which view that is.
	viewHeader = "Skein-View"
	viewNone   = "none"

	maxHeld  = 64 << 20 // bytes of an answer that is put into another form
	maxViews = 1024     // views that are kept ready
)

// shaped is a response that is held back until it is whole, and then written in the form of a view. What is not one JSON value with
// status 200 passes as it is.
type shaped struct {
	http.ResponseWriter
	c         *call
	refuse    func(w http.ResponseWriter, err error) // writes an error as the protocol does
	name      view.Name                              // that the client asks for; zero = the tenant's own choice
	request   bytes.Buffer                           // what was read of the request
	jsonBytes string                                 // how much of it is JSON, where binary tensors follow; "" = all
	body      bytes.Buffer
	status    int // 0 = not said yet
	passes    bool
	refused   error // the client was told
}

// shape holds an answer back where the client or its tenant wants a view of it; else it is nil. The request's body is noted as it is read.
func (s *Server) shape(w http.ResponseWriter, r *http.Request, c *call, refuse func(http.ResponseWriter, error)) (*shaped, error) {
	wanted := r.Header.Get(viewHeader)
	if wanted == viewNone {
		return nil, nil //nolint:nilnil // nothing is held back
	}
	out := &shaped{ResponseWriter: w, c: c, refuse: refuse, jsonBytes: r.Header.Get(oip.HeaderLength)}
	if wanted != "" {
		name, err := view.ParseName(wanted)
		if err != nil {
			return nil, invalid("", "%s: %v", viewHeader, err)
		}
		if _, _, err := s.view(c.who.Tenant, name); err != nil {
			return nil, err
		}
		out.name = name
	} else if !s.hasViews(c.who.Tenant) {
		return nil, nil //nolint:nilnil // nothing is held back
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.TeeReader(r.Body, &out.request), r.Body}
	return out, nil
}

// WriteHeader implements http.ResponseWriter.
func (w *shaped) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	w.status = status
	kind, _, _ := mime.ParseMediaType(w.Header().Get("Content-Type"))
	switch {
	case status == http.StatusOK && kind == "application/json":
	case status == http.StatusOK && w.name.View != "":
		w.turnDown(invalid("", "%s: a view is of whole answers in JSON, and this one is %.80q", viewHeader, kind))
	default:
		w.passes = true
		w.ResponseWriter.WriteHeader(status)
	}
}

// turnDown tells the client why it gets no answer.
func (w *shaped) turnDown(err error) {
	w.refused = err
	w.c.fail(err)
	for _, h := range []string{"Content-Type", "Content-Length", "Cache-Control", "X-Accel-Buffering", oip.HeaderLength} {
		w.Header().Del(h)
	}
	w.refuse(w.ResponseWriter, err)
}

// Write implements io.Writer.
func (w *shaped) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	switch {
	case w.refused != nil:
		return 0, w.refused
	case w.passes:
		return w.ResponseWriter.Write(b)
	case w.body.Len()+len(b) > maxHeld:
		w.turnDown(invalid("", "an answer of more than %d bytes is put into no view", maxHeld))
		return 0, w.refused
	}
	return w.body.Write(b)
}

// Unwrap lets http.ResponseController through to what passes; what is held back is flushed by finish alone.
func (w *shaped) Unwrap() http.ResponseWriter {
	if w.passes {
		return w.ResponseWriter
	}
	return quiet{w.ResponseWriter}
}

// quiet is a response whose flushes do nothing.
type quiet struct{ http.ResponseWriter }

// FlushError implements what http.ResponseController looks for.
func (quiet) FlushError() error { return nil }

// finish writes what was held back.
func (w *shaped) finish() {
	if w.passes || w.refused != nil || w.status == 0 {
		return
	}
	out, kind, err := w.c.s.inView(w)
	if err != nil {
		w.turnDown(err)
		return
	}
	if kind != "" {
		w.Header().Set("Content-Type", kind)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(out)))
	w.ResponseWriter.WriteHeader(w.status)
	_, _ = w.ResponseWriter.Write(out) // the client may be gone
}

// shapes runs a handler with an answer that may be put into a view. Where the view cannot be, the client is told by refuse.
func (s *Server) shapes(w http.ResponseWriter, r *http.Request, c *call, refuse func(http.ResponseWriter, error), h func(http.ResponseWriter)) {
	held, err := s.shape(w, r, c, refuse)
	switch {
	case err != nil:
		c.fail(err)
		refuse(w, err)
	case held == nil:
		h(w)
	default:
		r.Header.Del("Accept-Encoding") // a view reads the answer
		h(held)
		held.finish()
	}
}

// inView puts an answer into the view that is wanted; kind is "" where it stays as it is.
func (s *Server) inView(w *shaped) (out []byte, kind string, err error) {
	name := w.name
	if name.View == "" {
		if name.View = s.ownView(w.c); name.View == "" {
			return w.body.Bytes(), "", nil
		}
	}
	compiled, number, err := s.view(w.c.who.Tenant, name)
	if err != nil {
		return nil, "", err
	}
	var in view.Input
	if field := compiled.Reader(view.Request); field != "" {
		if in.Request, err = view.Decode(w.asked()); err != nil {
			return nil, "", &httpError{http.StatusUnprocessableEntity, &Error{Fault: FaultInvalid, Why: fmt.Sprintf("%s: field %.80q is from the request, which is not JSON: %v", name.View, field, err)}}
		}
	}
	for _, part := range []struct {
		text []byte
		to   *any
	}{{w.body.Bytes(), &in.Answer}, {w.c.facts(), &in.Call}} {
		if *part.to, err = view.Decode(part.text); err != nil {
			return nil, "", fmt.Errorf("gateway: a view's input: %w", err)
		}
	}
	if out, err = compiled.Apply(in); err != nil {
		return nil, "", &httpError{http.StatusUnprocessableEntity, &Error{Fault: FaultInvalid, Why: fmt.Sprintf("%s: %v", name.View, err)}}
	}
	w.Header().Set(viewHeader, fmt.Sprintf("%s@%d", name.View, number))
	return out, compiled.Format().ContentType(), nil
}

// asked is the JSON of the request: all of it, or what stands before binary tensors.
func (w *shaped) asked() []byte {
	b := w.request.Bytes()
	if n, err := strconv.Atoi(w.jsonBytes); err == nil && n >= 0 && n <= len(b) {
		return b[:n]
	}
	return b
}

// facts is what a view may say about the call itself, as JSON.
func (c *call) facts() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, _ := json.Marshal(map[string]any{"id": c.id, "at": c.began.UTC().Format(time.RFC3339Nano), "model": c.model, "version": c.version.String(), "tenant": c.tenant,
		"operation": c.operation, "latency_ms": time.Since(c.began).Milliseconds(), "prompt_tokens": c.prompt, "answer_tokens": c.answer})
	return b
}

// hasViews says whether a tenant keeps any view.
func (s *Server) hasViews(tenant string) bool {
	for range s.live.Now().DocumentsUnder(cluster.AnswerView, view.Prefix(tenant)) {
		return true
	}
	return false
}

// ownView is the name of the view that a tenant wants the answer to a call in, without being asked: the one whose pattern fits most closely.
func (s *Server) ownView(c *call) (name string) {
	c.mu.Lock()
	model, version, operation, tenant := c.model, c.version.Model, c.operation, c.who.Tenant
	c.mu.Unlock()
	if model == "" {
		return "" // no model's answer
	}
	best := 0
	for d := range s.live.Now().DocumentsUnder(cluster.AnswerView, view.Prefix(tenant)) {
		k, err := s.views.kept(d)
		if err != nil {
			continue // it cannot be asked for either; PutView lets none through
		}
		if score := max(k.Fits(model, operation), k.Fits(version, operation)); score > best { // as it was asked for, or what answered
			best, name = score, d.ID[len(view.Prefix(tenant)):]
		}
	}
	return name
}

// view finds a tenant's view, ready to be used, and which version it is.
func (s *Server) view(tenant string, name view.Name) (*view.Compiled, int, error) {
	d, ok := s.live.Now().Document(cluster.DocumentID{Kind: cluster.AnswerView, ID: view.ID(tenant, name.View)})
	if !ok {
		return nil, 0, invalid("", "the view %.80q does not exist", name.View)
	}
	k, err := s.views.kept(d)
	if err != nil {
		return nil, 0, err
	}
	v, ok := k.Of(name.Number)
	if !ok {
		return nil, 0, invalid("", "the view %.80q has no version %d", name.View, name.Number)
	}
	compiled, err := s.views.compiled(d, v)
	return compiled, v.Number, err
}

// views keeps what was made of documents.
type views struct {
	mu    sync.Mutex
	byID  map[cluster.DocumentID]*ready
	count int // compiled views
}

// ready is a document's view with the versions that were used.
type ready struct {
	rev      cluster.Index
	kept     view.Kept
	versions map[int]*view.Compiled
}

// of finds what was made of a document; the lock is held.
func (v *views) of(d cluster.Document) (*ready, error) {
	if r := v.byID[d.DocumentID]; r != nil && r.rev == d.Rev {
		return r, nil
	}
	if v.byID == nil || v.count >= maxViews || len(v.byID) >= maxViews {
		v.byID, v.count = map[cluster.DocumentID]*ready{}, 0
	}
	r := &ready{rev: d.Rev, versions: map[int]*view.Compiled{}}
	if err := json.Unmarshal(d.Body, &r.kept); err != nil {
		return nil, fmt.Errorf("read %s: %w", d.DocumentID, err)
	}
	v.byID[d.DocumentID] = r
	return r, nil
}

func (v *views) kept(d cluster.Document) (view.Kept, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, err := v.of(d)
	if err != nil {
		return view.Kept{}, err
	}
	return r.kept, nil
}

func (v *views) compiled(d cluster.Document, version view.Version) (*view.Compiled, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, err := v.of(d)
	if err != nil {
		return nil, err
	}
	if c := r.versions[version.Number]; c != nil {
		return c, nil
	}
	c, err := version.View.Compile()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("gateway: the view %s", d.ID), err)
	}
	r.versions[version.Number] = c
	v.count++
	return c, nil
}
