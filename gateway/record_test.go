package gateway_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	_ "github.com/jackc/pgx/v5/stdlib" // the tests break databases in their own words

	"github.com/skein-project/skein/access"
	"github.com/skein-project/skein/alert/kept"
	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/api/skein/inference/v1/inferencev1connect"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/internal/pgtest"
	"github.com/skein-project/skein/results"
	"github.com/skein-project/skein/series"
	"github.com/skein-project/skein/wire"
)

// recorded is a fleet with a model, and a store of records on its first coordinator.
func recorded(t testing.TB, coordinators int, where string) (*fleettest.Fleet, *fleettest.Machine) {
	t.Helper()
	f, m, _ := served(t, coordinators)
	first := f.Coordinators[0]
	f.Stop(first)
	first.Config.Results = where
	f.Start(first)
	fleettest.Within(t, "there is a leader", func() bool { return f.Leader() != nil })
	fleettest.Within(t, "the cluster has the newest feature level", func() bool { return f.Leader().Live().Now().Cluster().Feature == cluster.Feature })
	return f, m
}

// policy puts a policy into the state, and waits until a gateway knows it.
func policy(t testing.TB, f *fleettest.Fleet, g *fleettest.Gateway, p results.Policy) {
	t.Helper()
	doc, err := kept.Document(cluster.KeepPolicy, p.ID(), p)
	if err != nil {
		t.Fatal(err)
	}
	leader := f.Leader()
	old, _ := leader.Live().Now().Document(doc.DocumentID)
	f.Do(leader, cluster.PutDocument{Document: doc, Was: old.Rev})
	fleettest.Within(t, "the gateway knows the policy", func() bool { return g.Ruled(p) })
}

// all waits until the store has n records, and gives them, the oldest first.
func all(t testing.TB, f *fleettest.Fleet, n int) (out []results.Record) {
	t.Helper()
	store := f.Coordinators[0].Results()
	fleettest.Within(t, fmt.Sprint(n, " records are kept"), func() bool {
		out = nil
		err := store.Each(t.Context(), results.Filter{}, func(r results.Record) error { out = append(out, r); return nil })
		return err == nil && len(out) >= n
	})
	if len(out) != n {
		t.Fatalf("%d records, want %d", len(out), n)
	}
	return out
}

