package results

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"
)

// Pair is a record that was asked again of another version. Tenant and At are the record's; the rest is what the other version answered.
type Pair struct {
	Run       string          `json:"run"` // names the re-run
	ID        string          `json:"id"`  // of the record
	At        int64           `json:"at"`
	Tenant    string          `json:"tenant,omitempty"`
	Model     string          `json:"model"`
	Version   int             `json:"version"`    // of the record
	ToModel   string          `json:"to_model"`   // that was asked again
	ToVersion int             `json:"to_version"` // of it
	Status    string          `json:"status"`     // OK, or what went wrong
	Error     string          `json:"error,omitempty"`
	Latency   int64           `json:"latency_us,omitempty"`
	Labels    []Label         `json:"labels,omitempty"`
	Answer    json.RawMessage `json:"answer,omitempty"`
	Difference
	Expires int64 `json:"expires"` // with the record
}

// Statuses of pairs beside OK and the names of faults.
const (
	NoRequest = "no_request"     // the record holds no request, so there is nothing to ask again
	NoModel   = "no_model"       // the version that is asked is gone
	Unlike    = "not_comparable" // it was asked again, and the two answers are not set against each other
)

// Difference is what differs between two answers to the same request.
type Difference struct {
	Differs    bool    `json:"differs,omitempty"`     // any of the below; numbers count where they differ by more than Tolerance
	LabelsMove int     `json:"labels_move,omitempty"` // inputs whose best label is another
	TextMoves  bool    `json:"text_moves,omitempty"`
	Score      float64 `json:"score,omitempty"`   // the largest change of a best label's score, of inputs whose label stays
	Numbers    float64 `json:"numbers,omitempty"` // the largest change of a number elsewhere in the answers, where both have the same form
	FormMoves  bool    `json:"form_moves,omitempty"`
}

// Tolerance is how far two scores may be apart to count as equal: more than another order of additions makes, less than anybody decides by.
const Tolerance = 1e-3

// Incomparable says why a record and what its request was answered with now cannot be set against each other; "" = they can.
func Incomparable(was, now Record) string {
	switch {
	case was.Redacted:
		return "something was taken out of the request when it was kept: the two answers are to different requests"
	case was.Status != OK:
		return "the request ended with " + was.Status + " then"
	case was.Cut && was.Answer == nil:
		return "the answer then was too large to be kept"
	case now.Cut && now.Answer == nil:
		return "the answer now is too large to be kept"
	case was.Answer == nil && len(was.Labels) == 0:
		return "the record holds no answer"
	}
	return ""
}

// volatile are members of answers that say when and by what an answer was made, or what it cost, and differ between any two.
var volatile = []string{"id", "created", "created_at", "model", "model_version", "modelVersion", "model_name", "system_fingerprint", "usage", "object", "processing_ms"}

// Compare says what differs between the answer of a record and another answer.
func Compare(was Record, labels []Label, answer json.RawMessage) Difference {
	var d Difference
	d.LabelsMove, d.Score = compareLabels(was.Labels, labels)
	a, b := decode(was.Answer), decode(answer)
	if was.Answer != nil && answer != nil {
		d.compare(a, b)
	}
	d.Differs = d.LabelsMove > 0 || d.TextMoves || d.FormMoves || d.Score > Tolerance || d.Numbers > Tolerance
	return d
}

func compareLabels(a, b []Label) (moved int, score float64) {
	best := map[int]Label{}
	for _, l := range a {
		best[l.Input] = l
	}
	for _, l := range b {
		was, there := best[l.Input]
		switch {
		case !there || was.Name != l.Name:
			moved++
		default:
			score = max(score, math.Abs(l.Score-was.Score))
		}
		delete(best, l.Input)
	}
	return moved + len(best), score
}

func decode(body json.RawMessage) (v any) {
	dec := json.NewDecoder(bytes.NewReader(body))
	if dec.Decode(&v) != nil {
		return nil
	}
	return v
}

// compare walks two answers side by side.
func (d *Difference) compare(a, b any) {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			d.FormMoves = true
			return
		}
		names := maps.Clone(x)
		maps.Copy(names, y)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if slices.Contains(volatile, name) {
				continue
			}
			d.compare(x[name], y[name])
		}
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			d.FormMoves = true
			return
		}
		for i := range x {
			d.compare(x[i], y[i])
		}
	case string:
		if y, ok := b.(string); !ok || x != y {
			d.TextMoves = true
		}
	case float64:
		y, ok := b.(float64)
		if !ok {
			d.FormMoves = true
			return
		}
		d.Numbers = max(d.Numbers, math.Abs(x-y))
	default:
		d.FormMoves = d.FormMoves || a != b
	}
}

// Fit makes a pair what every store takes.
func (p Pair) Fit() Pair {
	r := Record{Labels: p.Labels, Answer: p.Answer, Error: p.Error, Status: p.Status}.Fit()
	p.Labels, p.Answer, p.Error, p.Status = r.Labels, r.Answer, r.Error, r.Status
	return p
}

// Count sums what a re-run shows.
type Count struct {
	Asked, Same, Differ, Unlike, Labels, Texts, Scores, NoRequest, NoModel, Failed int64
}

// Add counts a pair.
func (c *Count) Add(p Pair) {
	switch p.Status {
	case NoRequest:
		c.NoRequest++
		return
	case NoModel:
		c.NoModel++
		return
	case Unlike:
		c.Asked++
		c.Unlike++
		return
	case OK:
	default:
		c.Failed++
		return
	}
	c.Asked++
	if !p.Differs {
		c.Same++
		return
	}
	c.Differ++
	if p.LabelsMove > 0 {
		c.Labels++
	}
	if p.TextMoves {
		c.Texts++
	}
	if p.Score > Tolerance || p.Numbers > Tolerance {
		c.Scores++
	}
}

// Words says a difference in a few words.
func (d Difference) Words() string {
	var out []string
	if d.LabelsMove > 0 {
		out = append(out, "label")
	}
	if d.TextMoves {
		out = append(out, "text")
	}
	if d.FormMoves {
		out = append(out, "form")
	}
	if d.Score > Tolerance || d.Numbers > Tolerance {
		out = append(out, "score")
	}
	return strings.Join(out, ", ")
}
