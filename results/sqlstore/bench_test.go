package sqlstore_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skein-project/skein/internal/pgtest"
	"github.com/skein-project/skein/results"
	"github.com/skein-project/skein/results/postgres"
	"github.com/skein-project/skein/results/sqlite"
	"github.com/skein-project/skein/results/sqlstore"
)

// batchOf is how many records a gateway sends at once at most.
const batchOf = 1000

// batch makes records as a chat of a few hundred bytes has them.
func batch(n int, from int64) []results.Record {
	out := make([]results.Record, n)
	request, _ := json.Marshal(map[string]any{"model": "team/chat", "messages": []map[string]string{{"role": "user", "content": strings.Repeat("a question of some length ", 12)}}})
	answer, _ := json.Marshal(map[string]any{"choices": []map[string]any{{"message": map[string]string{"content": strings.Repeat("an answer of some length ", 12)}}}})
	for i := range out {
		at := from + int64(i)
		out[i] = results.Record{ID: fmt.Sprintf("%012x-%08x", at, i), At: 1764150000000 + at, Tenant: fmt.Sprint("tenant-", i%20), Model: "team/chat", Version: 1 + i%2, Alias: "team/chat", Operation: "chat",
			Path: "/v1/chat/completions", Status: "ok", Latency: int64(1000 + i), FirstToken: 300, PromptTokens: 80, AnswerTokens: 60, Days: 30, Request: request, Answer: answer,
			Labels: []results.Label{{Name: "ham", Score: 0.5}}}
	}
	return out
}

// BenchmarkAppend stores batches of records of about 800 bytes until they are safe: records/s, and the 99th percentile of a batch.
func BenchmarkAppend(b *testing.B) {
	measure := func(b *testing.B, s *sqlstore.Store, writers int) {
		var next atomic.Int64
		if _, _, err := s.Append(b.Context(), batch(1, 0)); err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		began := time.Now()
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for {
					n := next.Add(1)
					if n > int64(b.N) {
						return
					}
					if added, _, err := s.Append(b.Context(), batch(batchOf, n*batchOf)); err != nil || added != batchOf {
						b.Errorf("%d added: %v", added, err)
						return
					}
				}
			})
		}
		wg.Wait()
		b.ReportMetric(float64(b.N)*batchOf/time.Since(began).Seconds(), "records/s")
	}
	b.Run("sqlite", func(b *testing.B) {
		s, err := sqlite.Open(filepath.Join(b.TempDir(), "results.db"))
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		measure(b, s, 1)
	})
	b.Run("postgres", func(b *testing.B) {
		s, err := postgres.Open(pgtest.Start(b).URL)
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		measure(b, s, 4)
	})
}