// Of every request that was answered or refused there is a record, as its tenant's policy says, from stand-alone gateways and from those of
// coordinators with and without a store; and without a policy there is none.
func TestRecords(t *testing.T) {
	t.Parallel()
	f, _ := recorded(t, 2, "sqlite")
	acme, other := tenant(f, "acme", 100, "*"), tenant(f, "other", 100, "*")
	alone, first, second := f.Gateway("alone", gateway.Config{}), f.GatewayOn(f.Coordinators[0], gateway.Config{}), f.GatewayOn(f.Coordinators[1], gateway.Config{})
	gateways := []*fleettest.Gateway{alone, first, second}
	ask := func(g *fleettest.Gateway, key, body string) reply {
		t.Helper()
		var r reply
		fleettest.Within(t, "an answer", func() bool {
			var err error
			r, err = post(t.Context(), g.URL+"/v1/completions", key, body)
			return err == nil && r.status != http.StatusUnauthorized && r.status != http.StatusServiceUnavailable
		})
		return r
	}
	body := `{"model": "calc", "prompt": [1, 2, 3], "max_tokens": 2, "user": "jane"}`
	ask(alone, acme, body) // before there is a policy
	for _, g := range gateways {
		policy(t, f, g, results.Policy{Tenant: "acme", Model: "*", Keep: results.All, Days: 3, Redact: []results.Redaction{{Field: "request.user"}}})
		policy(t, f, g, results.Policy{Tenant: "*", Model: "calc", Keep: results.Metadata, Days: 2})
	}
	for _, g := range gateways {
		if r := ask(g, acme, body); r.status != http.StatusOK {
			t.Fatalf("%+v", r)
		}
		ask(g, other, body)
		ask(g, acme, `{"model": "calc", "prompt": [1], "max_tokens": 2, "stream": true}`)
		ask(g, acme, `{"model": "calc", "prompt": [1], "best_of": 7}`)
	}
	list := all(t, f, 4*len(gateways))
	by := map[string][]results.Record{}
	for _, r := range list {
		by[r.Tenant+" "+r.Status] = append(by[r.Tenant+" "+r.Status], r)
		if r.Gateway == "" || r.Model != "calc" || r.Version != 1 || r.Alias != "calc" || r.Operation != "text_completion" || r.Latency <= 0 || r.Key == "" || r.RequestID == "" {
			t.Errorf("%+v", r)
		}
	}
	whole, streamed := 0, 0
	for _, r := range by["acme ok"] {
		var answer struct{ Choices []struct{ Text *string } }
		if err := json.Unmarshal(r.Answer, &answer); err != nil || len(answer.Choices) != 1 {
			t.Errorf("answer %s: %v", r.Answer, err)
		}
		switch {
		case strings.Contains(string(r.Request), `"stream":true`):
			streamed++
		case strings.Contains(string(r.Request), results.Redacted) && r.Redacted && !strings.Contains(string(r.Request), "jane") && r.PromptTokens == 3 && r.AnswerTokens == 2 && r.FirstToken > 0 && r.Seed != 0:
			whole++
		default:
			t.Errorf("%+v: %s", r, r.Request)
		}
	}
	if whole != 3 || streamed != 3 || len(by["acme invalid"]) != 3 || len(by["other ok"]) != 3 {
		t.Errorf("%d whole, %d streamed, %d refused, %d of the other", whole, streamed, len(by["acme invalid"]), len(by["other ok"]))
	}
	for _, r := range by["other ok"] {
		if r.Request != nil || r.Answer != nil || r.Days != 2 {
			t.Errorf("metadata alone: %+v", r)
		}
	}
	for _, r := range by["acme invalid"] {
		if r.Error == "" || r.Request == nil || r.Answer != nil || r.Days != 3 {
			t.Errorf("refused: %+v", r)
		}
	}
	policy(t, f, alone, results.Policy{Tenant: "acme", Model: "*", Keep: results.Nothing})
	ask(alone, acme, body)
	fleettest.Within(t, "all is sent", func() bool { return alone.Records().Waiting == 0 })
	all(t, f, 4*len(gateways))
}

// What a client wrote is found again, however it wrote it, and a request full of what HTML escapes is kept up to its limit.
func TestRecordsAreFound(t *testing.T) {
	t.Parallel()
	f, _ := recorded(t, 1, "sqlite")
	key := tenant(f, "acme", 100, "*")
	g := f.Gateway("alone", gateway.Config{})
	policy(t, f, g, results.Policy{Tenant: "acme", Model: "*", Keep: results.All, Days: 3})
	large := strings.Repeat("<", results.MaxBody-1000)
	for i, user := range []string{`<b>&\u6f22`, `\u003cb\u003e&漢`, large, large, large, large} {
		fleettest.Within(t, "an answer", func() bool {
			r, err := post(t.Context(), g.URL+"/v1/completions", key, `{"model": "calc", "prompt": [1], "max_tokens": 1, "user": "`+user+`"}`)
			return err == nil && r.status == http.StatusOK
		})
		fleettest.Within(t, "it is written", func() bool { st := g.Records(); return st.Waiting+st.Kept == i+1 })
	}
	for _, r := range all(t, f, 6) {
		if r.Cut || r.Request == nil {
			t.Errorf("%+v", r)
		}
	}
	store := f.Coordinators[0].Results()
	filter, err := results.ParseFilter([]string{"text~<b>&漢"})
	if err != nil {
		t.Fatal(err)
	}
	if list, _, err := store.Query(t.Context(), filter, results.Page{Limit: 10}); len(list) != 2 || err != nil {
		t.Errorf("%d are found: %v", len(list), err)
	}
	if n, err := store.Forget(t.Context(), filter); n != 2 || err != nil {
		t.Errorf("%d are forgotten: %v", n, err)
	}
}

