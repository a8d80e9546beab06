package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/skein-project/skein/access"
	oipv2 "github.com/skein-project/skein/api/inference"
	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/cluster"
)

// Needs says what each path of the client API needs. What is not in it is nobody's.
func Needs() access.Procedures {
	needs := access.Of(inferencev1.File_skein_inference_v1_inference_proto, oipv2.File_inference_inference_proto)
	for _, e := range routes() {
		needs[e.path] = e.needs
	}
	needs[pathMetrics] = accessv1.Permission_PERMISSION_METRICS_READ
	return needs
}

// Paths of the client API beside those of Connect.
const (
	pathChat        = "/v1/chat/completions"
	pathCompletions = "/v1/completions"
	pathEmbeddings  = "/v1/embeddings"
	pathRerank      = "/v1/rerank"
	pathRerank2     = "/v2/rerank" // where clients of Cohere's second version ask
	pathModels      = "/v1/models"
	pathModel       = "/v1/models/{model}"
	pathMetrics     = "/metrics"
)

// stale refuses what needs a state that is not too old: a key may have been revoked that this gateway still knows as valid.
func (s *Server) stale() error {
	age, ok := s.live.Age()
	switch {
	case !ok:
		return &Error{Fault: FaultUnavailable, Why: "this gateway has not reached a coordinator yet"}
	case age > s.cfg.MaxStaleness:
		return &Error{Fault: FaultUnavailable, Why: fmt.Sprintf("this gateway has been without contact to the coordinators for %s, so it cannot know which keys are valid", age.Round(time.Second))}
	}
	return nil
}

// Ready says why requests should not come here.
func (s *Server) Ready() error { return s.stale() }

// enter lets a request in, if whoever makes it may. path is one of Needs, or another that nobody may call.
func (s *Server) enter(r *http.Request, c *call, path string) error {
	c.noted.path = path
	if i := insiderOf(r.Context()); i != nil {
		s.visitors.add(c)
		c.by(i.who)
		return s.allowed(i.who, path)
	}
	shown, err := s.present(r)
	if err != nil {
		return err
	}
	c.shown = shown
	s.visitors.add(c) // before the state is looked at: a change of it finds the call either there or here
	who, err := s.principal(shown)
	if err != nil {
		return err
	}
	c.by(who)
	return s.allowed(who, path)
}

// allowed refuses whoever lacks the permission that a path needs.
func (s *Server) allowed(who cluster.Principal, path string) error {
	need, known := s.needs.Requires(path)
	if known && !who.May(need) {
		return &Error{Fault: FaultPermission, Why: fmt.Sprintf("the key lacks the permission %s", strings.ToLower(strings.TrimPrefix(need.String(), "PERMISSION_")))}
	}
	return nil
}

// visitors are the requests that are being answered.
type visitors struct {
	mu    sync.Mutex
	calls map[*call]struct{}
}

func (v *visitors) add(c *call) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls[c] = struct{}{}
}

func (v *visitors) remove(c *call) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.calls, c)
}

// all lists them.
func (v *visitors) all() []*call {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := make([]*call, 0, len(v.calls))
	for c := range v.calls {
		out = append(out, c)
	}
	return out
}

// guardEvery is how often keys are looked at again although the state did not change: they expire.
const guardEvery = time.Second

// Guard ends requests of those who may not call any more, as soon as the state says so, until ctx ends.
func (s *Server) Guard(ctx context.Context) {
	tick := time.NewTicker(guardEvery)
	defer tick.Stop()
	for {
		_, changed := s.live.Load()
		s.expel()
		select {
		case <-changed:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// expel ends the requests of those who may not call any more: their key was revoked or has expired, or its tenant is gone.
func (s *Server) expel() {
	judged := map[presented]error{}
	for _, c := range s.visitors.all() {
		if c.inside {
			continue // whoever asks from within was looked at elsewhere
		}
		err, known := judged[c.shown]
		if !known {
			_, err = s.principal(c.shown)
			judged[c.shown] = err
		}
		if err != nil && explain(err).Fault == FaultKey {
			c.cancel(err)
		}
	}
}

// because is what a request ended with: the reason for which it was ended, if there is one, and not that it was.
func because(ctx context.Context, err error) error {
	var e *Error
	if err != nil && errors.As(context.Cause(ctx), &e) {
		return e
	}
	return err
}
