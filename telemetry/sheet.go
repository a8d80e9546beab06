package telemetry

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
)

// MaxSeries is how many series one metric may have in one answer. What is beyond is added up in a series whose labels are all Other.
const MaxSeries = 2000

// Other is the value of labels that stand for the series beyond MaxSeries.
const Other = "other"

// maxLabel bounds a label value in bytes.
const maxLabel = 200

// Sheet takes the figures of one scrape. Figures of the same metric with the same labels are added up.
type Sheet struct {
	metrics map[Name]*column
	folded  int
}

// column is the series of one metric.
type column struct {
	Metric
	series map[string]*series
	order  []string
}

type series struct {
	labels []string
	value  float64
	tally  Tally
}

func newSheet() *Sheet { return &Sheet{metrics: map[Name]*column{}} }

// byName is derived once from the table.
var byName = func() map[Name]Metric {
	m := map[Name]Metric{}
	for _, x := range slices.Concat(Metrics, Aliases) {
		m[x.Name] = x
	}
	return m
}()

// lookup finds a metric. One that is not in the table is a mistake of the caller.
func lookup(n Name) Metric {
	m, ok := byName[n]
	if !ok {
		panic(fmt.Sprintf("telemetry: there is no metric %s", n))
	}
	return m
}

// Gauge gives the value of a gauge. Labels are in the order of the table.
func (s *Sheet) Gauge(n Name, v float64, labels ...string) { s.at(n, Gauge, labels).value += v }

// Count gives the value of a counter.
func (s *Sheet) Count(n Name, v float64, labels ...string) { s.at(n, Counter, labels).value += v }

// Histogram gives what a histogram has counted.
func (s *Sheet) Histogram(n Name, t Tally, labels ...string) {
	x := s.at(n, HistogramKind, labels)
	x.tally = x.tally.Plus(t)
}

func (s *Sheet) at(n Name, k Kind, labels []string) *series {
	c := s.metrics[n]
	if c == nil {
		c = &column{Metric: lookup(n), series: map[string]*series{}}
		s.metrics[n] = c
	}
	if c.Kind != k || len(labels) != len(c.Labels) {
		panic(fmt.Sprintf("telemetry: %s is a %s with the labels %q, and was given as a %s with %d", n, c.Kind, c.Labels, k, len(labels)))
	}
	key := strings.Join(labels, "\x00")
	if x := c.series[key]; x != nil {
		return x
	}
	if len(c.series) >= MaxSeries {
		s.folded++
		labels = slices.Repeat([]string{Other}, len(labels))
		key = strings.Join(labels, "\x00")
		if x := c.series[key]; x != nil {
			return x
		}
	}
	x := &series{labels: make([]string, len(labels))}
	for i, l := range labels {
		x.labels[i] = clean(l)
	}
	c.series[key] = x
	c.order = append(c.order, key)
	return x
}

// clean makes a text fit for a label.
func clean(l string) string {
	if len(l) > maxLabel {
		l = l[:maxLabel]
	}
	if !utf8.ValidString(l) {
		l = strings.ToValidUTF8(l, "\uFFFD")
	}
	return l
}

// write hands everything to Prometheus.
func (s *Sheet) write(ch chan<- prometheus.Metric) {
	for _, c := range s.metrics {
		d := prometheus.NewDesc(string(c.Name), c.Help, c.Labels, nil)
		for _, key := range c.order {
			x := c.series[key]
			switch c.Kind {
			case Counter:
				ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, x.value, x.labels...)
			case Gauge:
				ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, x.value, x.labels...)
			case HistogramKind:
				upTo, total := map[float64]uint64{}, uint64(0)
				for i, n := range x.tally.Counts {
					total += n
					if i < len(c.Bounds) {
						upTo[c.Bounds[i]] = total
					}
				}
				ch <- prometheus.MustNewConstHistogram(d, total, x.tally.Sum, upTo, x.labels...)
			}
		}
	}
}
