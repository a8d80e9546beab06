package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/wire"
)

// call makes a request of the client API.
func call(t testing.TB, g *fleettest.Gateway, key, method, path, kind string, body io.Reader) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, g.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(b)}
}

// form is the body of an upload.
func form(t testing.TB, name, purpose, content string) (kind string, body *bytes.Buffer) {
	t.Helper()
	body = &bytes.Buffer{}
	w := multipart.NewWriter(body)
	if err := w.WriteField("purpose", purpose); err != nil {
		t.Fatal(err)
	}
	f, err := w.CreateFormFile("file", name)
	if err == nil {
		_, err = io.WriteString(f, content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), body
}

// upload uploads a file and gives its id.
func upload(t testing.TB, g *fleettest.Gateway, key, content string) string {
	t.Helper()
	kind, body := form(t, "in.jsonl", "batch", content)
	r := call(t, g, key, http.MethodPost, "/v1/files", kind, body)
	var f struct {
		ID    string
		Bytes int
	}
	if err := json.Unmarshal([]byte(r.body), &f); err != nil || r.status != http.StatusOK || f.Bytes != len(content) {
		t.Fatalf("upload: %d %s", r.status, r.body)
	}
	return f.ID
}

// batch is what is looked at of a batch.
type batch struct {
	ID     string
	Status string
	Output string                                 `json:"output_file_id"`
	Error  string                                 `json:"error_file_id"`
	Counts struct{ Total, Completed, Failed int } `json:"request_counts"`
	Errors struct {
		Data []struct {
			Code string
			Line int
		}
	}
	Callback struct {
		Secret, Status string
		Attempts       int
		LastError      string `json:"last_error"`
	}
}

func submit(t testing.TB, g *fleettest.Gateway, key, body string) batch {
	t.Helper()
	return batchIn(t, call(t, g, key, http.MethodPost, "/v1/batches", "application/json", strings.NewReader(body)))
}

func batchIn(t testing.TB, r reply) (b batch) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), &b); err != nil || r.status != http.StatusOK {
		t.Fatalf("batch: %d %s", r.status, r.body)
	}
	return b
}

// over waits until a batch is over.
func over(t testing.TB, g *fleettest.Gateway, key, id string) (b batch) {
	t.Helper()
	fleettest.Within(t, "the batch is over", func() bool {
		b = batchIn(t, call(t, g, key, http.MethodGet, "/v1/batches/"+id, "", nil))
		return b.Status == "completed" || b.Status == "failed" || b.Status == "expired" || b.Status == "cancelled"
	})
	return b
}

