package series

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Limits of a store.
const (
	MaxSeries  = 50_000    // series, unless the store was made with another limit
	MaxBytes   = 512 << 20 // bytes of their points, unless the store was made with another limit
	MaxLabels  = 16        // labels of a series
	MaxValue   = 256       // bytes of the value of a label
	MaxSamples = 8         // request ids kept of a series
	MaxPoints  = 11_000    // points of an answer, of all series together
)

// backwards is how far behind the newest value another one may come; one that is older says that the clock was set back, and then
// what was put after it is forgotten.
const backwards = 10 // seconds

const lineCost = 1500 // bytes of a series beside its points, about

// Errors of a store.
var (
	ErrUnknown = errors.New("series: no such family")
	ErrKind    = errors.New("series: the family is of another kind")
	ErrLabels  = errors.New("series: labels that the family does not have, or too long ones")
	ErrValue   = errors.New("series: not a value")
	ErrRange   = errors.New("series: not a range, or more points than the limit")
)

// Store keeps series. It is owned by one goroutine; its methods that only read may run at once with one another.
type Store struct {
	maxSeries, maxBytes int
	lines               map[string]*line    // by name and labels
	index               map[posting][]*line // sorted by labels
	names               map[string][]*line  // by family, sorted by labels
	bytes               int                 // that points take
	changes             uint64              // of the set of series
	late                uint64              // values that came too late for their point
	key                 []byte              // scratch
}

type posting struct{ family, label, value string }

// line is one series.
type line struct {
	family  Family
	key     string
	labels  Labels
	tracks  [len(Tiers)]track
	oldest  int64 // second of the first value
	newest  int64 // second of the newest value
	last    float64
	samples []sample
}

type sample struct {
	at int64
	id string
}

// New makes an empty store. A limit of 0 is MaxSeries or MaxBytes.
func New(maxSeries, maxBytes int) *Store {
	return &Store{
		maxSeries: cmp.Or(maxSeries, MaxSeries), maxBytes: cmp.Or(maxBytes, MaxBytes),
		lines: map[string]*line{}, index: map[posting][]*line{}, names: map[string][]*line{},
	}
}

// Put sets a gauge at a time. Values that are not finite are refused with ErrValue.
func (s *Store) Put(at time.Time, family string, l Labels, value float64) error {
	if math.IsNaN(value) || math.IsInf(value, 0) || math.Abs(value) > math.MaxFloat32 {
		return fmt.Errorf("%w: %s of %g", ErrValue, family, value)
	}
	return s.put(at, family, Gauge, l, value, 0, nil)
}

// Add counts n further events of a counter at a time; n may be 0, which says that somebody looks.
func (s *Store) Add(at time.Time, family string, l Labels, n int64) error {
	if n < 0 || n > MaxCount {
		return fmt.Errorf("%w: %s by %d", ErrValue, family, n)
	}
	return s.put(at, family, Counter, l, 0, n, nil)
}

// Observe merges durations that were seen since the last call into a histogram at a time.
func (s *Store) Observe(at time.Time, family string, l Labels, h *Histogram) error {
	return s.put(at, family, Durations, l, 0, 0, h)
}

// Sample keeps the id of a request as an example for a series that has values: of those that failed, for the links of an incident.
// The newest MaxSamples are kept.
func (s *Store) Sample(at time.Time, family string, l Labels, request string) {
	ln := s.lines[string(s.keyOf(family, l))]
	if ln == nil || request == "" || len(request) > MaxValue {
		return
	}
	if len(ln.samples) == MaxSamples {
		ln.samples = slices.Delete(ln.samples, 0, 1)
	}
	ln.samples = append(ln.samples, sample{at.Unix(), request})
}

func (s *Store) put(at time.Time, family string, kind Kind, l Labels, value float64, n int64, h *Histogram) error {
	key := s.keyOf(family, l)
	ln := s.lines[string(key)]
	if ln == nil {
		f, ok := FamilyOf(family)
		if !ok {
			return fmt.Errorf("%w: %q", ErrUnknown, family)
		}
		if err := checkLabels(f, l); err != nil {
			return err
		}
		if f.Kind != kind {
			return fmt.Errorf("%w: %s is a %s", ErrKind, family, f.Kind)
		}
		ln = s.insert(f, string(key), l, at.Unix())
	} else if ln.family.Kind != kind {
		return fmt.Errorf("%w: %s is a %s", ErrKind, family, ln.family.Kind)
	}
	sec := at.Unix()
	switch {
	case sec < ln.newest-backwards:
		ln.cut(s, sec)
	case sec < ln.newest:
		sec = ln.newest
		s.late++
	}
	ln.newest, ln.last = sec, value
	for i, tier := range Tiers {
		s.bytes += ln.tracks[i].put(kind, tier, sec, value, n, h)
	}
	for s.bytes > s.maxBytes && len(s.lines) > 1 {
		s.evict(ln)
	}
	return nil
}

// keyOf names a series, in bytes that the next call reuses.
func (s *Store) keyOf(family string, l Labels) []byte {
	s.key = append(s.key[:0], family...)
	for i := range l {
		s.key = append(append(s.key, 0), l[i].Name...)
		s.key = append(append(s.key, 1), l[i].Value...)
	}
	return s.key
}

