package telemetry

import (
	"net/http"
	"runtime"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes is how many scrapes are answered at once.
const maxScrapes = 4

// Source gives the figures that a part of the process has. It is called once per scrape, by several goroutines if scrapes meet.
type Source func(*Sheet)

// Registry is the metrics of one process.
type Registry struct {
	software string
	mu       sync.Mutex
	sources  []Source
}

// NewRegistry makes the registry of a process. software is the version of the program.
func NewRegistry(software string) *Registry { return &Registry{software: software} }

// Add adds a part of the process.
func (r *Registry) Add(s Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources = append(r.sources, s)
}

// sheet asks every source.
func (r *Registry) sheet() *Sheet {
	r.mu.Lock()
	sources := r.sources[:len(r.sources):len(r.sources)]
	r.mu.Unlock()
	s := newSheet()
	for _, source := range sources {
		source(s)
	}
	s.Gauge(BuildInfo, 1, r.software, runtime.Version())
	s.Gauge(LabelsFolded, float64(s.folded))
	return s
}

// collector answers one way of asking.
type collector struct{ sheet func() *Sheet }

// Describe implements prometheus.Collector: which series there are is known only when they are asked for.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) { c.sheet().write(ch) }

// Handler answers scrapes in the formats of Prometheus. With the query compat=vllm it gives the Aliases alone. It asks for no key: Protect does.
func (r *Registry) Handler() http.Handler {
	whole, vllm := prometheus.NewRegistry(), prometheus.NewRegistry()
	whole.MustRegister(collector{r.sheet}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	vllm.MustRegister(collector{func() *Sheet { return aliases(r.sheet()) }})
	opts := promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, EnableOpenMetrics: true, ErrorHandling: promhttp.HTTPErrorOnError}
	all, compat := promhttp.HandlerFor(whole, opts), promhttp.HandlerFor(vllm, opts)
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Query().Get("compat") == "vllm" {
			compat.ServeHTTP(w, q)
			return
		}
		all.ServeHTTP(w, q)
	})
}

// aliases gives what vLLM has too under its names. Its model_name is the version.
func aliases(from *Sheet) *Sheet {
	to := newSheet()
	each := func(n Name, take func(version string, x *series)) {
		c := from.metrics[n]
		if c == nil {
			return
		}
		for _, key := range c.order {
			x := c.series[key]
			take(x.labels[len(x.labels)-1], x)
		}
	}
	each(Running, func(v string, x *series) { to.Gauge("vllm:num_requests_running", x.value, v) })
	each(Waiting, func(v string, x *series) { to.Gauge("vllm:num_requests_waiting", x.value, v) })
	each(TimeToFirstToken, func(v string, x *series) { to.Histogram("vllm:time_to_first_token_seconds", x.tally, v) })
	total := map[string]float64{}
	each(SlotsTotal, func(v string, x *series) { total[v] = x.value })
	each(SlotsUsed, func(v string, x *series) {
		if total[v] > 0 {
			share := min(x.value/total[v], 1)
			to.Gauge("vllm:kv_cache_usage_perc", share, v)
			to.Gauge("vllm:gpu_cache_usage_perc", share, v)
		}
	})
	return to
}
