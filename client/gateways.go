package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/api/skein/inference/v1/inferencev1connect"
)

// How long what is known of gateways is believed.
const (
	routeFor = 30 * time.Second // where a model is near
	shunFor  = 10 * time.Second // that a gateway did not answer
)

// maxGateways bounds how many gateways are remembered for a model.
const maxGateways = 64

// ErrDiverged says that a stream was cut and could not go on elsewhere: asked again, the model said something else than before.
var ErrDiverged = errors.New("client: a stream that was cut would go on differently")

// Gateways calls a cluster through all of its gateways, those first that a model is near to. A call whose gateway does not answer goes to the next
// one. It is safe for concurrent use.
type Gateways struct {
	entry *Client
	local bool // the entry is on this machine, so that others of the cluster may be

	mu      sync.Mutex
	clients map[string]*Client   // by address
	routes  map[string]nearest   // by model
	shunned map[string]time.Time // until when, by address
}

// nearest are the gateways of a model, best first.
type nearest struct {
	addresses []string
	near      int // so many of them, at the front, are on the model's machines
	until     time.Time
}

// NewGateways makes a client of the cluster whose gateway the profile names. Nothing is called yet.
func NewGateways(p Profile) (*Gateways, error) {
	entry, err := New(p)
	if err != nil {
		return nil, err
	}
	u, _ := url.Parse(p.URL) // New has done so
	return &Gateways{entry: entry, local: loopback(u.Hostname()), clients: map[string]*Client{}, routes: map[string]nearest{}, shunned: map[string]time.Time{}}, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// order lists whom to ask for a model: the near gateways in any order, the others, those that did not answer, and the entry.
func (g *Gateways) order(ctx context.Context, model string) []*Client {
	now := time.Now()
	g.mu.Lock()
	route, known := g.routes[model]
	g.mu.Unlock()
	if !known || now.After(route.until) {
		if fresh, err := g.route(ctx, model); err == nil {
			fresh.until, route = now.Add(routeFor), fresh
			g.mu.Lock()
			g.routes[model] = route
			g.mu.Unlock()
		}
	}
	addresses := slices.Clone(route.addresses)
	front := addresses[:max(route.near, min(1, len(addresses)))]
	rand.Shuffle(len(front), func(i, j int) { front[i], front[j] = front[j], front[i] })
	g.mu.Lock()
	defer g.mu.Unlock()
	slices.SortStableFunc(addresses, func(a, b string) int { return g.shunned[a].Compare(g.shunned[b]) })
	var out []*Client
	for _, a := range addresses {
		if c := g.at(a); c != nil {
			out = append(out, c)
		}
	}
	return append(out, g.entry)
}

// route asks the entry, or whoever answered before, where a model is near.
func (g *Gateways) route(ctx context.Context, model string) (out nearest, err error) {
	g.mu.Lock()
	ask := []*Client{g.entry}
	for _, c := range g.clients {
		ask = append(ask, c)
	}
	g.mu.Unlock()
	var res *connect.Response[inferencev1.RouteResponse]
	for _, c := range ask {
		if res, err = c.Inference.Route(ctx, connect.NewRequest(&inferencev1.RouteRequest{Model: model})); err == nil || !elsewhere(ctx, err) {
			break
		}
	}
	if err != nil {
		return out, err
	}
	for _, e := range res.Msg.Gateways {
		host, _, err := net.SplitHostPort(e.Address)
		// Loopback is this machine, and not the cluster's, unless the entry is here too: the key goes to nobody else.
		if err != nil || loopback(host) && !g.local || len(out.addresses) == maxGateways {
			continue
		}
		out.addresses = append(out.addresses, e.Address)
		if e.Near {
			out.near = len(out.addresses) // they come first
		}
	}
	return out, nil
}

// at is the client of a gateway, called as the entry is: by TLS if that is, and with its certificates. Callers hold mu.
func (g *Gateways) at(address string) *Client {
	if c := g.clients[address]; c != nil {
		return c
	}
	u, err := url.Parse(g.entry.Profile.URL)
	if err != nil {
		return nil
	}
	p := g.entry.Profile
	p.URL = u.Scheme + "://" + address
	c, err := New(p)
	if err != nil {
		return nil
	}
	g.clients[address] = c
	return c
}

// failed keeps others from asking a gateway again at once.
func (g *Gateways) failed(c *Client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for address, of := range g.clients {
		if of == c {
			g.shunned[address] = time.Now().Add(shunFor)
		}
	}
}

// answered makes a gateway one as any other again.
func (g *Gateways) answered(c *Client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for address, of := range g.clients {
		if of == c {
			delete(g.shunned, address)
		}
	}
}

// elsewhere says that another gateway may answer what this one did not: it was not reached, the connection broke, or it says that it cannot.
func elsewhere(ctx context.Context, err error) bool {
	return ctx.Err() == nil && (connect.CodeOf(err) == connect.CodeUnavailable || !connect.IsWireError(err) && connect.CodeOf(err) != connect.CodeCanceled)
}

// Ask makes a call that has one answer, for example
//
//	client.Ask(ctx, g, "embed", inferencev1connect.InferenceServiceClient.Embed, &inferencev1.EmbedRequest{…})
//
// model is what the request names. A call that breaks off is made again elsewhere: the model may have worked twice for it.
func Ask[Q, A any](ctx context.Context, g *Gateways, model string, call func(inferencev1connect.InferenceServiceClient, context.Context, *connect.Request[Q]) (*connect.Response[A], error), q *Q) (*A, error) {
	var err error
	for _, c := range g.order(ctx, model) {
		var res *connect.Response[A]
		if res, err = call(c.Inference, ctx, connect.NewRequest(q)); err == nil {
			g.answered(c)
			return res.Msg, nil
		}
		if !elsewhere(ctx, err) {
			return nil, err
		}
		g.failed(c)
	}
	return nil, err
}

// Chat continues a conversation. A stream that is cut goes on elsewhere without a gap, as Generate says.
func (g *Gateways) Chat(ctx context.Context, q *inferencev1.ChatRequest) iter.Seq2[*inferencev1.GenerateResponse, error] {
	return g.stream(ctx, q.Model, q.Sampling, func(c *Client, model string, s *inferencev1.Sampling) (*connect.ServerStreamForClient[inferencev1.GenerateResponse], error) {
		return c.Inference.Chat(ctx, connect.NewRequest(&inferencev1.ChatRequest{Model: model, Messages: q.Messages, Sampling: s}))
	})
}

// Generate continues a text. A stream that is cut goes on elsewhere without a gap: the same version is asked the same with the same seed, which gives
// the same tokens (random numbers are a function of seed and position), and those that came already are compared and left out. Where they
// differ, as they may between kinds of devices, it ends with ErrDiverged. The tokens of the second asking are counted and limited as those of any.
func (g *Gateways) Generate(ctx context.Context, q *inferencev1.GenerateRequest) iter.Seq2[*inferencev1.GenerateResponse, error] {
	return g.stream(ctx, q.Model, q.Sampling, func(c *Client, model string, s *inferencev1.Sampling) (*connect.ServerStreamForClient[inferencev1.GenerateResponse], error) {
		return c.Inference.Generate(ctx, connect.NewRequest(&inferencev1.GenerateRequest{Model: model, Input: q.Input, Sampling: s}))
	})
}

type opener func(c *Client, model string, s *inferencev1.Sampling) (*connect.ServerStreamForClient[inferencev1.GenerateResponse], error)

func (g *Gateways) stream(ctx context.Context, model string, s *inferencev1.Sampling, open opener) iter.Seq2[*inferencev1.GenerateResponse, error] {
	return func(yield func(*inferencev1.GenerateResponse, error) bool) {
		t := transcript{model: model, sampling: seeded(s)}
		var err error
		for _, c := range g.order(ctx, model) {
			var done bool
			if done, err = t.follow(c, open, yield); done {
				g.answered(c)
				return
			}
			if !elsewhere(ctx, err) || errors.Is(err, ErrDiverged) {
				break
			}
			g.failed(c)
		}
		yield(nil, err)
	}
}

// seeded is the sampling with a seed, so that it can be asked for again.
func seeded(s *inferencev1.Sampling) *inferencev1.Sampling {
	out := &inferencev1.Sampling{}
	if s != nil {
		proto.Merge(out, s)
	}
	if out.Seed == nil {
		seed := rand.Uint64()
		out.Seed = &seed
	}
	return out
}

// transcript is what has come of a stream.
type transcript struct {
	model    string // after the first piece the version that answers
	sampling *inferencev1.Sampling
	ids      []int32
	text     string
}

// follow reads a stream to its end and gives what is new of it. done is true if nobody need be asked any more.
func (t *transcript) follow(c *Client, open opener, yield func(*inferencev1.GenerateResponse, error) bool) (done bool, err error) {
	s, err := open(c, t.model, t.sampling)
	if err != nil {
		return false, err
	}
	defer s.Close()
	again := replay{ids: t.ids, text: t.text}
	for s.Receive() {
		m := s.Msg()
		if err := again.skip(m); err != nil {
			return false, err
		}
		t.text += m.Text
		for _, k := range m.Tokens {
			t.ids = append(t.ids, k.Id)
		}
		if m.ModelVersion != "" {
			t.model = m.ModelVersion
		}
		ended := m.FinishReason != inferencev1.FinishReason_FINISH_REASON_UNSPECIFIED
		if m.Text == "" && len(m.Tokens) == 0 && !ended {
			continue
		}
		if !yield(m, nil) || ended {
			return true, nil
		}
	}
	if err = s.Err(); err == nil {
		err = connect.NewError(connect.CodeUnavailable, errors.New("client: the stream ended early"))
	}
	return false, err
}

// replay is what came of a stream before it was cut and is to come again.
type replay struct {
	ids  []int32
	text string
}

// skip takes out of a piece what came before.
func (r *replay) skip(m *inferencev1.GenerateResponse) error {
	n := min(len(r.ids), len(m.Tokens))
	for i, k := range m.Tokens[:n] {
		if k.Id != r.ids[i] {
			return fmt.Errorf("%w: token %d, not %d", ErrDiverged, k.Id, r.ids[i])
		}
	}
	b := min(len(r.text), len(m.Text))
	if m.Text[:b] != r.text[:b] {
		return fmt.Errorf("%w: %.40q, not %.40q", ErrDiverged, m.Text[:b], r.text[:b])
	}
	r.ids, m.Tokens = r.ids[n:], m.Tokens[n:]
	r.text, m.Text = r.text[b:], m.Text[b:]
	return nil
}
