package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/blob/disk"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/hub"
	"github.com/skein-project/skein/internal/egress"
	"github.com/skein-project/skein/wire"
)

// maxPulls bounds the pulls that a coordinator has under way.
const maxPulls = 4

// outside makes the client by which models are fetched.
func (c Config) outside() (*http.Client, error) {
	allow, err := c.Hub.Networks()
	if err != nil {
		return nil, err
	}
	e := egress.Config{Allow: allow}
	if c.Hub.Proxy != "" {
		if e.Proxy, err = url.Parse(c.Hub.Proxy); err != nil {
			return nil, fmt.Errorf("hub_proxy: %w", err)
		}
	}
	return egress.New(e), nil
}

// Pull fetches a model from elsewhere and publishes it as Publish does. An empty name becomes the last part of the source's. tell is
// called from this goroutine only. For an owner it is pulled without the operator's secrets, as anybody could. Besides the errors of Publish: those of hub.
func (s *Server) Pull(ctx context.Context, asker cluster.Asker, owner, source, name string, tell func(hub.Progress)) (id cluster.VersionID, pinned string, err error) {
	if name == "" {
		name = nameOf(source)
	}
	if !cluster.ValidName(name) {
		return id, "", &wire.Refused{Code: connect.CodeInvalidArgument, Why: fmt.Sprintf("%.80q is no name for a model", name)}
	}
	if err := notYours(s.live.Now(), owner, name); err != nil {
		return id, "", err
	}
	select {
	case s.pulls <- struct{}{}:
		defer func() { <-s.pulls }()
	default:
		return id, "", &wire.Refused{Code: connect.CodeResourceExhausted, Why: fmt.Sprintf("%d pulls are under way: try again when one has ended", maxPulls)}
	}
	tell(hub.Progress{Step: "asking " + source})
	cfg := s.cfg.Hub
	if owner != "" {
		cfg = cfg.Public()
	}
	src, err := hub.New(cfg, s.outside).Open(ctx, source)
	if err != nil {
		return id, "", err
	}
	s.log.Info("pulling a model", "source", src.String(), "model", name)
	sink := &pullSink{Store: s.blobs, pins: &s.pins}
	defer sink.release()
	got, err := hub.Pull(ctx, src, sink, hub.Rules{Name: convert.CheckName, Select: convert.Select}, tell)
	if err != nil {
		return id, "", err
	}
	id, err = s.publish(ctx, asker, owner, name, got.Source, got.Files, false, func(step string) { tell(hub.Progress{Step: step}) })
	return id, got.Source, err
}

// nameOf is the name of a model that comes from a source: the last part of the source's, in small letters.
func nameOf(source string) string {
	_, rest, _ := strings.Cut(source, ":")
	rest, _, _ = strings.Cut(rest, "@")
	rest = strings.TrimRight(rest, "/")
	last := rest[strings.LastIndexByte(rest, '/')+1:]
	last, _, _ = strings.Cut(last, ":")
	return strings.ToLower(last)
}

// pullSink keeps what a pull brought until it is published, or given up.
type pullSink struct {
	*disk.Store
	pins *pins
	held []blob.Digest
}

func (k *pullSink) hold(x blob.Index, err error) (blob.Index, error) {
	if err == nil {
		k.pins.hold(x.Digest())
		k.held = append(k.held, x.Digest())
	}
	return x, err
}

// Receive implements hub.Sink.
func (k *pullSink) Receive(ctx context.Context, key string, size int64, open func(context.Context, int64) (io.ReadCloser, error), c blob.Claim) (blob.Index, error) {
	return k.hold(k.Store.Receive(ctx, key, size, open, c))
}

// Import implements hub.Sink.
func (k *pullSink) Import(ctx context.Context, r io.Reader, size int64) (blob.Index, error) {
	return k.hold(k.Store.Import(ctx, r, size))
}

func (k *pullSink) release() { k.pins.release(k.held...) }

// pins count who is about to name blobs that no version names yet.
type pins struct {
	mu    sync.Mutex
	count map[blob.Digest]int
}

func (p *pins) hold(list ...blob.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count == nil {
		p.count = map[blob.Digest]int{}
	}
	for _, d := range list {
		p.count[d]++
	}
}

func (p *pins) release(list ...blob.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range list {
		if p.count[d]--; p.count[d] == 0 {
			delete(p.count, d)
		}
	}
}

// named adds what is held to a set.
func (p *pins) named(to map[blob.Digest]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for d := range p.count {
		to[d] = true
	}
}

// isFull says that a disk had no room.
func isFull(err error) bool {
	var full disk.Full
	return errors.As(err, &full)
}
