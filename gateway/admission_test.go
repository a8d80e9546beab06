package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/quota"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/token"
	"github.com/skein-project/skein/wire"
)

// applier settles in the state itself, at once.
type applier struct {
	t testing.TB
	s *Server
}

func (a applier) Settle(_ context.Context, r *wire.SettleRequest) error {
	if r.Seq == 0 {
		return nil
	}
	state := a.s.live.Now()
	next, errs := cluster.Apply(state, state.Index()+1, cluster.Envelope{V: cluster.EnvelopeFormat, At: cluster.Millis(time.Now().UnixMilli()),
		Txns: []cluster.Txn{{Do: []cluster.Command{cluster.Settle{Gateway: "m", Session: r.Session, Seq: r.Seq, Usage: r.Usage, Asks: r.Asks}}}}})
	a.s.live.Store(next)
	return errs[0]
}

// example is a version of the gateway's state whose text the gateway can handle, without a library.
func example(t testing.TB, s *Server) *text {
	t.Helper()
	files := map[string][]byte{}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		b, err := os.ReadFile(filepath.Join("..", "examples", "calc", name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = b
	}
	tok, err := token.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	digest := blob.Of([]byte("x")).Digest()
	x := &text{tokenizer: tok, specials: tok.TemplateTokens(), limit: 1 << 20, manifest: &model.Manifest{Tasks: []model.Task{model.Generate},
		Sampling: model.Sampling{TopP: 1}, Config: model.Config{Vocab: tok.VocabSize(), Positions: 64}}}
	e := s.texts.entry(digest)
	e.once.Do(func() { e.text = x })
	return x
}

const admitted = `{"model": "sums", "prompt": "12+34=", "max_tokens": 16, "temperature": 0}`

// BenchmarkAdmission measures a request of the OpenAI API up to where a replica is chosen, and from its end: with who may call, limits
// of four kinds, the bill, metrics and the line of the log, and without any of them. The difference is what identity, permission, quota
// and metrics cost a request. Time is told as the median.
func BenchmarkAdmission(b *testing.B) {
	for _, with := range []bool{false, true} {
		b.Run(map[bool]string{false: "without", true: "with"}[with], func(b *testing.B) {
			s, _ := watched(b, slog.New(slog.NewJSONHandler(io.Discard, nil)))
			level2(b, s)
			example(b, s)
			change(b, s, cluster.PutApplication{Application: cluster.Application{AppID: cluster.AppID{Tenant: "default", ID: "portal"}, Models: []string{"*"}}},
				cluster.PutKey{Key: cluster.Key{ID: "sk-app", App: "portal", Hash: wire.SecretHash("app-secret")}})
			for i, subject := range []string{cluster.TotalSubject, cluster.TenantSubject("default"), "app/default/portal", cluster.KeySubject("sk-app")} {
				change(b, s, cluster.PutLimits{Set: cluster.LimitSet{Subject: subject, Limits: []cluster.Limited{
					{Limit: quota.Limit{Meter: quota.Requests, Window: quota.Minute, Amount: quota.MaxAmount - int64(i)}},
					{Limit: quota.Limit{Meter: quota.Tokens, Window: quota.Day, Amount: quota.MaxAmount - int64(i)}},
					{Limit: quota.Limit{Meter: quota.Concurrent, Amount: 1000}}}}})
			}
			ctx, stop := context.WithCancel(context.Background())
			defer stop()
			settled := make(chan struct{})
			go func() {
				defer close(settled)
				if err := s.Settle(ctx, Account{Gateway: "m", Settler: applier{b, s}, Dir: b.TempDir()}); err != nil {
					b.Error(err)
				}
			}()
			defer func() { stop(); <-settled }()
			h := s.entry(openAIForm, s.cfg.MaxBody, telemetry.OpText, pathCompletions, func(w http.ResponseWriter, r *http.Request) error { return s.upTo(w, r) })
			if !with {
				h = s.bare()
			}
			once := func() time.Duration {
				r := httptest.NewRequest(http.MethodPost, pathCompletions, strings.NewReader(admitted))
				r.Header.Set("Authorization", "Bearer app-secret")
				w := httptest.NewRecorder()
				began := time.Now()
				h(w, r)
				took := time.Since(began)
				if w.Code != http.StatusOK {
					b.Fatalf("%d %s", w.Code, w.Body)
				}
				return took
			}
			for range 50 {
				once()
			}
			var all []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				all = append(all, once())
			}
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)/2].Nanoseconds())/1000, "p50-µs")
			b.ReportMetric(float64(all[len(all)*99/100].Nanoseconds())/1000, "p99-µs")
		})
	}
}

// upTo does what completions does until a replica would be asked, and answers.
func (s *Server) upTo(w http.ResponseWriter, r *http.Request) error {
	var req completionRequest
	if err := read(r, &req); err != nil {
		return err
	}
	t, err := s.text(r.Context(), req.Model, "")
	if err != nil {
		return err
	}
	a, _, err := req.ask(t, s.cfg.MaxChoices)
	if err != nil {
		return err
	}
	prompts, err := s.prompts(t, req.Prompt, "prompt")
	if err != nil {
		return err
	}
	a.Tokens = prompts[0]
	asks := []Ask{a}
	if err := s.admitAsks(r.Context(), t, asks, len(a.Tokens)); err != nil {
		return err
	}
	out := completionJSON{ID: newID("cmpl-"), Object: "text_completion", Created: 1, Model: req.Model, SystemFingerprint: t.version.String()}
	for range asks[0].MaxTokens { // what every token costs the books
		callOf(r.Context()).gave()
	}
	text, finish := "46", FinishStop
	out.Choices = []choiceJSON{{Text: &text, Finish: &finish}}
	out.Usage = usageOf(Usage{len(a.Tokens), 2})
	w.(*answer).json(http.StatusOK, out)
	return nil
}

// bare is the same without identity, permission, quota and metrics.
func (s *Server) bare() http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out := &answer{ResponseWriter: w, form: openAIForm, explain: s.explain, began: time.Now()}
		r.Body = http.MaxBytesReader(w, r.Body, s.cfg.MaxBody)
		if err := s.upToBare(out, r); err != nil {
			out.fail(err)
		}
	}
}

func (s *Server) upToBare(w *answer, r *http.Request) error {
	var req completionRequest
	if err := read(r, &req); err != nil {
		return err
	}
	table, _ := s.table()
	id, _, ok := table.Choose(req.Model, "default", 1)
	v, there := s.live.Now().Version(id)
	if !ok || !there {
		return fmt.Errorf("no model %s", req.Model)
	}
	t, err := s.textOf(r.Context(), v)
	if err != nil {
		return err
	}
	a, _, err := req.ask(t, s.cfg.MaxChoices)
	if err != nil {
		return err
	}
	prompts, err := s.prompts(t, req.Prompt, "prompt")
	if err != nil {
		return err
	}
	a.Tokens = prompts[0]
	if err := s.check(t, &a); err != nil {
		return err
	}
	out := completionJSON{ID: newID("cmpl-"), Object: "text_completion", Created: 1, Model: req.Model, SystemFingerprint: t.version.String()}
	text, finish := "46", FinishStop
	out.Choices = []choiceJSON{{Text: &text, Finish: &finish}}
	out.Usage = usageOf(Usage{len(a.Tokens), 2})
	w.json(http.StatusOK, out)
	return nil
}
