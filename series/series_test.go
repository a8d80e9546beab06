package series

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func window(family string, m Match, end, seconds int) Window {
	return Window{family, m, at(end), time.Duration(seconds) * time.Second}
}

func TestHistogram(t *testing.T) {
	if !slices.IsSorted(Bounds[:]) || Bounds[0] != 1 || Bounds[len(Bounds)-1] != 600_000 {
		t.Fatalf("bounds are %v", Bounds)
	}
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOf(rapid.Int64Range(0, 700_000)).Draw(t, "durations")
		cut := rapid.IntRange(0, len(list)).Draw(t, "cut")
		var whole, left, right Histogram
		var sum int64
		for i, ms := range list {
			whole.Add(ms)
			sum += ms
			if i < cut {
				left.Add(ms)
			} else {
				right.Add(ms)
			}
		}
		if left.Merge(&right); left != whole || whole.Count() != int64(len(list)) || whole.Sum() != sum {
			t.Fatalf("merged %v, whole %v", left, whole)
		}
		b, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		var back Histogram
		if err := json.Unmarshal(b, &back); err != nil || back != whole {
			t.Fatalf("%s: %v, %v", b, back, err)
		}
		slices.Sort(list)
		for _, q := range []int{0, 1, 250, 500, 950, 999, 1000} {
			got := whole.Quantile(q)
			if len(list) == 0 {
				if got != 0 {
					t.Fatalf("quantile of nothing is %d", got)
				}
				continue
			}
			// Both lie in the same bucket.
			want := list[max(0, (q*len(list)+999)/1000-1)]
			i, _ := slices.BinarySearch(Bounds[:], want)
			low, high := int64(0), Bounds[len(Bounds)-1]
			if i > 0 {
				low = Bounds[i-1]
			}
			if i < len(Bounds) {
				high = Bounds[i]
			}
			if got < low || got > high {
				t.Fatalf("quantile %d of %v is %d, not within %d and %d", q, list, got, low, high)
			}
		}
	})
}

func TestHugeHistogram(t *testing.T) {
	var h Histogram
	h.counts[3], h.counts[20], h.counts[Buckets-1] = MaxCount, MaxCount, 5
	h.Merge(&h)
	if h.Bucket(3) != MaxCount {
		t.Errorf("it counts %d", h.Bucket(3))
	}
	if q := h.Quantile(500); q != Bounds[3] {
		t.Errorf("the median is %d", q)
	}
	if q := h.Quantile(900); q <= Bounds[19] || q > Bounds[20] {
		t.Errorf("the 900th thousandth is %d", q)
	}
}

func TestHistogramRefuses(t *testing.T) {
	for _, s := range []string{`[]`, `{"at":[1]}`, `{"at":[40,1]}`, `{"at":[-1,1]}`, `{"at":[2,1,2,1]}`, `{"at":[1,0]}`, `{"at":[1,-4]}`, `{"sum":-1}`, `{"at":[1,9007199254740993]}`} {
		var h Histogram
		if err := json.Unmarshal([]byte(s), &h); err == nil {
			t.Errorf("%s is taken as %v", s, h)
		}
	}
}

