package sqlstore_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
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
			PromptTokens: rapid.IntRange(0, 9).Draw(t, "prompt"), AnswerTokens: 2, Device: 7, Seed: rapid.Int64().Draw(t, "seed"), Days: rapid.IntRange(1, 3).Draw(t, "days"), To: results.Database, Cut: rapid.Bool().Draw(t, "cut"), Redacted: rapid.Bool().Draw(t, "redacted")}
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
				page, err := s.Query(ctx, f, after, size)
				if err != nil {
					rt.Fatal(err)
				}
				if got = append(got, page...); len(page) < size {
					break
				}
				after = results.CursorOf(page[len(page)-1])
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

// Records go when they are due, by what was said when they were made or by a shorter time that is said now.
func TestPurge(t *testing.T) {
	each(t, func(t *testing.T, open func(*testing.T) *sqlstore.Store) {
		s, ctx := open(t), t.Context()
		const day, start = results.Day, int64(1764150000000)
		add := func(id, tenant string, at int64, days int) {
			r := results.Record{ID: id, At: at, Tenant: tenant, Model: "m", Status: "ok", Days: days}
			if _, _, err := s.Append(ctx, []results.Record{r}); err != nil {
				t.Fatal(err)
			}
			if err := s.AppendPairs(ctx, []results.Pair{{Run: "r", ID: id, At: at, Tenant: tenant, Model: "m", Expires: r.Expires()}}); err != nil {
				t.Fatal(err)
			}
		}
		add("a", "t1", start, 1)
		add("b", "t1", start, 30)
		add("c", "t2", start, 30)
		add("d", "t2", start+9*day, 30)
		rule, err := results.Policy{Tenant: "t2", Model: "*", Keep: results.All, Days: 5}.Rule()
		if err != nil {
			t.Fatal(err)
		}
		rules := results.Rules{rule.ID(): rule}
		for _, step := range []struct {
			at   int64
			want string
		}{{start + day - 1, "abcd"}, {start + day, "bcd"}, {start + 5*day, "bd"}, {start + 30*day, ""}} {
			if _, err := s.Purge(ctx, step.at, rules); err != nil {
				t.Fatal(err)
			}
			got, pairs := "", ""
			if err := s.Each(ctx, results.Filter{}, func(r results.Record) error { got += r.ID; return nil }); err != nil {
				t.Fatal(err)
			}
			list, err := s.Pairs(ctx, "r", results.Any, "", 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range list {
				pairs += p.ID
			}
			if len(got) != len(step.want) || len(pairs) != len(step.want) {
				t.Errorf("after %d days: %q and pairs %q, want %q", (step.at-start)/day, got, pairs, step.want)
			}
		}
	})
}

// A database of an older schema is brought up to date with all that it holds; one of a newer schema is left alone, and the error says what to do.
func TestSchemas(t *testing.T) {
	each(t, func(t *testing.T, open func(*testing.T) *sqlstore.Store) {
		ctx := t.Context()
		old := open(t)
		old.Limit(1)
		r := results.Record{ID: "old", At: 1764150000000, Model: "m", Status: "ok", Days: 1}
		if _, _, err := old.Append(ctx, []results.Record{r}); err != nil {
			t.Fatal(err)
		}
		if err := old.AppendPairs(ctx, []results.Pair{{Run: "r", ID: "old"}}); err == nil {
			t.Fatal("the older schema has pairs")
		}
		now := open(t)
		if err := now.AppendPairs(ctx, []results.Pair{{Run: "r", ID: "old"}}); err != nil {
			t.Fatal(err)
		}
		if list, err := now.Query(ctx, results.Filter{}, results.Cursor{}, 10); err != nil || len(list) != 1 || list[0].ID != "old" {
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
