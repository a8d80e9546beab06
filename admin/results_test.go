package admin_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/parquet-go/parquet-go"

	"github.com/skein-project/skein/access"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/results"
)

// keeping is a rig whose first coordinator keeps records, and has a gateway.
func keeping(t *testing.T, coordinators int) (*rig, *fleettest.Gateway, *client.Client) {
	t.Helper()
	r := newRig(t, coordinators)
	first := r.Coordinators[0]
	r.Stop(first)
	first.Config.Results = "sqlite"
	r.Start(first)
	fleettest.Within(t, "there is a leader of the newest feature level", func() bool {
		return r.Leader() != nil && r.Leader().Live().Now().Cluster().Feature == cluster.Feature
	})
	g := r.GatewayOn(first, gateway.Config{})
	h := handler(first)
	h.AskBy(g)
	first.Forwarded(h.Forwarded())
	mux := http.NewServeMux()
	h.Register(mux)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	c, err := client.New(client.Profile{URL: s.URL, Key: r.Key})
	if err != nil {
		t.Fatal(err)
	}
	return r, g, c
}

func kept(id, tenant string, version int, label string) results.Record {
	return results.Record{ID: id, At: 1795651200000 + int64(len(id)), Tenant: tenant, Model: "calc", Version: version, Alias: "calc", Operation: "classify", Path: "/v1/completions", Status: "ok", Latency: 1000,
		Days: 30, Labels: []results.Label{{Name: label, Score: 0.5}}, Request: json.RawMessage(`{"model":"calc","prompt":[1,2],"max_tokens":2,"temperature":0}`), Answer: json.RawMessage(`{"said":"=1+1, ` + label + `"}`)}
}

