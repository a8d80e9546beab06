package e2e

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/skein-project/skein/internal/devfleet"
	"github.com/skein-project/skein/telemetry"
)

// What must be found nowhere: parts of prompts, keys, headers, the environment, command lines and errors.
const (
	canary       = "kanarek" // in all of them, and in nothing else
	canaryPrompt = canary + " in a prompt"
	canaryKey    = "sk-00000000-" + canary + "-in-a-key"
	canaryHeader = canary + "-in-a-header"
	canaryEnv    = canary + "-in-the-environment"
	canaryArgv   = canary + "-on-the-command-line"
	canaryError  = canary + "-in-an-error"
	canaryToken  = canary + "-in-a-token-file"
)

// sampledTrace is the traceparent of a client that traces.
const (
	sampledTrace   = "0af7651916cd43dd8448eb211c80319c"
	unsampledTrace = "1af7651916cd43dd8448eb211c80319c"
	clientSpan     = "b7ad6b7169203331"
)

// receiver takes spans as a collector does (OTLP over HTTP, protobuf).
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	spans  []received
	header http.Header
	raw    []byte
}

// received is a span with the name of the program that sent it.
type received struct {
	*spans.Span
	program, instance string
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if err := r.take(q); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(q *http.Request) error {
	body, err := gzip.NewReader(q.Body)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	var req collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(b, &req); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw, r.header = append(r.raw, b...), q.Header
	for _, rs := range req.ResourceSpans {
		program, instance := attribute(rs.Resource.Attributes, "service.name"), attribute(rs.Resource.Attributes, "service.instance.id")
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				r.spans = append(r.spans, received{s, program, instance})
			}
		}
	}
	return nil
}

func attribute(list []*common.KeyValue, key string) string {
	for _, kv := range list {
		if kv.Key == key {
			if kv.Value.GetStringValue() != "" {
				return kv.Value.GetStringValue()
			}
			if a := kv.Value.GetArrayValue(); a != nil {
				return fmt.Sprint(len(a.Values), a.Values[0].GetStringValue())
			}
			return fmt.Sprint(kv.Value.GetIntValue())
		}
	}
	return ""
}

// of are the spans of a trace.
func (r *receiver) of(trace string) (list []received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.spans {
		if hex.EncodeToString(s.TraceId) == trace {
			list = append(list, s)
		}
	}
	return list
}

// watched is a fleet whose processes are given secrets, send their spans to a receiver, and show their metrics.
type watched struct {
	*stage
	receiver *receiver
	node     string // address of node-1's metrics
	token    string
}

func watch(t *testing.T) *watched {
	w := &watched{receiver: newReceiver(t), token: canaryToken}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(canaryToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.node = l.Addr().String()
	l.Close()
	more := func(name string) (args, env []string) {
		args = []string{"--trace-endpoint", w.receiver.URL + "/v1/traces", "--trace-ratio", "0", "--debug"}
		env = []string{"CANARY=" + canaryEnv, "OTEL_EXPORTER_OTLP_HEADERS=authorization=" + canaryEnv}
		switch {
		case name == "node-1":
			args = append(args, "--metrics-listen", w.node, "--metrics-token-file", token)
		case strings.HasPrefix(name, "coordinator"):
			args = append(args, "--token", canaryArgv)
		}
		return args, env
	}
	w.stage = serving(t, devfleet.Config{Coordinators: 1, Gateway: true, LogLevel: "debug", More: more}, map[string]offer{"calc": {dir: "examples/calc", slots: 4, context: 64}})
	return w
}

// A fleet of real processes shows what it does: metrics that are right and well formed, one trace per request over both stages, a line per
// request, and no secret anywhere.
func TestWatching(t *testing.T) {
	w := watch(t)
	t.Run("metrics", func(t *testing.T) { w.metrics(t) })
	t.Run("traces", func(t *testing.T) { w.traces(t) })
	t.Run("sockets", func(t *testing.T) { w.sockets(t) })
	t.Run("secrets", func(t *testing.T) { w.secrets(t) })
	t.Run("disk", func(t *testing.T) { w.disk(t) })
}

// get asks an address with a bearer token.
func get(t *testing.T, url, token string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, b}
}

