// Package benchfile writes what benchmarks measured, once as JSON for programs and once as a table for people.
package benchfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
)

// Better says which way a figure improves.
type Better string

// Directions.
const (
	Higher Better = "higher"
	Lower  Better = "lower"
)

// Record is one figure. What it has no value for is null in JSON, never left out.
type Record struct {
	Name      string   `json:"name"`       // unique in its file; parts are separated by slashes
	Value     float64  `json:"value"`      // median of the rounds
	Unit      string   `json:"unit"`       // of Value, PeerValue and Goal
	Peer      string   `json:"peer"`       // what was measured beside it in the same run; "" = nothing
	PeerValue *float64 `json:"peer_value"` // median of the rounds
	Ratio     *float64 `json:"ratio"`      // Value over PeerValue: the median of the rounds' ratios, not the ratio of the medians
	Goal      *float64 `json:"goal"`       // what Value should reach; null = none was set
	Better    Better   `json:"better"`
	Machine   Machine  `json:"machine"`
	Commit    string   `json:"commit"` // that was measured; "-dirty" = with changes that are not committed

	rounds    int
	low, high float64
}

// ErrRecord says that a file of records is malformed.
var ErrRecord = errors.New("benchfile: malformed record")

// maxFile bounds a file of records in bytes.
const maxFile = 4 << 20

// Validate checks that a figure says all that its reader needs.
func (r Record) Validate() error {
	var why string
	switch {
	case r.Name == "" || r.Unit == "" || r.Commit == "":
		why = "without name, unit or commit"
	case r.Better != Higher && r.Better != Lower:
		why = fmt.Sprintf("better is %q", r.Better)
	case math.IsNaN(r.Value) || math.IsInf(r.Value, 0):
		why = "the value is no number"
	case (r.Peer == "") != (r.PeerValue == nil) || (r.Peer == "") != (r.Ratio == nil):
		why = "a peer has a name, a value and a ratio, or none of them"
	case r.Machine.CPU == "" || r.Machine.Cores < 1 || r.Machine.Go == "" || r.Machine.Date == "":
		why = "the machine is not described"
	default:
		return nil
	}
	return fmt.Errorf("%w: %q: %s", ErrRecord, r.Name, why)
}

// Met says whether the value reaches the goal; true without one.
func (r Record) Met() bool {
	return r.Goal == nil || r.Better == Higher && r.Value >= *r.Goal || r.Better == Lower && r.Value <= *r.Goal
}

// Read reads a JSON file of records: every field is there, no other is, no name twice.
func Read(path string) ([]Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, err
	}
	records, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return records, nil
}

func parse(text []byte) ([]Record, error) {
	var present []map[string]json.RawMessage
	if err := json.Unmarshal(text, &present); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	for i, r := range present {
		for _, field := range []string{"name", "value", "unit", "peer", "peer_value", "ratio", "goal", "better", "machine", "commit"} {
			if _, ok := r[field]; !ok {
				return nil, fmt.Errorf("%w: number %d has no %q", ErrRecord, i, field)
			}
		}
	}
	var records []Record
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&records); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	for i, r := range records {
		if err := r.Validate(); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(records[:i], func(o Record) bool { return o.Name == r.Name }) {
			return nil, fmt.Errorf("%w: %q is there twice", ErrRecord, r.Name)
		}
	}
	return records, nil
}