// content reads a file's lines by their custom_id; one that is there twice fails the test.
func content(t testing.TB, g *fleettest.Gateway, key, id string) map[string]string {
	t.Helper()
	out := map[string]string{}
	if id == "" {
		return out
	}
	r := call(t, g, key, http.MethodGet, "/v1/files/"+id+"/content", "", nil)
	if r.status != http.StatusOK {
		t.Fatalf("content: %d %s", r.status, r.body)
	}
	for line := range strings.Lines(r.body) {
		var v struct {
			CustomID string `json:"custom_id"`
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if _, twice := out[v.CustomID]; twice {
			t.Errorf("%s is answered twice", v.CustomID)
		}
		out[v.CustomID] = line
	}
	return out
}

// completionsOf makes an input of n requests for texts.
func completionsOf(n, tokens int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"custom_id": "r%d", "method": "POST", "url": "/v1/completions", "body": {"model": "calc", "prompt": [1, 2, 3], "max_tokens": %d}}`+"\n", i, tokens)
	}
	return b.String()
}

// fast is a gateway that notes often how far batches are.
var fast = gateway.Config{BatchEvery: 50 * time.Millisecond}

// A file of requests becomes a file of answers, one line each; a request that is wrong is a line of the errors.
func TestBatch(t *testing.T) {
	t.Parallel()
	f, _, _ := served(t, 1)
	key, other := tenant(f, "acme", 1, "*"), tenant(f, "other", 1, "*")
	g := f.Gateway("g", fast)
	fleettest.Within(t, "files are kept", func() bool { return call(t, g, key, http.MethodGet, "/v1/files", "", nil).status == http.StatusOK })
	in := upload(t, g, key, completionsOf(20, 2)+`{"custom_id": "wrong", "method": "POST", "url": "/v1/completions", "body": {"model": "none", "prompt": "x"}}`)
	b := submit(t, g, key, fmt.Sprintf(`{"input_file_id": %q, "endpoint": "/v1/completions", "completion_window": "24h", "metadata": {"a": "b"}}`, in))
	if b.Status != "validating" {
		t.Errorf("it begins %s", b.Status)
	}
	b = over(t, g, key, b.ID)
	if b.Status != "completed" || b.Counts.Total != 21 || b.Counts.Completed != 20 || b.Counts.Failed != 1 {
		t.Errorf("%+v", b)
	}
	out, bad := content(t, g, key, b.Output), content(t, g, key, b.Error)
	if len(out) != 20 || !strings.Contains(out["r7"], `"status_code":200`) || !strings.Contains(out["r7"], `"text_completion"`) || !strings.Contains(out["r7"], `"error":null`) {
		t.Errorf("output: %d lines, %s", len(out), out["r7"])
	}
	if len(bad) != 1 || !strings.Contains(bad["wrong"], `"status_code":404`) || !strings.Contains(bad["wrong"], "model_not_found") {
		t.Errorf("errors: %v", bad)
	}
	for _, path := range []string{"/v1/files/" + in, "/v1/files/" + b.Output + "/content", "/v1/batches/" + b.ID} {
		if r := call(t, g, other, http.MethodGet, path, "", nil); r.status != http.StatusNotFound {
			t.Errorf("another tenant at %s: %d %s", path, r.status, r.body)
		}
	}
}

// What is refused, with which status; an application finds its own files and no other's, the tenant all.
func TestFiles(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 1, "")
	key := tenant(f, "acme", 1, "*")
	apps := map[string]string{}
	for _, app := range []string{"shop", "desk"} {
		apps[app] = "secret-" + app
		f.Do(f.Leader(), cluster.PutApplication{Application: cluster.Application{AppID: cluster.AppID{Tenant: "acme", ID: app}, Models: []string{"*"}}},
			cluster.PutKey{Key: cluster.Key{ID: "sk-" + app, Tenant: "acme", App: app, Hash: wire.SecretHash(apps[app])}})
	}
	g := f.Gateway("g", gateway.Config{MaxFile: 5 << 20, MaxFiles: 4, MaxFileBytes: 6 << 20, MaxBatches: 1, MaxJobs: 1})
	fleettest.Within(t, "files are kept", func() bool { return call(t, g, key, http.MethodGet, "/v1/files", "", nil).status == http.StatusOK })
	send := func(key, name, purpose, content string) reply {
		kind, body := form(t, name, purpose, content)
		return call(t, g, key, http.MethodPost, "/v1/files", kind, body)
	}
	for _, c := range []struct {
		what   string
		got    reply
		status int
	}{
		{"an empty file", send(key, "x", "batch", ""), 400},
		{"another purpose", send(key, "x", "fine-tune", "x"), 400},
		{"a long name", send(key, strings.Repeat("n", 300), "batch", "x"), 400},
		{"too large a file", send(key, "x", "batch", strings.Repeat("x", 5<<20+1)), 413},
		{"too large a request", send(key, "x", "batch", strings.Repeat("x", 7<<20)), 400}, // of all files, before it is read
		{"no form", call(t, g, key, http.MethodPost, "/v1/files", "application/json", strings.NewReader("{}")), 400},
		{"a form that ends early", call(t, g, key, http.MethodPost, "/v1/files", "multipart/form-data; boundary=x", strings.NewReader("--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nabc")), 400},
		{"a file that is not there", call(t, g, key, http.MethodGet, "/v1/files/file-none", "", nil), 404},
		{"another tenant's place", call(t, g, key, http.MethodGet, "/v1/files/other%2Ffile-1", "", nil), 404},
		{"content of a file that is not there", call(t, g, key, http.MethodGet, "/v1/files/file-none/content", "", nil), 404},
		{"a batch of a file that is not there", call(t, g, key, http.MethodPost, "/v1/batches", "application/json", strings.NewReader(`{"input_file_id": "file-none", "endpoint": "/v1/completions", "completion_window": "24h"}`)), 404},
		{"a batch for another endpoint", call(t, g, key, http.MethodPost, "/v1/batches", "application/json", strings.NewReader(`{"input_file_id": "f", "endpoint": "/v1/models", "completion_window": "24h"}`)), 400},
		{"a batch of a year", call(t, g, key, http.MethodPost, "/v1/batches", "application/json", strings.NewReader(`{"input_file_id": "f", "endpoint": "/v1/completions", "completion_window": "8760h"}`)), 400},
		{"a callback to a file", call(t, g, key, http.MethodPost, "/v1/batches", "application/json", strings.NewReader(`{"input_file_id": "f", "endpoint": "/v1/completions", "completion_window": "24h", "callback": {"url": "file:///etc/passwd"}}`)), 400},
	} {
		if c.got.status != c.status {
			t.Errorf("%s: %d %s, want %d", c.what, c.got.status, c.got.body, c.status)
		}
	}
	if n := len(list(t, g, key, "")); n != 0 {
		t.Fatalf("%d files were kept", n)
	}

	large := strings.Repeat("0123456789abcdef", 4<<20/16) + "the end" // two parts
	own := upload(t, g, apps["shop"], large)
	upload(t, g, apps["desk"], "desk")
	if r := call(t, g, key, http.MethodGet, "/v1/files/"+own+"/content", "", nil); r.body != large || r.header.Get("Content-Length") != fmt.Sprint(len(large)) {
		t.Errorf("%d bytes came back of %d", len(r.body), len(large))
	}
	if r := call(t, g, apps["desk"], http.MethodGet, "/v1/files/"+own+"/content", "", nil); r.status != http.StatusNotFound {
		t.Errorf("another application: %d", r.status)
	}
	if all, shop := list(t, g, key, ""), list(t, g, apps["shop"], ""); len(all) != 2 || len(shop) != 1 || shop[0] != own {
		t.Errorf("the tenant sees %v, an application %v", all, shop)
	}
	if r := send(key, "x", "batch", large); r.status != http.StatusBadRequest || !strings.Contains(r.body, "delete some") {
		t.Errorf("too many bytes: %d %s", r.status, r.body)
	}
	third, fourth := upload(t, g, key, "a"), upload(t, g, key, "a")
	if r := send(key, "x", "batch", "x"); r.status != http.StatusBadRequest {
		t.Errorf("too many files: %d %s", r.status, r.body)
	}
	if first := list(t, g, key, "?limit=3"); len(first) != 3 {
		t.Errorf("a page has %v", first)
	} else if rest := list(t, g, key, "?after="+first[2]); len(rest) != 1 {
		t.Errorf("the rest is %v", rest)
	}
	if r := call(t, g, apps["shop"], http.MethodDelete, "/v1/files/"+third, "", nil); r.status != http.StatusNotFound {
		t.Errorf("an application deletes the tenant's: %d", r.status)
	}
	if r := call(t, g, key, http.MethodDelete, "/v1/files/"+third, "", nil); r.status != http.StatusOK || len(list(t, g, key, "")) != 3 {
		t.Errorf("delete: %d %s", r.status, r.body)
	}
	if r := call(t, g, key, http.MethodGet, "/v1/files/"+fourth+"/content", "", nil); r.body != "a" {
		t.Errorf("the twin of a deleted file: %q", r.body)
	}
}

// Of files that come at the same moment, at several gateways, exactly as many are kept as a tenant may have.
func TestFilesAtOnce(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 1, "")
	key := tenant(f, "acme", 1, "*")
	cfg := gateway.Config{MaxFiles: 6, MaxFileBytes: 1000}
	gates := []*fleettest.Gateway{f.GatewayOn(f.Leader(), cfg), f.Gateway("g", cfg)}
	for _, g := range gates {
		fleettest.Within(t, "files are kept", func() bool { return call(t, g, key, http.MethodGet, "/v1/files", "", nil).status == http.StatusOK })
	}
	for _, c := range []struct {
		bytes, fit int
	}{{10, 6}, {300, 3}} {
		var kept, refused atomic.Int64
		var all sync.WaitGroup
		for i := range 8 { // as many as each of the two takes at once
			all.Go(func() {
				kind, body := form(t, "x", "batch", strings.Repeat("x", c.bytes-1)+string(rune('a'+i)))
				switch r := call(t, gates[i%2], key, http.MethodPost, "/v1/files", kind, body); {
				case r.status == http.StatusOK:
					kept.Add(1)
				case r.status == http.StatusBadRequest && strings.Contains(r.body, "delete some"):
					refused.Add(1)
				default:
					t.Errorf("%d %s", r.status, r.body)
				}
			})
		}
		all.Wait()
		if kept.Load() != int64(c.fit) || refused.Load() != int64(8-c.fit) {
			t.Errorf("of files of %d bytes %d are kept and %d refused, want %d kept", c.bytes, kept.Load(), refused.Load(), c.fit)
		}
		for _, id := range list(t, gates[0], key, "") {
			if r := call(t, gates[0], key, http.MethodDelete, "/v1/files/"+id, "", nil); r.status != http.StatusOK {
				t.Errorf("delete: %d %s", r.status, r.body)
			}
		}
		fleettest.Within(t, "all are deleted everywhere", func() bool { return len(list(t, gates[1], key, "")) == 0 })
	}
}

// list gives the ids of a page of files.
func list(t testing.TB, g *fleettest.Gateway, key, query string) (ids []string) {
	t.Helper()
	r := call(t, g, key, http.MethodGet, "/v1/files"+query, "", nil)
	var page struct{ Data []struct{ ID string } }
	if err := json.Unmarshal([]byte(r.body), &page); err != nil || r.status != http.StatusOK {
		t.Fatalf("list: %d %s", r.status, r.body)
	}
	for _, f := range page.Data {
		ids = append(ids, f.ID)
	}
	return ids
}