func FuzzHistogram(f *testing.F) {
	f.Add([]byte(`{"sum":1234,"at":[3,17,4,2]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h, back Histogram
		if json.Unmarshal(b, &h) != nil {
			return
		}
		out, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &back); err != nil || back != h {
			t.Fatalf("%s became %s: %v", b, out, err)
		}
	})
}

func TestLabels(t *testing.T) {
	l := Of("version", "3", "model", "m", "tenant", "")
	if got := l.String(); got != `{model="m",version="3"}` {
		t.Error(got)
	}
	if got := l.With("tenant", `a"b`).With("model", "").String(); got != `{tenant="a\"b",version="3"}` {
		t.Error(got)
	}
	b, err := json.Marshal(l)
	var back Labels
	if err != nil || string(b) != `{"model":"m","version":"3"}` || json.Unmarshal(b, &back) != nil || back.Compare(l) != 0 {
		t.Errorf("%s, %v, %v", b, back, err)
	}
}

func TestFamilies(t *testing.T) {
	if !slices.IsSortedFunc(Families, func(a, b Family) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("families are not sorted by name")
	}
	for _, f := range Families {
		if got, ok := FamilyOf(f.Name); !ok || got.Name != f.Name || f.Kind.String() == "" || f.Help == "" || !slices.IsSortedFunc(f.Labels, func(a, b Column) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("%+v", f)
		}
	}
}

func TestRefused(t *testing.T) {
	s := New(0, 0)
	for _, c := range []struct {
		err  error
		want error
	}{
		{s.Put(start, "gizmo", nil, 1), ErrUnknown},
		{s.Put(start, "skein_gateway_requests_total", Of("version", "m"), 1), ErrKind},
		{s.Add(start, "skein_gateway_waiting_requests", Of("version", "m"), 1), ErrKind},
		{s.Put(start, "skein_gateway_waiting_requests", Of("colour", "m"), 1), ErrLabels},
		{s.Put(start, "skein_gateway_waiting_requests", Of("version", string(make([]byte, MaxValue+1))), 1), ErrLabels},
		{s.Put(start, "skein_gateway_waiting_requests", Labels{{"version", "1"}, {"model", "m"}}, 1), ErrLabels},
		{s.Put(start, "skein_gateway_waiting_requests", nil, math.NaN()), ErrValue},
		{s.Put(start, "skein_gateway_waiting_requests", nil, math.Inf(1)), ErrValue},
		{s.Add(start, "skein_gateway_requests_total", nil, -1), ErrValue},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%v, want %v", c.err, c.want)
		}
	}
	if s.Size().Series != 0 {
		t.Error("something was kept")
	}
	if _, err := s.Range("skein_gateway_waiting_requests", nil, start, start.Add(100*time.Hour), time.Second); !errors.Is(err, ErrRange) {
		t.Errorf("a range of too many points: %v", err)
	}
	if _, err := s.Range("skein_gateway_waiting_requests", nil, at(10), at(0), time.Second); !errors.Is(err, ErrRange) {
		t.Errorf("a range that runs backwards: %v", err)
	}
}

// What the tiers say equals what a list of everything says, as far as their steps can be told apart.
func TestAgainstList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New(0, 0)
		type seen struct {
			sec int
			v   int
		}
		var all []seen
		now := 0
		for range rapid.IntRange(1, 300).Draw(t, "values") {
			now += rapid.SampledFrom([]int{0, 0, 1, 1, 1, 2, 7, 61, 400}).Draw(t, "pause")
			v := rapid.IntRange(0, 1000).Draw(t, "value")
			all = append(all, seen{now, v})
			var h Histogram
			h.Add(int64(v))
			if err := errors.Join(s.Put(at(now), "skein_gateway_waiting_requests", nil, float64(v)), s.Add(at(now), "skein_gateway_requests_total", nil, int64(v)),
				s.Observe(at(now), "gen_ai_server_request_duration_seconds", nil, &h)); err != nil {
				t.Fatal(err)
			}
		}
		w := rapid.SampledFrom([]int{1, 10, 60, 299, 300, 900, 3600, 6000, 86_400}).Draw(t, "window")
		step := 1
		for _, tier := range Tiers[1:] {
			if int(tier.Step)*least <= w {
				step = int(tier.Step)
			}
		}
		var sum, n, low, high int
		var merged Histogram
		for _, x := range all {
			if from := (int(at(now-w).Unix())/step + 1) * step; int(at(x.sec).Unix()) < from {
				continue
			}
			if n == 0 {
				low, high = x.v, x.v
			}
			low, high = min(low, x.v), max(high, x.v)
			sum += x.v
			merged.Add(int64(x.v))
			n++
		}
		if got, ok := s.Increase(window("skein_gateway_requests_total", nil, now, w)); !ok || int(got) != sum {
			t.Fatalf("increase over %d s is %d, want %d", w, got, sum)
		}
		if got, ok := s.Merged(window("gen_ai_server_request_duration_seconds", nil, now, w)); !ok || got != merged {
			t.Fatalf("merged over %d s is %v, want %v", w, got, merged)
		}
		if got, ok := s.Gauge(window("skein_gateway_waiting_requests", nil, now, w), Highest); !ok || int(got) != high {
			t.Fatalf("highest over %d s is %v, want %d", w, got, high)
		}
		if got, ok := s.Gauge(window("skein_gateway_waiting_requests", nil, now, w), Lowest); !ok || int(got) != low {
			t.Fatalf("lowest over %d s is %v, want %d", w, got, low)
		}
		if s.Absent(window("skein_gateway_waiting_requests", nil, now, w)) || !s.Absent(window("skein_gateway_waiting_requests", nil, now+2*w+2*step, w)) {
			t.Fatal("presence")
		}
	})
}

func TestTiersReachBack(t *testing.T) {
	s := New(0, 0)
	for i := range 3 * 86_400 / 5 {
		if err := s.Add(at(5*i), "skein_gateway_requests_total", Of("version", "m"), 5); err != nil {
			t.Fatal(err)
		}
	}
	end := 3*86_400 - 5
	for _, c := range []struct{ back, length int }{{0, 60}, {0, 300}, {0, 86_400}, {3600, 300}, {30_000, 600}, {100_000, 3600}, {200_000, 600}} {
		if got, ok := s.Rate(window("skein_gateway_requests_total", nil, end-c.back, c.length)); !ok || math.Abs(got-1) > 0.09 {
			t.Errorf("rate of %d s, %d s ago: %v", c.length, c.back, got)
		}
	}
	if _, ok := s.Rate(window("skein_gateway_requests_total", nil, -1, 60)); ok {
		t.Error("a rate before the first value")
	}
	curves, err := s.Range("skein_gateway_requests_total", nil, at(0), at(end), time.Hour)
	if err != nil || len(curves) != 1 || len(curves[0].Points) != 72 || curves[0].Points[10].Sum != 3600 {
		t.Errorf("%v, %v", curves, err)
	}
}

func TestUsual(t *testing.T) {
	s := New(0, 0)
	rate := func(sec int) int64 { // quiet nights
		if hour := sec / 3600 % 24; hour >= 8 && hour < 18 {
			return 10
		}
		return 1
	}
	const end = 7*86_400 + 12*3600
	for sec := 0; sec <= end; sec += 10 {
		if err := s.Add(at(sec), "skein_gateway_requests_total", Of("tenant", "a"), 10*rate(sec)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		at   int
		want float64
	}{{end, 10}, {end - 9*3600, 1}} {
		if got, ok := s.Usual(window("skein_gateway_requests_total", Is(Of("tenant", "a")), c.at, 7*86_400)); !ok || math.Abs(got-c.want) > 0.1*c.want {
			t.Errorf("usual at hour %d is %v, want %v", c.at/3600%24, got, c.want)
		}
	}
	if got, ok := s.Usual(window("skein_gateway_requests_total", nil, 20*3600, 7*86_400)); ok {
		t.Errorf("after less than a day the usual is %v", got)
	}
}

// A clock that jumps ahead and is set back costs what was put in between, and nothing else.
func TestClockJumps(t *testing.T) {
	s := New(0, 0)
	put := func(sec, n int) {
		t.Helper()
		var h Histogram
		h.Add(int64(n))
		if err := errors.Join(s.Add(at(sec), "skein_gateway_requests_total", nil, int64(n)), s.Put(at(sec), "skein_gateway_waiting_requests", nil, float64(n)),
			s.Observe(at(sec), "gen_ai_server_request_duration_seconds", nil, &h)); err != nil {
			t.Fatal(err)
		}
	}
	for sec := range 600 {
		put(sec, 1)
	}
	for sec := range 100 {
		put(sec+86_400*365, 1000)
	}
	for sec := 600; sec < 900; sec++ {
		put(sec, 1)
	}
	if got, _ := s.Increase(window("skein_gateway_requests_total", nil, 899, 3600)); got != 900 {
		t.Errorf("%d events, want 900", got)
	}
	if got, _ := s.Gauge(window("skein_gateway_waiting_requests", nil, 899, 3600), Highest); got != 1 {
		t.Errorf("the highest is %v", got)
	}
	if h, _ := s.Merged(window("gen_ai_server_request_duration_seconds", nil, 899, 3600)); h.Count() != 900 || h.Sum() != 900 {
		t.Errorf("merged %v", h)
	}
	put(895, 1) // a late one counts where the newest is
	if got, _ := s.Increase(window("skein_gateway_requests_total", nil, 899, 2)); got != 3 || s.Size().Late != 3 {
		t.Errorf("%d events, %+v", got, s.Size())
	}
}

func TestMatch(t *testing.T) {
	s := New(0, 0)
	for _, m := range []string{"a", "b"} {
		for _, o := range []string{"ok", "error"} {
			for v := range 3 {
				s.Add(start, "skein_gateway_requests_total", Of("version", m, "tenant", fmt.Sprint(v), "outcome", o), 1)
			}
		}
	}
	for _, c := range []struct {
		m    Match
		want int64
	}{
		{nil, 12},
		{Is(Of("version", "a")), 6},
		{Is(Of("version", "a", "outcome", "ok")), 3},
		{Match{{"outcome", []string{"ok", "error"}}, {"tenant", []string{"1", "2"}}}, 8},
		{Match{{"type", []string{""}}}, 12},
	} {
		if got, ok := s.Increase(Window{"skein_gateway_requests_total", c.m, start, time.Minute}); !ok || got != c.want {
			t.Errorf("%v: %d, want %d", c.m, got, c.want)
		}
	}
	if _, ok := s.Increase(Window{"skein_gateway_requests_total", Is(Of("version", "c")), start, time.Minute}); ok {
		t.Error("a model that is not there")
	}
	if got := s.Subjects("skein_gateway_requests_total", []string{"tenant", "version"}, Is(Of("outcome", "ok", "version", "b"))); len(got) != 3 || got[0].String() != `{tenant="0",version="b"}` {
		t.Errorf("%v", got)
	}
	s.Sample(start, "skein_gateway_requests_total", Of("version", "a", "tenant", "1", "outcome", "error"), "r-1")
	s.Sample(at(1), "skein_gateway_requests_total", Of("version", "a", "tenant", "2", "outcome", "error"), "r-2")
	if got := s.Samples("skein_gateway_requests_total", Is(Of("version", "a")), start); !slices.Equal(got, []string{"r-2", "r-1"}) {
		t.Errorf("%v", got)
	}
	s.Forget(Is(Of("version", "a")))
	if got, _ := s.Increase(Window{"skein_gateway_requests_total", nil, start, time.Minute}); got != 6 || s.Size().Series != 6 {
		t.Errorf("%d after forgetting, %+v", got, s.Size())
	}
}

// Beyond the limits the series that were idle longest go.
func TestEviction(t *testing.T) {
	s := New(64, 0)
	for i := range 1000 {
		if err := s.Put(at(i), "skein_gateway_waiting_requests", Of("version", fmt.Sprint(i)), 1); err != nil {
			t.Fatal(err)
		}
		s.Put(at(i), "skein_gateway_waiting_requests", Of("version", "busy"), float64(i))
	}
	if n := s.Size().Series; n > 64 || n < 32 {
		t.Errorf("%d series", n)
	}
	if got, ok := s.Gauge(window("skein_gateway_waiting_requests", Is(Of("version", "busy")), 999, 2000), Lowest); !ok || got != 0 {
		t.Errorf("the busy one lost its history: %v, %v", got, ok)
	}
	s = New(0, 200_000)
	for i := range 20_000 {
		if err := s.Put(at(i), "skein_gateway_waiting_requests", Of("version", fmt.Sprint(i/200)), math.Sqrt(float64(i))); err != nil {
			t.Fatal(err)
		}
		if s.Size().Bytes > 200_000 {
			t.Fatalf("%+v", s.Size())
		}
	}
	for name := range s.names {
		if len(s.names[name]) != len(s.lines) {
			t.Error("an index outlived its series")
		}
	}
}

// What a series takes is what the package comment says.
func TestBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("a month of seconds")
	}
	noise := func(i int) int { return int(uint32(i*2654435761) >> 8) }
	for _, c := range []struct {
		name string
		most int
		put  func(s *Store, i int)
	}{
		{"a constant gauge", 30_000, func(s *Store, i int) { s.Put(at(i), "skein_gateway_waiting_requests", nil, 3) }},
		{"an ordinary gauge", 155_000, func(s *Store, i int) { s.Put(at(i), "skein_gateway_waiting_requests", nil, float64(50+noise(i)%20)) }},
		{"a noisy gauge", 250_000, func(s *Store, i int) {
			s.Put(at(i), "skein_gateway_waiting_requests", nil, math.Sqrt(float64(noise(i))))
		}},
		{"a constant counter", 30_000, func(s *Store, i int) { s.Add(at(i), "skein_gateway_requests_total", nil, 3) }},
		{"an ordinary counter", 60_000, func(s *Store, i int) { s.Add(at(i), "skein_gateway_requests_total", nil, int64(50+noise(i)%20)) }},
		{"a noisy counter", 92_000, func(s *Store, i int) { s.Add(at(i), "skein_gateway_requests_total", nil, int64(noise(i))) }},
		{"a constant histogram", 31_000, func(s *Store, i int) {
			var h Histogram
			h.Add(100)
			s.Observe(at(i), "gen_ai_server_request_duration_seconds", nil, &h)
		}},
		{"an ordinary histogram", 215_000, func(s *Store, i int) {
			var h Histogram
			for k := range 4 {
				h.Add(int64(100 + noise(4*i+k)%400))
			}
			s.Observe(at(i), "gen_ai_server_request_duration_seconds", nil, &h)
		}},
		{"a noisy histogram", 1_030_000, func(s *Store, i int) {
			var h Histogram
			for k := range 16 {
				h.Add(Bounds[noise(16*i+k)%len(Bounds)])
			}
			s.Observe(at(i), "gen_ai_server_request_duration_seconds", nil, &h)
		}},
	} {
		s := New(0, 0)
		// The same points in each tier as a month of seconds would leave, without its seconds.
		for i := 0; i < 31*86_400; i += 60 {
			c.put(s, i)
		}
		for i := 31 * 86_400; i < 32*86_400; i += 5 {
			c.put(s, i)
		}
		for i := 32 * 86_400; i < 32*86_400+1000; i++ {
			c.put(s, i)
		}
		if got := s.Size().Bytes; got > c.most || got < c.most*9/10 {
			t.Errorf("%s takes %d bytes, not about %d", c.name, got, c.most)
		} else {
			t.Logf("%s: %d bytes", c.name, got)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	s := New(0, 0)
	l := Of("version", "m@1", "tenant", "a", "outcome", "ok")
	for i := 0; b.Loop(); i++ {
		s.Add(at(i/10), "skein_gateway_requests_total", l, 1)
	}
}

func BenchmarkWindows(b *testing.B) {
	s := New(0, 0)
	for i := range 90_000 {
		var h Histogram
		for k := range 4 {
			h.Add(int64(100 + i*k%400))
		}
		s.Observe(at(i), "gen_ai_server_request_duration_seconds", nil, &h)
		s.Add(at(i), "skein_gateway_requests_total", nil, int64(i%7))
	}
	b.Run("rate5m", func(b *testing.B) {
		for b.Loop() {
			s.Rate(window("skein_gateway_requests_total", nil, 89_999, 300))
		}
	})
	b.Run("quantile5m", func(b *testing.B) {
		for b.Loop() {
			h, _ := s.Merged(window("gen_ai_server_request_duration_seconds", nil, 89_999, 300))
			h.Quantile(950)
		}
	})
	b.Run("usual", func(b *testing.B) {
		for b.Loop() {
			s.Usual(window("skein_gateway_requests_total", nil, 89_999, 86_400))
		}
	})
}
