package savedmodel

import (
	"path/filepath"
	"strings"
	"testing"
)

// A length that is chosen has to be one that the signature leaves open; without one a recurrent layer over texts of any length says how to
// choose it.
func TestChosenShapes(t *testing.T) {
	files := sources(folder(t, filepath.Join("testdata", "models", "keras_open")))
	for what, c := range map[string]struct {
		shapes map[string][]int64
		why    string
	}{
		"none":          {nil, `{"shapes": {`},
		"open":          {map[string][]int64{"ids": {-1, -1}}, `{"shapes": {`},
		"no input":      {map[string][]int64{"ids": {-1, 4}, "x": {1}}, "none of the signature"},
		"one dimension": {map[string][]int64{"ids": {4}}, "has 2 dimensions"},
		"negative":      {map[string][]int64{"ids": {-2, 4}}, "in place of one that is open"},
		"too long":      {map[string][]int64{"ids": {-1, 1 << 21}}, "in place of one that is open"},
		"many turns":    {map[string][]int64{"ids": {-1, 1 << 15}}, "a list of 32768 tensors"},
		"chosen":        {map[string][]int64{"ids": {-1, 5}}, ""},
		"both":          {map[string][]int64{"ids": {2, 5}}, ""},
	} {
		m, err := Choice{Shapes: c.shapes}.Read(files)
		switch {
		case c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)):
			t.Errorf("%s: %v, want %q", what, err, c.why)
		case c.why == "" && err != nil:
			t.Errorf("%s: %v", what, err)
		case c.why == "":
			if p, _ := m.Graph.Signature().Input("ids"); !p.Takes([]int64{2, 5}) || p.Takes([]int64{2, 6}) {
				t.Errorf("%s: %v", what, p.Shape)
			}
		}
	}
	fixed := sources(folder(t, filepath.Join("testdata", "models", "keras_recurrent")))
	if _, err := (Choice{Shapes: map[string][]int64{"ids": {-1, 4}}}).Read(fixed); err == nil || !strings.Contains(err.Error(), "in place of one that is open") {
		t.Errorf("another length than the signature's: %v", err)
	}
}
