package sqlstore_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/internal/pgtest"
	"github.com/skein-project/skein/results"
	"github.com/skein-project/skein/results/postgres"
	"github.com/skein-project/skein/results/sqlite"
	"github.com/skein-project/skein/results/sqlstore"
)

// each runs a test on both databases, each empty.
func each(t *testing.T, test func(t *testing.T, open func(*testing.T) *sqlstore.Store)) {
	opened := func(t *testing.T, s *sqlstore.Store, err error) *sqlstore.Store {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a folder #1?", "results%41.db")
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		test(t, func(t *testing.T) *sqlstore.Store {
			s, err := sqlite.Open(path)
			return opened(t, s, err)
		})
	})
	t.Run("postgres", func(t *testing.T) {
		server := pgtest.Start(t)
		test(t, func(t *testing.T) *sqlstore.Store {
			s, err := postgres.Open(server.URL)
			return opened(t, s, err)
		})
	})
}

// record draws a record of small sets of values, so that filters hit.
func record(i int) *rapid.Generator[results.Record] {
	return rapid.Custom(func(t *rapid.T) results.Record {
		texts := rapid.SampledFrom([]string{"", "a", "b", "naïve \"quote\" 漢字 \\ 100% _x", "line\nbreak"})
		r := results.Record{ID: fmt.Sprintf("%08d", i), At: 1764150000000 + int64(rapid.IntRange(0, 5).Draw(t, "hour"))*3_600_000 + int64(rapid.IntRange(0, 2).Draw(t, "ms")),
			Tenant: rapid.SampledFrom([]string{"t1", "t2", ""}).Draw(t, "tenant"), App: texts.Draw(t, "app"), Key: "k", Model: rapid.SampledFrom([]string{"m", "team/m"}).Draw(t, "model"),
			Version: rapid.IntRange(0, 2).Draw(t, "version"), Alias: texts.Draw(t, "alias"), Operation: rapid.SampledFrom([]string{"chat", "classify"}).Draw(t, "op"),
			Status: rapid.SampledFrom([]string{"ok", "ok", "busy"}).Draw(t, "status"), Latency: int64(rapid.IntRange(0, 6).Draw(t, "latency")), FirstToken: int64(rapid.IntRange(0, 3).Draw(t, "first")),
			PromptTokens: rapid.IntRange(0, 9).Draw(t, "prompt"), AnswerTokens: 2, Device: 7, Seed: rapid.Int64().Draw(t, "seed"), Days: rapid.IntRange(1, 3).Draw(t, "days"), To: results.Database, Cut: rapid.Bool().Draw(t, "cut"), Redacted: rapid.Bool().Draw(t, "redacted"), Policy: rapid.SampledFrom([]string{"", "t1/*"}).Draw(t, "policy")}
		for n := range rapid.IntRange(0, 3).Draw(t, "labels") {
			r.Labels = append(r.Labels, results.Label{Input: n, Name: rapid.SampledFrom([]string{"x", "y", "z'"}).Draw(t, "label"), Score: 0.25})
		}
		if rapid.Bool().Draw(t, "asked") {
			r.Request, _ = json.Marshal(map[string]string{"text": texts.Draw(t, "request")})
		}
		if rapid.Bool().Draw(t, "answered") {
			r.Answer, _ = json.Marshal([]string{texts.Draw(t, "answer")})
		}
		return r
	})
}