func (ln *line) cut(s *Store, sec int64) {
	for i, tier := range Tiers {
		t := &ln.tracks[i]
		s.bytes -= t.bytes
		t.cut(ln.family.Kind, tier, sec)
		s.bytes += t.bytes
	}
	ln.oldest = min(ln.oldest, sec)
}

func checkLabels(f Family, l Labels) error {
	for i, x := range l {
		if _, ok := f.Column(x.Name); !ok || x.Value == "" || len(x.Value) > MaxValue || strings.ContainsAny(x.Value, "\x00\x01") || i > 0 && l[i-1].Name >= x.Name {
			return fmt.Errorf("%w: %s%s", ErrLabels, f.Name, l)
		}
	}
	return nil
}

func (s *Store) insert(f Family, key string, l Labels, sec int64) *line {
	if len(s.lines) >= s.maxSeries {
		s.evict(nil)
	}
	ln := &line{family: f, key: key, labels: slices.Clone(l), oldest: sec, newest: sec}
	s.lines[key] = ln
	s.names[f.Name] = insertLine(s.names[f.Name], ln)
	for _, x := range ln.labels {
		p := posting{f.Name, x.Name, x.Value}
		s.index[p] = insertLine(s.index[p], ln)
	}
	s.changes++
	s.bytes += lineCost
	return ln
}

func insertLine(list []*line, ln *line) []*line {
	i, _ := slices.BinarySearchFunc(list, ln, compareLines)
	return slices.Insert(list, i, ln)
}

func removeLine(list []*line, ln *line) []*line {
	if i, ok := slices.BinarySearchFunc(list, ln, compareLines); ok {
		return slices.Delete(list, i, i+1)
	}
	return list
}

func compareLines(a, b *line) int { return a.labels.Compare(b.labels) }

// evict forgets the sixteenth of the series that have been idle for longest, one at least, but not the one given.
func (s *Store) evict(keep *line) {
	all := slices.Collect(maps.Values(s.lines)) // sorted at once, so the order of the map is lost
	slices.SortFunc(all, func(a, b *line) int {
		return cmp.Or(cmp.Compare(a.newest, b.newest), cmp.Compare(a.key, b.key))
	})
	for _, ln := range all[:max(1, len(all)/16)] {
		if ln != keep {
			s.remove(ln)
		}
	}
}

func (s *Store) remove(ln *line) {
	delete(s.lines, ln.key)
	if s.names[ln.family.Name] = removeLine(s.names[ln.family.Name], ln); len(s.names[ln.family.Name]) == 0 {
		delete(s.names, ln.family.Name)
	}
	for _, x := range ln.labels {
		p := posting{ln.family.Name, x.Name, x.Value}
		if s.index[p] = removeLine(s.index[p], ln); len(s.index[p]) == 0 {
			delete(s.index, p)
		}
	}
	for i := range ln.tracks {
		s.bytes -= ln.tracks[i].bytes
	}
	s.bytes -= lineCost
	s.changes++
}

// Size is what a store holds.
type Size struct {
	Series int    `json:"series"`
	Bytes  int    `json:"bytes"` // of points
	Late   uint64 `json:"late"`  // values that were counted into a later second than theirs
}

// Size says how much is kept.
func (s *Store) Size() Size { return Size{Series: len(s.lines), Bytes: s.bytes, Late: s.late} }

// Changes grows whenever a series appears or goes.
func (s *Store) Changes() uint64 { return s.changes }

// Forget drops the series of every family that match: of a tenant, a version or a node that is deleted. An empty match drops nothing.
func (s *Store) Forget(m Match) {
	for _, f := range Families {
		if len(m) > 0 {
			for _, ln := range slices.Clone(s.find(f.Name, m)) {
				s.remove(ln)
			}
		}
	}
}

// find lists the series of a family that match, sorted by labels. The list may be the store's own.
func (s *Store) find(family string, m Match) []*line {
	best := s.names[family]
	exact := len(m) == 0
	for i := range m {
		if len(m[i].Values) != 1 || m[i].Values[0] == "" { // "" is a label that is not there
			continue
		}
		if list := s.index[posting{family, m[i].Name, m[i].Values[0]}]; len(list) <= len(best) {
			best, exact = list, len(m) == 1
		}
	}
	if exact || len(best) == 0 {
		return best
	}
	var out []*line
	for _, ln := range best {
		if m.Fits(ln.labels) {
			out = append(out, ln)
		}
	}
	return out
}

// Subjects lists what the series of a family that match differ in, with respect to some labels: sorted, each once. Series that lack
// one of the labels are left out.
func (s *Store) Subjects(family string, by []string, m Match) []Labels {
	var out []Labels
	for _, ln := range s.find(family, m) {
		if l := ln.labels.Only(by...); len(l) == len(by) {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, Labels.Compare)
	return slices.CompactFunc(out, func(a, b Labels) bool { return a.Compare(b) == 0 })
}

// Samples lists the newest ids of requests of the series that match since a time, MaxSamples at most, newest first.
func (s *Store) Samples(family string, m Match, since time.Time) []string {
	var all []sample
	for _, ln := range s.find(family, m) {
		for _, x := range ln.samples {
			if x.at >= since.Unix() {
				all = append(all, x)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b sample) int { return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(a.id, b.id)) })
	var out []string
	for _, x := range all[:min(len(all), MaxSamples)] {
		out = append(out, x.id)
	}
	return out
}