// scrape reads metrics as Prometheus does, strictly, and lints those of ours.
func scrape(t *testing.T, url, token string) map[string]*dto.MetricFamily {
	t.Helper()
	r := get(t, url, token)
	if r.status != http.StatusOK {
		t.Fatalf("%s: %d %s", url, r.status, r.body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(r.body)))
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	problems, err := promlint.New(strings.NewReader(string(r.body))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "skein_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	return families
}

// sum adds up the series of a metric whose labels contain all of want.
func sum(f *dto.MetricFamily, want map[string]string) (total float64) {
	for _, m := range f.GetMetric() {
		labels := map[string]string{}
		for _, l := range m.Label {
			labels[l.GetName()] = l.GetValue()
		}
		fits := true
		for k, v := range want {
			fits = fits && labels[k] == v
		}
		if fits {
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return total
}

// elsewhere are metrics that a machine without NVIDIA GPUs, a young log, or a cluster without limits, batches and backups does not have.
var elsewhere = []telemetry.Name{telemetry.GPUTemp, telemetry.GPUPower, telemetry.GPUXID, telemetry.RaftSnapshotAge, telemetry.BackupAge, telemetry.QuotaUsed, telemetry.QuotaLeft, telemetry.QuotaSpent,
	telemetry.VersionCopies, telemetry.VersionCopiesWant, telemetry.Batches, telemetry.BatchLines, telemetry.BatchOldest, telemetry.BatchStill, telemetry.BatchGivenUp}

func (w *watched) metrics(t *testing.T) {
	const good, bad, unknown = 7, 3, 2
	for i := range good {
		r := w.send(http.MethodPost, "/v1/completions", map[string]any{"model": "calc", "prompt": fmt.Sprintf("sum %d 5 =", i), "max_tokens": 4, "temperature": 0})
		if r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	for range bad {
		w.sendAs("Bearer "+canaryKey, http.MethodPost, "/v1/completions", map[string]any{"model": "calc", "prompt": canaryPrompt}, nil)
	}
	for range unknown {
		w.send(http.MethodPost, "/v1/completions", map[string]any{"model": canaryError, "prompt": canaryPrompt})
	}
	gateway, leader := w.URL()+"/metrics", w.AdminURL()+"/metrics"
	for _, url := range []string{gateway, leader, w.URL() + "/debug/pprof/goroutine"} {
		if r := get(t, url, ""); r.status != http.StatusUnauthorized {
			t.Errorf("%s without a key: %d", url, r.status)
		}
	}
	if r := get(t, "http://"+w.node+"/metrics", w.Key); r.status != http.StatusUnauthorized {
		t.Errorf("the node's metrics with another secret: %d", r.status)
	}
	var g, c, n map[string]*dto.MetricFamily
	w.until("the reports of a second", func(context.Context) error {
		g, c, n = scrape(t, gateway, w.Key), scrape(t, leader, w.Key), scrape(t, "http://"+w.node+"/metrics", w.token)
		if sum(n[string(telemetry.WorkerSteps)], nil) == 0 {
			return errors.New("the worker has reported no step")
		}
		if sum(c[string(telemetry.GPUUtil)], nil) == 0 && len(c[string(telemetry.GPUFree)].GetMetric()) != 2 {
			return errors.New("the leader has not the devices of two nodes")
		}
		return nil
	})
	for _, m := range telemetry.Metrics {
		if g[string(m.Name)] == nil && c[string(m.Name)] == nil && n[string(m.Name)] == nil && !slices.Contains(elsewhere, m.Name) {
			t.Errorf("%s is nowhere", m.Name)
		}
	}
	requests := g[string(telemetry.Requests)]
	if total := sum(requests, nil); total != good+bad+unknown {
		t.Errorf("%v requests counted of %d", total, good+bad+unknown)
	}
	for outcome, want := range map[string]float64{"ok": good, "key": bad, "model": unknown} {
		if got := sum(requests, map[string]string{"outcome": outcome}); got != want {
			t.Errorf("%v requests ended with %s, want %v", got, outcome, want)
		}
	}
	well := map[string]string{"gen_ai_response_model": "calc@1", "gen_ai_request_model": "calc", "gen_ai_operation_name": "text_completion"}
	for _, name := range []telemetry.Name{telemetry.RequestDuration, telemetry.TimeToFirstToken} {
		if got := sum(g[string(name)], well); got != good {
			t.Errorf("%s counted %v of %d", name, got, good)
		}
	}
	if got := sum(g[string(telemetry.Picks)], nil); got < good {
		t.Errorf("%v picks", got)
	}
	if got := sum(g[string(telemetry.Running)], nil) + sum(g[string(telemetry.Waiting)], nil); got != 0 {
		t.Errorf("%v requests are under way", got)
	}
	if sum(c[string(telemetry.RaftIsLeader)], nil) != 1 || sum(c[string(telemetry.ReplicasReady)], map[string]string{"version": "calc@1"}) != 1 || sum(c[string(telemetry.SlotsTotal)], nil) != 4 {
		t.Error("the leader, the replica or its slots are not counted right")
	}
	vllm := scrape(t, gateway+"?compat=vllm", w.Key)
	if got := sum(vllm["vllm:time_to_first_token_seconds"], map[string]string{"model_name": "calc@1"}); got != good || vllm["vllm:num_requests_running"] == nil {
		t.Errorf("under vLLM's names: %v", vllm)
	}
}

func (w *watched) traces(t *testing.T) {
	for trace, flag := range map[string]string{sampledTrace: "01", unsampledTrace: "00"} {
		r := w.sendAs("Bearer "+w.Key, http.MethodPost, "/v1/completions", map[string]any{"model": "calc", "prompt": "sum 17 25 =", "max_tokens": 6, "temperature": 0},
			map[string]string{"Traceparent": "00-" + trace + "-" + clientSpan + "-" + flag, "Tracestate": "x=" + canaryHeader, "X-Request-Id": "traced-1"})
		if r.status != http.StatusOK || r.header.Get("X-Request-Id") != "traced-1" {
			t.Fatalf("%d %v %s", r.status, r.header, r.body)
		}
	}
	var tree []received
	w.until("the spans of both stages", func(context.Context) error {
		tree = w.receiver.of(sampledTrace)
		stages := map[string]bool{}
		for _, s := range tree {
			if s.Name == telemetry.SpanStage {
				stages[attribute(s.Attributes, string(telemetry.KeyStage))] = true
			}
		}
		names := spanNames(tree)
		for _, want := range []string{"text_completion calc", telemetry.SpanAttempt, telemetry.SpanHead, telemetry.SpanQueue, telemetry.SpanPrefill, telemetry.SpanDecode} {
			if !slices.Contains(names, want) {
				return fmt.Errorf("no %q among %q", want, names)
			}
		}
		if !stages["0"] || !stages["1"] {
			return fmt.Errorf("stages %v", stages)
		}
		return nil
	})
	if list := w.receiver.of(unsampledTrace); len(list) != 0 {
		t.Errorf("%d spans of a trace that its client does not sample", len(list))
	}
	// One tree: every span's parent is in it, but for the first, whose parent is the client's.
	here, roots, programs := map[string]bool{}, 0, map[string]bool{}
	for _, s := range tree {
		here[string(s.SpanId)] = true
		programs[s.program+" "+s.instance] = true
	}
	for _, s := range tree {
		switch {
		case hex.EncodeToString(s.ParentSpanId) == clientSpan:
			roots++
			for key, want := range map[telemetry.Key]string{telemetry.KeyRequest: "traced-1", telemetry.KeyTenant: "default", telemetry.KeyResponseModel: "calc@1", telemetry.KeyProvider: "skein"} {
				if got := attribute(s.Attributes, string(key)); got != want {
					t.Errorf("%s is %q, want %q", key, got, want)
				}
			}
			if attribute(s.Attributes, string(telemetry.KeyInputTokens)) == "0" || attribute(s.Attributes, string(telemetry.KeyOutputTokens)) == "0" || attribute(s.Attributes, string(telemetry.KeyFinish)) == "" {
				t.Errorf("tokens or finish reason are missing: %v", s.Attributes)
			}
		case !here[string(s.ParentSpanId)]:
			t.Errorf("%s of %s hangs in the air", s.Name, s.program)
		}
		if s.EndTimeUnixNano < s.StartTimeUnixNano || s.TraceState != "" {
			t.Errorf("%s: ends before it starts, or carries the state %q", s.Name, s.TraceState)
		}
	}
	if roots != 1 || len(programs) != 3 { // the gateway, and a worker on each node
		t.Errorf("%d roots, programs %v", roots, programs)
	}
	if w.receiver.header.Get("Authorization") != canaryEnv {
		t.Error("the collector is not shown the header of the environment")
	}
}

func spanNames(list []received) (names []string) {
	for _, s := range list {
		names = append(names, s.Name)
	}
	return names
}

// secrets sends secrets wherever one can, makes processes die with their last words, and looks for the secrets in everything that they said.
func (w *watched) secrets(t *testing.T) {
	header := map[string]string{"X-Request-Id": canaryHeader + " with blanks", "Cookie": "session=" + canaryHeader, "X-Api-Key": canaryHeader, "User-Agent": canaryHeader,
		"Traceparent": "00-2af7651916cd43dd8448eb211c80319c-" + clientSpan + "-01", "Tracestate": "x=" + canaryHeader}
	for _, body := range []any{
		map[string]any{"model": "calc", "prompt": canaryPrompt, "max_tokens": 3, "user": canaryPrompt},
		map[string]any{"model": "calc", "prompt": canaryPrompt, "max_tokens": 3, "stop": []string{canaryPrompt}},
		map[string]any{"model": "calc", "prompt": canaryPrompt, "response_format": map[string]string{"type": canaryError}},
		map[string]any{"model": canaryError, "prompt": canaryPrompt},
		`{"model": "calc", "prompt": "` + canaryPrompt + `", "max_tokens": "` + canaryError + `"}`,
		`{"` + canaryPrompt,
	} {
		w.sendAs("Bearer "+w.Key, http.MethodPost, "/v1/completions", body, header)
		w.sendAs("Bearer "+w.Key, http.MethodPost, "/v1/chat/completions", body, header)
		w.sendAs("Bearer "+canaryKey, http.MethodPost, "/v1/embeddings", body, header)
		w.sendAs("Bearer "+w.Key, http.MethodPost, "/skein.inference.v1.InferenceService/Generate", body, header)
	}
	w.until("the spans", func(context.Context) error {
		if len(w.receiver.of("2af7651916cd43dd8448eb211c80319c")) < 10 {
			return errors.New("not yet")
		}
		return nil
	})
	said := map[string]string{}
	for _, path := range []string{"/metrics", "/metrics?compat=vllm", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/debug/pprof/allocs?debug=1", "/debug/pprof/threadcreate?debug=1", "/healthz", "/readyz"} {
		for _, url := range []string{w.URL(), w.AdminURL()} {
			said[url+path] = string(get(t, url+path, w.Key).body)
		}
		said["node"+path] = string(get(t, "http://"+w.node+path, w.token).body)
	}
	if r := get(t, w.URL()+"/debug/pprof/cmdline", w.Key); r.status != http.StatusNotFound {
		t.Errorf("the command line is shown: %d", r.status)
	}
	w.receiver.mu.Lock()
	said["spans"] = string(w.receiver.raw)
	w.receiver.mu.Unlock()
	// The runtime's last words: all goroutines with their arguments. The node's own worker first, while the node can still say so.
	if err := syscall.Kill(w.worker("node-1"), syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	w.until("the node to say that its worker ended", func(context.Context) error {
		if !strings.Contains(w.Process("node-1").Tail(10000), "worker ended") {
			return errors.New("not yet")
		}
		return nil
	})
	for _, name := range []string{"gateway-1", "node-1", "coordinator-1"} {
		p := w.Process(name)
		if err := p.Signal(syscall.SIGQUIT); err != nil {
			t.Fatal(err)
		}
		<-p.Ended()
	}
	logs, err := filepath.Glob(filepath.Join(filepath.Dir(w.Process("gateway-1").Log), "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		said[filepath.Base(path)] = string(text)
	}
	for _, name := range []string{"gateway-1.log", "node-1.log", "coordinator-1.log"} {
		if !strings.Contains(said[name], "SIGQUIT") || !strings.Contains(said[name], "goroutine ") {
			t.Errorf("%s has no last words", name)
		}
	}
	if n := strings.Count(said["gateway-1.log"], "msg=request "); n < 24 {
		t.Errorf("%d lines of requests", n)
	}
	w.look(t, said)
}

// look searches for secrets in what was said.
func (w *watched) look(t *testing.T, said map[string]string) {
	_, secret, _ := strings.Cut(strings.TrimPrefix(w.Key, "sk-"), "-")
	needles := []string{canary, secret}
	for name, text := range said {
		for _, needle := range needles {
			for _, at := range regexp.MustCompile("(?i)"+regexp.QuoteMeta(needle)).FindAllStringIndex(text, 3) {
				t.Errorf("%s leaks %q: …%q…", name, needle, text[max(0, at[0]-100):min(len(text), at[1]+60)])
			}
		}
	}
	t.Logf("%d sources were looked through", len(said))
}