func filter() *rapid.Generator[results.Filter] {
	return rapid.Custom(func(t *rapid.T) results.Filter {
		some := func(name string, of ...string) []string {
			if !rapid.Bool().Draw(t, name+"?") {
				return nil
			}
			return rapid.SliceOfNDistinct(rapid.SampledFrom(of), 1, 2, rapid.ID).Draw(t, name)
		}
		f := results.Filter{Tenants: some("tenants", "t1", "t2", ""), Models: some("models", "m", "team/m", "none"), Statuses: some("statuses", "ok", "busy"), NotStatuses: some("not", "ok", "busy"),
			Labels: some("labels", "x", "y", "z'"), Operations: some("ops", "chat", "classify"), AtLeast: int64(rapid.IntRange(0, 4).Draw(t, "least")), AtMost: int64(rapid.IntRange(0, 6).Draw(t, "most")),
			Text: rapid.SampledFrom([]string{"", "", "a", "\"quote\"", "漢", "%", "_", "\n", "\\"}).Draw(t, "text"), Asked: rapid.Bool().Draw(t, "asked")}
		if rapid.Bool().Draw(t, "times") {
			f.From, f.Until = 1764150000000+3_600_000, 1764150000000+int64(rapid.IntRange(1, 6).Draw(t, "until"))*3_600_000
		}
		if rapid.Bool().Draw(t, "versions") {
			f.Versions = []int{1, 2}
		}
		return f
	})
}

// A store answers every question as the slow and obvious way does, in whatever pages it is asked, and a record that comes again changes nothing.
func TestStoreAnswersAsTheObviousWay(t *testing.T) {
	each(t, func(t *testing.T, open func(*testing.T) *sqlstore.Store) {
		s, ctx := open(t), t.Context()
		var all []results.Record
		for i := range 300 {
			all = append(all, record(i).Example(i))
		}
		if added, refused, err := s.Append(ctx, all); err != nil || added != len(all) || refused != 0 {
			t.Fatal(added, refused, err)
		}
		changed := all[7]
		changed.Tenant = "other"
		if added, _, err := s.Append(ctx, []results.Record{all[3], changed, all[3]}); err != nil || added != 0 {
			t.Fatalf("records that were there: %d added, %v", added, err)
		}
		rapid.Check(t, func(rt *rapid.T) {
			f := filter().Draw(rt, "filter")
			var want []results.Record
			for _, r := range all {
				if f.Meets(r) {
					want = append(want, r)
				}
			}
			var oldest []results.Record
			if err := s.Each(ctx, f, func(r results.Record) error { oldest = append(oldest, r); return nil }); err != nil {
				rt.Fatal(err)
			}
			slices.SortFunc(want, func(a, b results.Record) int {
				if results.CursorOf(b).Behind(a) {
					return -1
				}
				return 1
			})
			same(rt, "all", oldest, want)
			slices.Reverse(want)
			var got []results.Record
			for after, size := (results.Cursor{}), rapid.IntRange(1, 200).Draw(rt, "page"); ; {
				page, next, err := s.Query(ctx, f, results.Page{After: after, Limit: size})
				if err != nil {
					rt.Fatal(err)
				}
				if got = append(got, page...); next == (results.Cursor{}) {
					break
				}
				after = next
			}
			same(rt, "pages", got, want)
			by := rapid.SliceOfNDistinct(rapid.SampledFrom([]results.Field{results.ByDay, results.ByHour, results.ByTenant, results.ByApp, results.ByModel, results.ByVersion, results.ByOperation, results.ByStatus, results.ByLabel}), 0, 3, rapid.ID).Draw(rt, "by")
			rows, err := s.Summarize(ctx, f, by)
			if err != nil {
				rt.Fatal(err)
			}
			if obvious := results.Summarize(want, by); !reflect.DeepEqual(append([]results.Row{}, rows...), obvious) {
				rt.Fatalf("by %v:\ngot  %+v\nwant %+v", by, rows, obvious)
			}
			labels, err := s.Labels(ctx, f)
			counted := results.Distribution{}
			counted.Count(want...)
			if err != nil || !reflect.DeepEqual(labels, counted) {
				rt.Fatalf("labels %v, %v, want %v", labels, err, counted)
			}
		})
	})
}

func same(t *rapid.T, what string, got, want []results.Record) {
	if len(got) != len(want) {
		t.Fatalf("%s: %d records, want %d", what, len(got), len(want))
	}
	for i := range got {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("%s: record %d:\ngot  %+v\nwant %+v", what, i, got[i], want[i])
		}
	}
}