// Whoever belongs to a tenant sees, changes, exports and deletes that tenant's alone, at any coordinator; whoever belongs to the fleet's operators
// alone sees nothing.
func TestResultsOfTenants(t *testing.T) {
	t.Parallel()
	r, _, c := keeping(t, 2)
	elsewhere := r.api(r.Coordinators[1]) // which keeps none: it passes the call on
	acme, other := r.publisher(c, "acme"), r.publisher(c, "other")
	list := []results.Record{kept("1", "acme", 1, "ham"), kept("22", "acme", 2, "spam"), kept("333", "other", 1, "ham"), kept("4444", "acme", 2, "ham")}
	if _, _, err := r.Coordinators[0].Results().Append(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	ids := func(c *client.Client, where ...string) string {
		t.Helper()
		res, err := c.Results.QueryResults(t.Context(), connect.NewRequest(&adminv1.QueryResultsRequest{Where: where}))
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, x := range res.Msg.Results {
			out = append(out, x.Id)
		}
		return strings.Join(out, " ")
	}
	for what, got := range map[string][2]string{
		"all":             {ids(c), "4444 333 22 1"},
		"elsewhere":       {ids(elsewhere), "4444 333 22 1"},
		"a tenant's":      {ids(acme), "4444 22 1"},
		"and conditions":  {ids(acme, "version=2", "label=spam"), "22"},
		"another's":       {ids(other), "333"},
		"its own by name": {ids(other, "tenant=other"), "333"},
		"text":            {ids(c, "text~1+1, spam"), "22"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %q, want %q", what, got[0], got[1])
		}
	}
	want(t, connect.CodeNotFound, other.Results.QueryResults, &adminv1.QueryResultsRequest{Where: []string{"tenant=acme"}})
	want(t, connect.CodeInvalidArgument, c.Results.QueryResults, &adminv1.QueryResultsRequest{Where: []string{"colour=red"}})
	want(t, connect.CodeInvalidArgument, c.Results.QueryResults, &adminv1.QueryResultsRequest{Limit: 5000})
	want(t, connect.CodeInvalidArgument, c.Results.QueryResults, &adminv1.QueryResultsRequest{Page: "x"})
	_, operator := r.key(c, &adminv1.CreateKeyRequest{Name: "op", Tenant: "acme", Roles: []string{"operator"}})
	want(t, connect.CodePermissionDenied, operator.Results.QueryResults, &adminv1.QueryResultsRequest{})
	_, caller := r.key(c, &adminv1.CreateKeyRequest{Name: "app", Tenant: "acme", Roles: []string{"caller"}})
	want(t, connect.CodePermissionDenied, caller.Results.QueryResults, &adminv1.QueryResultsRequest{})

	page, err := acme.Results.QueryResults(t.Context(), connect.NewRequest(&adminv1.QueryResultsRequest{Limit: 2, Brief: true}))
	if err != nil || len(page.Msg.Results) != 2 || page.Msg.NextPage == "" || page.Msg.Results[0].Request != "" {
		t.Fatalf("%+v, %v", page, err)
	}
	page, err = acme.Results.QueryResults(t.Context(), connect.NewRequest(&adminv1.QueryResultsRequest{Limit: 2, Page: page.Msg.NextPage}))
	if err != nil || len(page.Msg.Results) != 1 || page.Msg.NextPage != "" || page.Msg.Results[0].Id != "1" {
		t.Fatalf("%+v, %v", page, err)
	}
	rows, err := acme.Results.SummarizeResults(t.Context(), connect.NewRequest(&adminv1.SummarizeResultsRequest{By: []string{"version", "label"}}))
	if err != nil || len(rows.Msg.Rows) != 3 || rows.Msg.Rows[0].Count != 1 {
		t.Errorf("%+v, %v", rows, err)
	}
	drift, err := acme.Results.CompareResults(t.Context(), connect.NewRequest(&adminv1.CompareResultsRequest{Base: []string{"version=1"}, Now: []string{"version=2"}}))
	if err != nil || drift.Msg.Base.Count != 1 || drift.Msg.Now.Count != 2 || drift.Msg.TotalVariation != 0.5 || drift.Msg.Psi <= 0 || len(drift.Msg.Labels) != 2 {
		t.Errorf("%+v, %v", drift, err)
	}
	for format, check := range map[string]func([]byte) int{
		"ndjson": func(b []byte) int { return bytes.Count(b, []byte("\n")) },
		"csv": func(b []byte) int {
			cells, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
			if err != nil {
				t.Error(err)
			}
			return len(cells) - 1
		},
		"parquet": func(b []byte) int {
			type row struct {
				ID     string `parquet:"id"`
				Labels []struct {
					Name  string  `parquet:"name"`
					Score float64 `parquet:"score"`
				} `parquet:"labels,list"`
				Answer *string `parquet:"answer,optional"`
			}
			list, err := parquet.Read[row](bytes.NewReader(b), int64(len(b)))
			if err != nil || list[0].ID != "1" || list[0].Labels[0].Name != "ham" || *list[0].Answer == "" {
				t.Errorf("%+v, %v", list, err)
			}
			return len(list)
		},
	} {
		if n := check(exported(t, acme, format)); n != 3 {
			t.Errorf("%s: %d records", format, n)
		}
	}
	if s, err := c.Results.ExportResults(t.Context(), connect.NewRequest(&adminv1.ExportResultsRequest{Format: "xls"})); err != nil || s.Receive() || connect.CodeOf(s.Err()) != connect.CodeInvalidArgument {
		t.Error(s.Err(), err)
	}
	want(t, connect.CodeInvalidArgument, acme.Results.ForgetResults, &adminv1.ForgetResultsRequest{})
	want(t, 0, other.Results.ForgetResults, &adminv1.ForgetResultsRequest{Where: []string{"model=calc"}})
	if got := ids(c); got != "4444 22 1" {
		t.Errorf("after the other has deleted its own: %q", got)
	}
	want(t, 0, acme.Results.ForgetResults, &adminv1.ForgetResultsRequest{Where: []string{"text~1+1, SECRET"}})
	deeds := map[string]int{}
	if err := r.Coordinators[0].AuditLines(t.Context(), 1, func(lines []byte) error {
		for _, deed := range []string{"export", "forget", "rerun"} {
			deeds[deed] += strings.Count(string(lines), `"note_results","v":1,"do":{"deed":"`+deed) + strings.Count(string(lines), `{"deed":"`+deed+`"`)
		}
		deeds["text"] += strings.Count(string(lines), "SECRET")
		deeds["hash"] += strings.Count(string(lines), "text~sha256:")
		return nil
	}); err != nil || deeds["export"] == 0 || deeds["forget"] == 0 || deeds["text"] > 0 || deeds["hash"] == 0 {
		t.Errorf("the audit log has %v, %v", deeds, err)
	}
}

// Exports whose clients are slow keep neither records nor others' questions waiting; more than a few at once are refused.
func TestSlowExports(t *testing.T) {
	t.Parallel()
	r, _, c := keeping(t, 1)
	store := r.Coordinators[0].Results()
	large := kept("", "acme", 1, "ham")
	large.Answer = json.RawMessage(`"` + strings.Repeat("x", results.MaxBody-2) + `"`)
	var list []results.Record
	for i := range 30 {
		large.ID = fmt.Sprintf("%02d", i)
		list = append(list, large)
	}
	if _, _, err := store.Append(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	export := func() (*connect.ServerStreamForClient[adminv1.ExportResultsResponse], error) {
		s, err := c.Results.ExportResults(ctx, connect.NewRequest(&adminv1.ExportResultsRequest{Format: "ndjson"}))
		if err == nil && !s.Receive() {
			err = s.Err()
		}
		return s, err
	}
	var slow []*connect.ServerStreamForClient[adminv1.ExportResultsResponse]
	for range 2 {
		s, err := export()
		if err != nil {
			t.Fatal(err)
		}
		slow = append(slow, s)
	}
	if _, err := export(); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("a third export: %v", err)
	}
	if added, _, err := store.Append(t.Context(), []results.Record{kept("new", "acme", 1, "ham")}); added != 1 || err != nil {
		t.Errorf("%d added, %v", added, err)
	}
	for _, s := range slow {
		for s.Receive() {
		}
		if s.Err() != nil {
			t.Error(s.Err())
		}
	}
	fleettest.Within(t, "another export has room", func() bool { s, err := export(); return err == nil && s.Close() == nil })
}

func exported(t *testing.T, c *client.Client, format string) []byte {
	t.Helper()
	s, err := c.Results.ExportResults(t.Context(), connect.NewRequest(&adminv1.ExportResultsRequest{Format: format}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b []byte
	for s.Receive() {
		b = append(b, s.Msg().Piece...)
	}
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
	return b
}

// Policies are their tenant's to make; one that cannot be kept is refused, and says why.
func TestPolicies(t *testing.T) {
	t.Parallel()
	r, _, c := keeping(t, 1)
	acme := r.publisher(c, "acme")
	put := func(c *client.Client, code connect.Code, p *adminv1.ResultPolicy) {
		t.Helper()
		want(t, code, c.Results.PutPolicy, &adminv1.PutPolicyRequest{Policy: p})
	}
	put(c, 0, &adminv1.ResultPolicy{Tenant: "*", Model: "*", Keep: "metadata", Days: 30})
	put(c, 0, &adminv1.ResultPolicy{Tenant: "*", Model: "team/*", Keep: "none"})
	put(acme, 0, &adminv1.ResultPolicy{Model: "calc", Keep: "all", Days: 7, Redact: []*adminv1.Redaction{{Pattern: `\d+`}}})
	put(acme, connect.CodeNotFound, &adminv1.ResultPolicy{Tenant: "*", Model: "calc", Keep: "all", Days: 7})
	put(acme, connect.CodeNotFound, &adminv1.ResultPolicy{Tenant: "other", Model: "calc", Keep: "all", Days: 7})
	put(c, connect.CodeNotFound, &adminv1.ResultPolicy{Tenant: "nobody", Model: "calc", Keep: "all", Days: 7})
	put(c, connect.CodeInvalidArgument, &adminv1.ResultPolicy{Tenant: "*", Model: "calc", Keep: "all"})
	put(c, connect.CodeInvalidArgument, nil)
	put(c, connect.CodeFailedPrecondition, &adminv1.ResultPolicy{Tenant: "*", Model: "calc", Keep: "all", Days: 7, To: "bucket"})
	r.publisher(c, "other")
	put(c, 0, &adminv1.ResultPolicy{Tenant: "other", Model: "*", Keep: "answers", Days: 7})
	list := func(c *client.Client) (out []string) {
		t.Helper()
		res, err := c.Results.ListPolicies(t.Context(), connect.NewRequest(&adminv1.ListPoliciesRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range res.Msg.Policies {
			out = append(out, p.Tenant+" "+p.Model+" "+p.Keep)
		}
		return out
	}
	if got := strings.Join(list(c), ", "); got != "* * metadata, * team/* none, acme calc all, other * answers" {
		t.Error(got)
	}
	if got := strings.Join(list(acme), ", "); got != "* * metadata, * team/* none, acme calc all" {
		t.Error(got)
	}
	want(t, connect.CodeNotFound, acme.Results.DeletePolicy, &adminv1.DeletePolicyRequest{Tenant: "*", Model: "*"})
	want(t, 0, acme.Results.DeletePolicy, &adminv1.DeletePolicyRequest{Model: "calc"})
	want(t, connect.CodeNotFound, acme.Results.DeletePolicy, &adminv1.DeletePolicyRequest{Model: "calc"})
	if got := len(list(acme)); got != 2 {
		t.Errorf("%d policies", got)
	}

	none := newRig(t, 1)
	where := none.api(none.Coordinators[0])
	want(t, connect.CodeFailedPrecondition, where.Results.PutPolicy, &adminv1.PutPolicyRequest{Policy: &adminv1.ResultPolicy{Tenant: "*", Model: "*", Keep: "all", Days: 7}})
	want(t, connect.CodeFailedPrecondition, where.Results.QueryResults, &adminv1.QueryResultsRequest{})
}

// A re-run says of every record what differs, or why it could not be asked: its model is gone, or no request was kept.
func TestRerun(t *testing.T) {
	t.Parallel()
	r, g, c := keeping(t, 1)
	r.Machine("m1", 8*gpu.GiB)
	r.Publish("calc", 1)
	acme := r.publisher(c, "acme")
	fleettest.Within(t, "the gateway knows the tenant", func() bool { _, ok := g.State().Tenant("acme"); return ok })
	who, calc := cluster.Principal{Tenant: "acme", Roles: []access.Role{access.Publisher}}, cluster.VersionID{Model: "calc", Number: 1}
	same := kept("1", "acme", 7, "")
	same.Labels = nil
	fleettest.Within(t, "the version answers", func() bool {
		now, err := g.Again(t.Context(), who, same, calc)
		same.Answer = now.Answer
		return err == nil && now.Status == results.OK
	})
	moved, bare, redacted := kept("22", "acme", 7, "ham"), kept("333", "acme", 7, "ham"), same
	bare.Request = nil
	redacted.ID, redacted.Redacted = "4444", true
	strange := same
	strange.ID, strange.Path = "55555", "/v2/somewhere/{else}"
	if _, _, err := r.Coordinators[0].Results().Append(t.Context(), []results.Record{same, moved, bare, redacted, strange, kept("666666", "other", 7, "ham")}); err != nil {
		t.Fatal(err)
	}
	run := func(c *client.Client, version string) (string, map[string]*adminv1.ResultPair, *adminv1.RerunCount) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), fleettest.Patience)
		defer cancel()
		s, err := c.Results.RerunResults(ctx, connect.NewRequest(&adminv1.RerunResultsRequest{Version: version}))
		if err != nil {
			t.Fatal(err)
		}
		id, pairs, count := "", map[string]*adminv1.ResultPair{}, &adminv1.RerunCount{}
		for s.Receive() {
			if id = s.Msg().Run; s.Msg().Pair != nil {
				pairs[s.Msg().Pair.Id] = s.Msg().Pair
			}
			if s.Msg().Count != nil {
				count = s.Msg().Count
			}
		}
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
		return id, pairs, count
	}
	id, pairs, count := run(acme, "v1")
	for record, check := range map[string]func(p *adminv1.ResultPair) bool{
		"1": func(p *adminv1.ResultPair) bool {
			return p.Status == "ok" && !p.Differs && p.ToVersion == 1 && p.LatencyUs > 0
		},
		"22": func(p *adminv1.ResultPair) bool {
			return p.Status == "ok" && p.Differs && p.LabelsMove == 1 && p.FormMoves
		},
		"333": func(p *adminv1.ResultPair) bool { return p.Status == "no_request" && p.Error != "" },
		"4444": func(p *adminv1.ResultPair) bool {
			return p.Status == "not_comparable" && strings.Contains(p.Error, "taken out")
		},
		"55555": func(p *adminv1.ResultPair) bool { return p.Status == "failed" && p.Error != "" },
	} {
		if p := pairs[record]; p == nil || !check(p) {
			t.Errorf("record %s: %+v", record, p)
		}
	}
	if len(pairs) != 5 || count.Asked != 3 || count.Same != 1 || count.NotComparable != 1 || count.Differ != 1 || count.NoRequest != 1 || count.Failed != 1 {
		t.Errorf("%d pairs, %+v", len(pairs), count)
	}
	again, err := acme.Results.ListPairs(t.Context(), connect.NewRequest(&adminv1.ListPairsRequest{Run: id, Limit: 4}))
	if err != nil || len(again.Msg.Pairs) != 4 || again.Msg.After != "4444" {
		t.Errorf("%+v, %v", again, err)
	}
	if res, err := r.publisher(c, "third").Results.ListPairs(t.Context(), connect.NewRequest(&adminv1.ListPairsRequest{Run: id})); err != nil || len(res.Msg.Pairs) != 0 {
		t.Errorf("another tenant sees %+v, %v", res, err)
	}
	_, pairs, count = run(acme, "9")
	if p := pairs["1"]; count.NoModel != 4 || count.Asked != 0 || p.Status != "no_model" || !strings.Contains(p.Error, "calc@9") {
		t.Errorf("a version that is gone: %+v, %+v", count, p)
	}
	for version, code := range map[string]connect.Code{"": connect.CodeInvalidArgument, "calc@9": connect.CodeNotFound} {
		s, err := acme.Results.RerunResults(t.Context(), connect.NewRequest(&adminv1.RerunResultsRequest{Version: version}))
		if err != nil || s.Receive() || connect.CodeOf(s.Err()) != code {
			t.Errorf("version %q: %v, %v", version, err, s.Err())
		}
	}
}
