package gateway

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

const (
	// shadowFor bounds the time of a copy.
	shadowFor = 2 * time.Minute
	// shadowCosine is how near the vectors of two versions must be to count as equal.
	shadowCosine = 0.99
	// shadowKey stands for a key where copies are counted: nobody's asks for them.
	shadowKey = "shadow"
)

// copied is a request that a shadow version is asked too.
type copied struct {
	name    string // as the request says it
	version cluster.VersionID
	owner   string // tenant that copies are counted for: the model's, never whose request it was
}

// shadowed runs a copy of a request that was answered on the shadow version, beside everything else: nobody waits for it, and nobody
// hears of what goes wrong. Beyond Config.Shadows at a time copies are dropped. run says whether the answers are equal; compared is
// false where that means nothing.
func (s *Server) shadowed(ctx context.Context, x *copied, run func(context.Context, *text) (equal, compared bool, err error)) {
	if x == nil {
		return
	}
	select {
	case s.shadows <- struct{}{}:
	default:
		return
	}
	of := callOf(ctx)
	if of == nil {
		<-s.shadows
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shadowFor)
	c := &call{s: s, id: of.id, operation: of.operation, began: time.Now(), reached: true, copy: true, cancel: func(error) { cancel() },
		who: cluster.Principal{Tenant: x.owner, Key: shadowKey}, tenant: x.owner, key: shadowKey}
	go func() {
		defer func() { <-s.shadows }()
		defer c.end()
		ctx := context.WithValue(ctx, callKey{}, c)
		version, ok := s.live.Now().Version(x.version)
		if !ok {
			return
		}
		c.resolve(x.name, x.version)
		t, err := s.textOf(ctx, version)
		if err == nil {
			var equal, compared bool
			err = s.survive(ctx, func() (err error) { equal, compared, err = run(ctx, t); return err })
			if compared {
				s.books.compared(c.flow, equal)
			}
		}
		c.fail(err)
	}()
}

// compared counts a copy whose answer was compared.
func (b *books) compared(f *flow, equal bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f.fresh = true
	f.since.Shadowed++
	if equal {
		f.since.Agreed++
	}
}

// transcript is an answer as it was given, to be compared.
type transcript struct {
	text strings.Builder
	ids  []int32
}

func (t *transcript) add(p Piece) {
	t.text.WriteString(p.Text)
	for _, token := range p.Tokens {
		t.ids = append(t.ids, token.Choice.Token)
	}
}

// shadowGenerate copies a generation. first is the ask as it came, and given what was answered. Only greedy answers are compared: the
// others differ by chance.
func (s *Server) shadowGenerate(ctx context.Context, t *text, first Ask, given *transcript) {
	s.shadowed(ctx, t.shadow, func(ctx context.Context, other *text) (equal, compared bool, err error) {
		a := first
		if a.Tokens, err = first.again(other); err != nil {
			return false, false, err
		}
		a.again, a.MaxTokens = nil, min(a.MaxTokens, s.context(other))
		asks := []Ask{a}
		if err = s.admitAsks(ctx, other, asks, len(a.Tokens)); err != nil {
			return false, false, err
		}
		var got transcript
		if err := s.generate(ctx, other, asks[0], func(p Piece) error { got.add(p); return nil }); err != nil {
			return false, false, err
		}
		if t.tokenizer == nil || other.tokenizer == nil {
			return slices.Equal(got.ids, given.ids), a.Sampling.Temperature == 0, nil
		}
		return got.text.String() == given.text.String(), a.Sampling.Temperature == 0, nil
	})
}

// shadowEmbed copies an embedding, whose vectors must point the same way.
func (s *Server) shadowEmbed(ctx context.Context, t *text, again func(*text) ([]wire.EncodeRow, error), want func(*text) wire.EncodeWant, given [][]float32) {
	s.shadowed(ctx, t.shadow, func(ctx context.Context, other *text) (equal, compared bool, err error) {
		rows, err := again(other)
		if err != nil {
			return false, false, err
		}
		got, err := s.embed(ctx, other, rows, want(other))
		return slices.EqualFunc(got, given, func(a, b []float32) bool { return cosine(a, b) >= shadowCosine }), err == nil, err
	})
}

// shadowClassify copies a classification, whose best labels must be equal.
func (s *Server) shadowClassify(ctx context.Context, t *text, again func(*text) ([]wire.EncodeRow, error), given [][]Label) {
	s.shadowed(ctx, t.shadow, func(ctx context.Context, other *text) (equal, compared bool, err error) {
		rows, err := again(other)
		if err != nil {
			return false, false, err
		}
		got, err := s.classify(ctx, other, rows)
		return slices.EqualFunc(got, given, func(a, b []Label) bool { return len(a) > 0 && len(b) > 0 && a[0].Name == b[0].Name }), err == nil, err
	})
}

// shadowTask copies a question of another kind. again asks another version; equal compares.
func shadowTask[T any](ctx context.Context, s *Server, t *text, given T, again func(context.Context, *text) (T, error), equal func(a, b T) bool) {
	s.shadowed(ctx, t.shadow, func(ctx context.Context, other *text) (same, compared bool, err error) {
		got, err := again(ctx, other)
		return err == nil && equal(got, given), err == nil, err
	})
}

// cosine is the cosine of the angle between two vectors; 0 if they have different lengths or one is zero.
func cosine(a, b []float32) float64 {
	if len(a) != len(b) {
		return 0
	}
	var dot, aa, bb float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		dot, aa, bb = dot+x*y, aa+x*x, bb+y*y
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return dot / math.Sqrt(aa*bb)
}
