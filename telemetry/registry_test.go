package telemetry

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scrape parses what a handler answers, strictly.
func scrape(t *testing.T, h http.Handler, path string) (map[string]*dto.MetricFamily, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	text := w.Body.String()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v\n%s", path, err, text)
	}
	return families, text
}

// fill gives every metric of the table one series.
func fill(s *Sheet) {
	for _, m := range Metrics {
		if m.Name == BuildInfo || m.Name == LabelsFolded {
			continue
		}
		labels := make([]string, len(m.Labels))
		for i := range labels {
			labels[i] = "x"
		}
		switch m.Kind {
		case Gauge:
			s.Gauge(m.Name, 2, labels...)
		case Counter:
			s.Count(m.Name, 3, labels...)
		case HistogramKind:
			h := NewHistogram(m.Name)
			for _, b := range m.Bounds {
				h.Observe(b)
			}
			h.Observe(1e12)
			s.Histogram(m.Name, h.Tally(), labels...)
		}
	}
}

// foreign says that others gave the name: what promlint says of it is their business.
func foreign(name string) bool {
	return strings.HasPrefix(name, "DCGM_") || strings.HasPrefix(name, "gen_ai_")
}

func TestEveryMetricIsWellFormed(t *testing.T) {
	r := NewRegistry("v1")
	r.Add(fill)
	families, text := scrape(t, r.Handler(), "/metrics")
	for _, m := range Metrics {
		f := families[string(m.Name)]
		if f == nil {
			t.Errorf("%s is not there", m.Name)
			continue
		}
		if f.GetHelp() != m.Help || !strings.HasSuffix(m.Help, ".") {
			t.Errorf("%s: help %q", m.Name, f.GetHelp())
		}
		if m.Kind != HistogramKind {
			continue
		}
		h := f.Metric[0].Histogram
		if h.GetSampleCount() != uint64(len(m.Bounds)+1) || len(h.Bucket) != len(m.Bounds)+1 {
			t.Errorf("%s: %d values in %d buckets", m.Name, h.GetSampleCount(), len(h.Bucket))
		}
		for i, b := range h.Bucket {
			if b.GetCumulativeCount() != uint64(i+1) {
				t.Errorf("%s: %d values up to %v, want %d: bounds are inclusive", m.Name, b.GetCumulativeCount(), b.GetUpperBound(), i+1)
			}
		}
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if !foreign(p.Metric) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	_, compat := scrape(t, r.Handler(), "/metrics?compat=vllm")
	for _, a := range Aliases {
		if !strings.Contains(compat, "\n"+string(a.Name)) {
			t.Errorf("%s is not there:\n%s", a.Name, compat)
		}
	}
	if strings.Contains(compat, "skein_") || !strings.Contains(compat, `vllm:kv_cache_usage_perc{model_name="x"} 1`) {
		t.Errorf("compat=vllm:\n%s", compat)
	}
}

// Too many label values are folded: nothing is lost, and the answer stays bounded.
func TestSeriesAreBounded(t *testing.T) {
	r := NewRegistry("v1")
	r.Add(func(s *Sheet) {
		for i := range MaxSeries + 50 {
			s.Count(Requests, 1, "chat", fmt.Sprint("tenant-", i), "m", "m@1", "ok")
		}
		s.Gauge(Running, 1, "\xff"+strings.Repeat("x", 1000)+"\n\"")
		s.Gauge(Running, 2, "a")
		s.Gauge(Running, 3, "a")
	})
	families, _ := scrape(t, r.Handler(), "/metrics")
	total, other := 0.0, 0.0
	f := families[string(Requests)]
	for _, m := range f.Metric {
		total += m.Counter.GetValue()
		if m.Label[0].GetValue() == Other {
			other = m.Counter.GetValue()
		}
	}
	if len(f.Metric) != MaxSeries+1 || total != MaxSeries+50 || other != 50 {
		t.Errorf("%d series, %v in all, %v under other", len(f.Metric), total, other)
	}
	if v := families[string(LabelsFolded)].Metric[0].Gauge.GetValue(); v != 50 {
		t.Errorf("%v folded", v)
	}
	for _, m := range families[string(Running)].Metric {
		if v := m.Label[0].GetValue(); len(v) > maxLabel+3 || v == "a" && m.Gauge.GetValue() != 5 {
			t.Errorf("%q: %v", v, m.Gauge.GetValue())
		}
	}
}

func TestMistakesPanic(t *testing.T) {
	for name, f := range map[string]func(*Sheet){
		"unknown":         func(s *Sheet) { s.Gauge("skein_nothing", 1) },
		"another kind":    func(s *Sheet) { s.Count(RaftTerm, 1) },
		"too few labels":  func(s *Sheet) { s.Gauge(Running, 1) },
		"too many labels": func(s *Sheet) { s.Gauge(RaftTerm, 1, "x") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f(newSheet())
		}()
	}
}

func TestToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write := func(text string, mode os.FileMode) error {
		os.Remove(path)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		_, err := ReadToken(path)
		return err
	}
	const secret = "0123456789abcdef"
	for name, err := range map[string]error{
		"short":    write("short", 0o600),
		"long":     write(strings.Repeat("x", maxToken+1), 0o600),
		"readable": write(secret, 0o644),
	} {
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := write(secret+"\n", 0o600); err != nil {
		t.Fatal(err)
	}
	token, err := ReadToken(path)
	if err != nil {
		t.Fatal(err)
	}
	h := token.Protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "in") }))
	for header, want := range map[string]int{"": 401, "Bearer": 401, "Bearer ": 401, secret: 401, "Basic " + secret: 401, "Bearer " + secret + "x": 401,
		"Bearer " + strings.Repeat("x", 100000): 401, "Bearer " + secret: 200} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%.40q: %d, want %d", header, w.Code, want)
		}
	}
}