// However the database fails, requests are answered as before, what was acknowledged stays, what waits is on the disk, and when the database
// is well again everything is there, once.
func TestDatabaseFails(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	f, _ := recorded(t, 1, server.URL)
	key := tenant(f, "acme", 100, "*")
	g := f.Gateway("g", gateway.Config{})
	policy(t, f, g, results.Policy{Tenant: "*", Model: "*", Keep: results.All, Days: 3})
	db, err := sql.Open("pgx", server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	sent := 0
	load := func(n int) {
		t.Helper()
		for range n {
			fleettest.Within(t, "an answer", func() bool { return complete(t, g, key, 2).status == http.StatusOK })
			sent++
		}
	}
	waits := func(n int) {
		t.Helper()
		fleettest.Within(t, fmt.Sprint(n, " records wait"), func() bool { return g.Records().Waiting == n })
	}
	do := func(statements ...string) {
		t.Helper()
		for _, s := range statements {
			if _, err := db.ExecContext(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	load(3)
	all(t, f, sent)
	for _, fault := range []struct {
		name          string
		breaks, mends func()
	}{
		{"down", server.Down, server.Up},
		{"full", func() {
			do(`CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$`,
				`CREATE TRIGGER full_disk BEFORE INSERT ON skein_records EXECUTE FUNCTION full_disk()`)
		}, func() { do(`DROP TRIGGER full_disk ON skein_records`) }},
		{"read-only", func() {
			do(`ALTER DATABASE postgres SET default_transaction_read_only = on`, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'skein'`)
		},
			func() {
				do(`SET default_transaction_read_only = off`, `ALTER DATABASE postgres RESET default_transaction_read_only`, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'skein'`)
			}},
		{"of a newer schema", func() {
			do(`UPDATE skein_results_schema SET version = 99`)
			f.Stop(f.Coordinators[0])
			f.Start(f.Coordinators[0])
		}, func() { do(`UPDATE skein_results_schema SET version = 3`) }},
	} {
		fault.breaks()
		fleettest.Within(t, "there is a leader", func() bool { return f.Leader() != nil })
		load(4)
		waits(4)
		fault.mends()
		all(t, f, sent)
		waits(0)
		t.Log("survived a database that is", fault.name)
	}
	// A database that is slow holds nobody up: another process has locked the table.
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "LOCK TABLE skein_records IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	var slow []time.Duration
	for range 20 {
		began := time.Now()
		load(1)
		slow = append(slow, time.Since(began))
	}
	waits(20)
	if m := slices.Sorted(slices.Values(slow))[10]; m > time.Second {
		t.Errorf("a request takes %v while the database is slow", m)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	all(t, f, sent)
	fleettest.Within(t, "all are acknowledged", func() bool { return g.Records() == gateway.Records{Kept: sent} })
}

// A gateway that is started again sends what it had not sent, and a spool that is full drops and counts what comes, and slows nobody down.
func TestSpool(t *testing.T) {
	t.Parallel()
	f, _ := recorded(t, 1, "")
	key := tenant(f, "acme", 100, "*")
	g := f.Gateway("g", gateway.Config{SpoolBytes: 4096})
	policy(t, f, g, results.Policy{Tenant: "*", Model: "*", Keep: results.All, Days: 3})
	for range 8 {
		fleettest.Within(t, "an answer", func() bool { return complete(t, g, key, 2).status == http.StatusOK })
	}
	fleettest.Within(t, "all are written or dropped", func() bool {
		return g.Records().Waiting+g.Records().Spool == 8
	})
	waiting := g.Records().Waiting
	if waiting == 0 || waiting == 8 {
		t.Fatalf("%+v", g.Records())
	}
	for family, least := range map[string]float64{"skein_gateway_results_spool_ratio": 0.5, "skein_gateway_results_dropped_total": float64(8 - waiting)} {
		fleettest.Within(t, "the leader measures "+family, func() bool {
			now := time.Now()
			curves, err := f.Leader().Monitor().Range(t.Context(), family, series.Is(series.Of("gateway", "g")), now.Add(-time.Minute), now, time.Minute)
			sum := 0.0
			for _, c := range curves {
				for _, p := range c.Points {
					sum += max(p.Max, float64(p.Sum))
				}
			}
			return err == nil && sum >= least
		})
	}
	g.Crash()
	f.Stop(f.Coordinators[0])
	f.Coordinators[0].Config.Results = "sqlite"
	f.Start(f.Coordinators[0])
	fleettest.Within(t, "there is a leader", func() bool { return f.Leader() != nil })
	g.Start(gateway.Config{})
	all(t, f, waiting)
	fleettest.Within(t, "the spool is empty", func() bool { return g.Records().Waiting == 0 })
	if list, err := filepath.Glob(filepath.Join(g.Dir+"-records", "*.broken")); err != nil || len(list) > 0 {
		t.Error(list, err)
	}
}

// A record of the spool that somebody has damaged is lost alone and counted, and the file is kept for people.
func TestDamagedSpool(t *testing.T) {
	t.Parallel()
	f, _ := recorded(t, 1, "")
	key := tenant(f, "acme", 100, "*")
	g := f.Gateway("g", gateway.Config{})
	policy(t, f, g, results.Policy{Tenant: "*", Model: "*", Keep: results.All, Days: 3})
	for i := range 3 {
		fleettest.Within(t, "an answer", func() bool { return complete(t, g, key, 2).status == http.StatusOK })
		fleettest.Within(t, "it is written", func() bool { return g.Records().Waiting == i+1 })
	}
	g.Crash()
	name := filepath.Join(g.Dir+"-records", fmt.Sprintf("%016x.log", 1))
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f.Stop(f.Coordinators[0])
	f.Coordinators[0].Config.Results = "sqlite"
	f.Start(f.Coordinators[0])
	g.Start(gateway.Config{})
	all(t, f, 2)
	if st := g.Records(); st.Damaged != 1 {
		t.Errorf("%+v", st)
	}
	if copied, err := os.ReadFile(name + ".broken"); !slices.Equal(copied, b) {
		t.Errorf("the damaged file is not there as it was: %v", err)
	}
}

// Asked again, a request is answered as it was: by the same seed, in the name of whoever asks, and its record goes nowhere else.
func TestAgain(t *testing.T) {
	t.Parallel()
	f, machine := recorded(t, 1, "sqlite")
	key := tenant(f, "acme", 100, "*")
	g := f.GatewayOn(f.Coordinators[0], gateway.Config{})
	policy(t, f, g, results.Policy{Tenant: "*", Model: "*", Keep: results.All, Days: 3})
	seeds := make(chan uint64, 10)
	machine.Work(fleettest.Work{Seen: func(r *wire.GenerateRequest) func() { seeds <- r.Sampling.Seed; return func() {} }})
	fleettest.Within(t, "an answer", func() bool { return complete(t, g, key, 3).status == http.StatusOK })
	was := all(t, f, 1)[0]
	who := cluster.Principal{Tenant: "acme", Key: "who asks", Roles: []access.Role{access.Publisher}}
	calc := cluster.VersionID{Model: "calc", Number: 1}
	got, err := g.Again(t.Context(), who, was, calc)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := <-seeds, <-seeds; a != b || a != uint64(was.Seed) {
		t.Errorf("seed %d, then %d, and %d is kept", a, b, was.Seed)
	}
	if d := results.Compare(was, got.Labels, got.Answer); d.Differs || got.Status != results.OK || got.Key != "who asks" || got.AnswerTokens != 3 {
		t.Errorf("%+v: %+v", d, got)
	}
	stream := inferencev1connect.NewInferenceServiceClient(http.DefaultClient, g.URL)
	req := connect.NewRequest(&inferencev1.GenerateRequest{Model: "calc", Input: &inferencev1.GenerateRequest_Tokens{Tokens: &inferencev1.TokenIds{Ids: []int32{1, 2}}}})
	req.Header().Set("Authorization", "Bearer "+key)
	res, err := stream.Generate(t.Context(), req)
	for err == nil && res.Receive() {
	}
	if err != nil || res.Err() != nil {
		t.Fatal(err, res.Err())
	}
	connected := all(t, f, 2)[1]
	if got, err = g.Again(t.Context(), who, connected, calc); err != nil || got.Status != results.OK || results.Compare(connected, nil, got.Answer).Differs {
		t.Errorf("%+v, %v, and it was %+v", got, err, connected)
	}
	if a, b := <-seeds, <-seeds; a != b {
		t.Errorf("seed %d, then %d", a, b)
	}
	if got, err = g.Again(t.Context(), who, was, cluster.VersionID{Model: "calc", Number: 7}); err == nil {
		t.Errorf("a version that does not exist: %+v", got)
	}
	who.Roles = []access.Role{access.Viewer}
	if got, err = g.Again(t.Context(), who, was, calc); err == nil {
		t.Errorf("somebody who may not call models: %+v", got)
	}
	was.Request = nil
	if got, err = g.Again(t.Context(), who, was, calc); err == nil {
		t.Errorf("nothing that was kept: %+v", got)
	}
	all(t, f, 2)
}

// Whatever the operation, a request that named no seed is asked again with those that it was drawn with, also where its body has no place for one.
func TestAgainSeeds(t *testing.T) {
	t.Parallel()
	f, machine := recorded(t, 1, "sqlite")
	key := tenant(f, "acme", 100, "*")
	g := f.GatewayOn(f.Coordinators[0], gateway.Config{})
	policy(t, f, g, results.Policy{Tenant: "*", Model: "*", Keep: results.All, Days: 3})
	who, calc := cluster.Principal{Tenant: "acme", Roles: []access.Role{access.Publisher}}, cluster.VersionID{Model: "calc", Number: 1}
	seeds := make(chan uint64, 16)
	machine.Work(fleettest.Work{Seen: func(r *wire.GenerateRequest) func() { seeds <- r.Sampling.Seed; return func() {} }})
	drawn := func(n int) (out []uint64) {
		for range n {
			out = append(out, <-seeds)
		}
		slices.Sort(out)
		return out
	}
	for i, c := range []struct {
		path, body string
		answers    int
	}{
		{"/v1/responses", `{"model": "calc", "input": "2+2", "max_output_tokens": 3, "temperature": 2}`, 1},
		{"/v1/messages", `{"model": "calc", "messages": [{"role": "user", "content": "2+2"}], "max_tokens": 3, "temperature": 1}`, 1},
		{"/v1/chat/completions", `{"model": "calc", "messages": [{"role": "user", "content": "2+2"}], "max_tokens": 3, "temperature": 2, "n": 3}`, 3},
		{"/v1/completions", `{"model": "calc", "prompt": ["2", "3"], "max_tokens": 3, "temperature": 2, "seed": 7}`, 2},
		{"/v2/models/calc/generate", `{"text_input": "2+2", "parameters": {"max_tokens": 3, "temperature": 2}}`, 1},
	} {
		fleettest.Within(t, "an answer to "+c.path, func() bool {
			r, err := post(t.Context(), g.URL+c.path, key, c.body)
			if err == nil && r.status == http.StatusBadRequest {
				t.Fatal(r)
			}
			return err == nil && r.status == http.StatusOK
		})
		first := drawn(c.answers)
		was := all(t, f, i+1)[i]
		got, err := g.Again(t.Context(), who, was, calc)
		if err != nil || got.Status != results.OK {
			t.Errorf("%s: %+v, %v", c.path, got, err)
			continue
		}
		if again := drawn(c.answers); !slices.Equal(first, again) || results.Compare(was, nil, got.Answer).Differs {
			t.Errorf("%s: seeds %d, then %d", c.path, first, again)
		}
	}
}

// A bucket that takes nothing, or that there is none of, holds up no record for the database; what is for it waits, also when the gateway is started
// again, and counts against no room of others.
func TestBucketFails(t *testing.T) {
	t.Parallel()
	f, _ := recorded(t, 1, "sqlite")
	acme, other := tenant(f, "acme", 100, "*"), tenant(f, "other", 100, "*")
	g := f.Gateway("alone", gateway.Config{SpoolBytes: 4096})
	policy(t, f, g, results.Policy{Tenant: "acme", Model: "*", Keep: results.All, Days: 3, To: results.Bucket})
	others := results.Policy{Tenant: "other", Model: "*", Keep: results.All, Days: 3}
	policy(t, f, g, others)
	ask := func(key string) {
		t.Helper()
		fleettest.Within(t, "an answer", func() bool { return complete(t, g, key, 2).status == http.StatusOK })
	}
	for range 8 {
		ask(acme)
	}
	fleettest.Within(t, "the bucket's records wait or find no room", func() bool { return g.Records().Waiting+g.Records().Spool == 8 })
	waiting := g.Records().Waiting
	if waiting == 0 || waiting == 8 {
		t.Fatalf("%+v", g.Records())
	}
	ask(other)
	ask(other)
	for _, r := range all(t, f, 2) {
		if r.Tenant != "other" {
			t.Errorf("%+v", r)
		}
	}
	g.Stop()
	g.Start(gateway.Config{})
	fleettest.Within(t, "the gateway knows the policy", func() bool { return g.Ruled(others) })
	ask(other)
	all(t, f, 3)
	fleettest.Within(t, "the bucket's wait still", func() bool { return g.Records().Waiting == waiting })
}