// kept gives the ids of the records that are there, and of the pairs.
func kept(t *testing.T, s *sqlstore.Store) (records, pairs string) {
	t.Helper()
	if err := s.Each(t.Context(), results.Filter{}, func(r results.Record) error { records += r.ID; return nil }); err != nil {
		t.Fatal(err)
	}
	list, next, err := s.Pairs(t.Context(), "r", results.Any, "", 100)
	if err != nil || next != "" {
		t.Fatal(next, err)
	}
	for _, p := range list {
		pairs += p.ID
	}
	return records, pairs
}

// Records go when they are due, by what was said when they were made or by a shorter time that their policy says now; a policy that is deleted, that
// says none, or that is another one leaves them their time.
func TestPurge(t *testing.T) {
	each(t, func(t *testing.T, open func(*testing.T) *sqlstore.Store) {
		s, ctx := open(t), t.Context()
		const day, start = results.Day, int64(1764150000000)
		all := results.Policy{Tenant: "*", Model: "*", Keep: results.All, Days: 30}
		t2 := results.Policy{Tenant: "t2", Model: "*", Keep: results.All, Days: 30}
		add := func(id string, p results.Policy, at int64, days int) {
			r := results.Record{ID: id, At: at, Tenant: "t2", Model: "m", Status: "ok", Days: days, Policy: p.ID()}
			if _, _, err := s.Append(ctx, []results.Record{r}); err != nil {
				t.Fatal(err)
			}
			if err := s.AppendPairs(ctx, []results.Pair{{Run: "r", ID: id, At: at, Tenant: "t2", Model: "m", Expires: r.Expires()}}); err != nil {
				t.Fatal(err)
			}
		}
		add("a", all, start, 1)
		add("b", all, start, 30)
		add("c", t2, start, 30)
		add("d", t2, start+9*day, 30)
		none, shorter, longer, wide := t2, t2, t2, all
		none.Keep, shorter.Days, longer.Days, wide.Days = results.Nothing, 5, 300, 3
		none.Days = 2 // which nothing is kept for
		for i, step := range []struct {
			at    int64
			rules []results.Policy
			want  string
		}{
			{start + day - 1, nil, "abcd"}, {start + day, nil, "bcd"}, {start + 10*day, nil, "bcd"}, {start + 10*day, []results.Policy{none}, "bcd"},
			{start + 10*day, []results.Policy{longer, all}, "bcd"}, {start + 10*day, []results.Policy{none, wide}, "cd"}, {start + 10*day, []results.Policy{shorter}, "d"},
			{start + 39*day - 1, []results.Policy{longer}, "d"}, {start + 39*day, []results.Policy{longer}, ""},
		} {
			rules := results.Rules{}
			for _, p := range step.rules {
				rules[p.ID()] = results.Rule{Policy: p}
			}
			before, _ := kept(t, s)
			gone, err := s.Purge(ctx, step.at, rules)
			if records, pairs := kept(t, s); err != nil || records != step.want || pairs != step.want || gone != len(before)-len(records) {
				t.Errorf("step %d: %q and pairs %q are left, %d are gone, %v; want %q", i, records, pairs, gone, err, step.want)
			}
		}
	})
}

// What is forgotten is gone with what re-runs found about it, and what they find later is not stored; what only a re-run's answer says is found too.
func TestForget(t *testing.T) {
	each(t, func(t *testing.T, open func(*testing.T) *sqlstore.Store) {
		s, ctx := open(t), t.Context()
		for _, id := range []string{"a", "b", "c"} {
			r := results.Record{ID: id, At: 1764150000000, Tenant: "t" + id, Model: "m", Status: "ok", Days: 1, Request: json.RawMessage(`"of ` + id + `"`)}
			if _, _, err := s.Append(ctx, []results.Record{r}); err != nil {
				t.Fatal(err)
			}
		}
		pair := func(id string) {
			if err := s.AppendPairs(ctx, []results.Pair{{Run: "r", ID: id, At: 1764150000000, Answer: json.RawMessage(`"a secret of ` + id + `"`)}}); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range []string{"a", "b", "c", "d"} {
			pair(id)
		}
		for _, step := range []struct {
			filter         results.Filter
			gone           int
			records, pairs string
		}{
			{results.Filter{}, -1, "abc", "abc"},
			{results.Filter{Text: "of a"}, 1, "bc", "bc"},
			{results.Filter{Text: "secret", Tenants: []string{"tb"}}, 0, "bc", "c"},
			{results.Filter{IDs: []string{"c", "x"}}, 1, "b", ""},
		} {
			if step.gone >= 0 {
				if gone, err := s.Forget(ctx, step.filter); gone != step.gone || err != nil {
					t.Errorf("%+v: %d are gone, %v", step.filter, gone, err)
				}
				pair("a") // a re-run that was on its way
			}
			if records, pairs := kept(t, s); records != step.records || pairs != step.pairs {
				t.Errorf("%+v: %q, and pairs %q", step.filter, records, pairs)
			}
		}
	})
}

// However many delete at once, what Forget was asked to delete is gone when it says so, also where another that deletes the same fails.
func TestForgetBeside(t *testing.T) {
	server := pgtest.Start(t)
	s, err := postgres.Open(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range int64(8) {
		if _, _, err := s.Append(t.Context(), batch(1000, i*1000)); err != nil {
			t.Fatal(err)
		}
	}
	db, err := sql.Open("pgx", server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	other, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.ExecContext(t.Context(), "DELETE FROM skein_records WHERE at % 3 = 0"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := s.Forget(t.Context(), results.Filter{Models: []string{"team/chat"}})
		if rows, also := s.Summarize(t.Context(), results.Filter{}, nil); len(rows) > 0 || also != nil {
			err = fmt.Errorf("%+v are left: %w", rows, errors.Join(err, also))
		}
		done <- err
	}()
	for left := 8000; left > 8000/3+1; {
		if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM skein_records").Scan(&left); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Questions whose answers nobody takes keep no record waiting.
func TestStalledReaders(t *testing.T) {
	each(t, func(t *testing.T, open func(*testing.T) *sqlstore.Store) {
		s := open(t)
		if _, _, err := s.Append(t.Context(), batch(eachTwice, 0)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		stalled, all := make(chan struct{}), sync.WaitGroup{}
		for range 20 {
			all.Go(func() {
				_ = s.Each(ctx, results.Filter{}, func(results.Record) error {
					stalled <- struct{}{}
					<-ctx.Done()
					return ctx.Err()
				})
			})
			<-stalled
		}
		if added, _, err := s.Append(t.Context(), batch(1, 5000)); added != 1 || err != nil {
			t.Errorf("%d added: %v", added, err)
		}
		if _, _, err := s.Query(t.Context(), results.Filter{}, results.Page{Limit: 1}); err != nil {
			t.Error(err)
		}
		cancel()
		all.Wait()
	})
}

// eachTwice are more records than Each reads at once.
const eachTwice = 1100

// A page ends where its bodies are large, the next one goes on there, and a brief one has none.
func TestLargePages(t *testing.T) {
	each(t, func(t *testing.T, open func(*testing.T) *sqlstore.Store) {
		s, n := open(t), 40
		body := json.RawMessage(`"` + strings.Repeat("x", results.MaxBody-2) + `"`)
		for i := range n {
			r := results.Record{ID: fmt.Sprintf("%02d", i), At: 1764150000000, Model: "m", Status: "ok", Days: 1, Answer: body}
			if _, _, err := s.Append(t.Context(), []results.Record{r}); err != nil {
				t.Fatal(err)
			}
		}
		var sizes []int
		seen := 0
		for p := (results.Page{Limit: 1000}); ; {
			list, next, err := s.Query(t.Context(), results.Filter{}, p)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				if seen++; r.ID != fmt.Sprintf("%02d", n-seen) {
					t.Fatalf("record %d is %s", seen, r.ID)
				}
			}
			if sizes = append(sizes, len(list)); next == (results.Cursor{}) {
				break
			}
			p.After = next
		}
		if !slices.Equal(sizes, []int{16, 16, 8}) {
			t.Errorf("pages of %v records", sizes)
		}
		list, next, err := s.Query(t.Context(), results.Filter{}, results.Page{Limit: 1000, Brief: true})
		if len(list) != n || next != (results.Cursor{}) || err != nil || list[0].Answer != nil {
			t.Errorf("%d brief records, %v, %v", len(list), next, err)
		}
	})
}

// A summary of more records than are sorted is refused, and says so.
func TestSummaryOfTooMany(t *testing.T) {
	each(t, func(t *testing.T, open func(*testing.T) *sqlstore.Store) {
		s := open(t)
		s.Most(10)
		for n, fine := range []bool{10: true, 11: false} {
			if n < 10 {
				continue
			}
			if _, _, err := s.Append(t.Context(), batch(n, 0)); err != nil {
				t.Fatal(err)
			}
			_, err := s.Summarize(t.Context(), results.Filter{}, []results.Field{results.ByTenant})
			if fine != (err == nil) || err != nil && !errors.As(err, new(*results.Invalid)) {
				t.Errorf("%d records: %v", n, err)
			}
		}
	})
}

// A database in which not every text has a place is refused by name before a record is lost in it.
func TestEncoding(t *testing.T) {
	server := pgtest.Start(t)
	db, err := sql.Open("pgx", server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	address.Path = "/latin"
	s, err := postgres.Open(address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, _, err := s.Append(t.Context(), batch(1, 0)); !errors.Is(err, postgres.ErrEncoding) || !strings.Contains(err.Error(), "LATIN1") {
		t.Error(err)
	}
}

// A database of an older schema is brought up to date with all that it holds; one of a newer schema is left alone, and the error says what to do.
func TestSchemas(t *testing.T) {
	each(t, func(t *testing.T, open func(*testing.T) *sqlstore.Store) {
		ctx := t.Context()
		old := open(t)
		old.Limit(1)
		r := results.Record{ID: "old", At: 1764150000000, Model: "m", Status: "ok", Days: 1}
		if _, _, err := old.Append(ctx, nil); err != nil {
			t.Fatal(err)
		}
		// A record as the first version had it.
		statement := "INSERT INTO skein_records VALUES ('old', 1764150000000, '', 't', '', '', 'm', 1, '', 'chat', '', 'ok', '', 1, 0, 0, 0, 0, 0, '', NULL, NULL, NULL, FALSE, FALSE, 1, 1764236400000)"
		if err := old.Do(ctx, statement); err != nil {
			t.Fatal(err)
		}
		if err := old.AppendPairs(ctx, []results.Pair{{Run: "r", ID: "old"}}); err == nil {
			t.Fatal("the older schema has pairs")
		}
		now := open(t)
		if err := now.AppendPairs(ctx, []results.Pair{{Run: "r", ID: "old"}}); err != nil {
			t.Fatal(err)
		}
		if list, _, err := now.Query(ctx, results.Filter{}, results.Page{Limit: 10}); err != nil || len(list) != 1 || list[0].ID != "old" {
			t.Fatal(list, err)
		}
		stale := open(t)
		stale.Limit(1)
		_, _, err := stale.Append(ctx, []results.Record{r})
		if !errors.Is(err, sqlstore.ErrNewer) {
			t.Fatalf("a newer schema: %v", err)
		}
		t.Log(err)
	})
}

// A value that the database does not take is refused alone.
func TestRefused(t *testing.T) {
	each(t, func(t *testing.T, open func(*testing.T) *sqlstore.Store) {
		if t.Name() == "TestRefused/sqlite" {
			t.Skip("SQLite takes every text")
		}
		s, ctx := open(t), t.Context()
		bad := results.Record{ID: "2", At: 1, Model: "a\x00b", Status: "ok", Days: 1}
		added, refused, err := s.Append(ctx, []results.Record{{ID: "1", At: 1, Status: "ok", Days: 1}, bad, {ID: "3", At: 1, Status: "ok", Days: 1}})
		if added != 2 || refused != 1 || err != nil {
			t.Fatal(added, refused, err)
		}
	})
}
