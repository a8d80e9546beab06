package gateway

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// However the text is cut into pieces, the answer is what it is when the text comes byte by byte.
func TestStopper(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("abcé")), 0, 30, -1).Draw(t, "text")
		stops := rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune("abcé")), 1, 4, -1), 0, 4).Draw(t, "stops")
		want, hit := text, false
		for n := 1; n <= len(text) && !hit; n++ {
			for _, s := range stops {
				if before, ok := strings.CutSuffix(text[:n], s); ok && (!hit || len(before) < len(want)) {
					want, hit = before, true
				}
			}
		}
		st := stopper{stops: stops}
		got, gotHit := "", false
		rest := text
		for rest != "" && !gotHit {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			var out string
			out, gotHit = st.push(rest[:n])
			got += out
			rest = rest[n:]
		}
		if !gotHit {
			got += st.flush()
		}
		if got != want || gotHit != hit {
			t.Fatalf("text %q with stops %q gave %q (%v), want %q (%v)", text, stops, got, gotHit, want, hit)
		}
	})
}

// Text that cannot become a stop string is not held back.
func TestStopperStreams(t *testing.T) {
	s := stopper{stops: []string{"\n\n"}}
	for _, piece := range []string{"sum", " 1", "\nx"} {
		if out, _ := s.push(piece); out != piece {
			t.Errorf("%q came out as %q", piece, out)
		}
	}
	if out, _ := s.push("\n"); out != "" {
		t.Errorf("%q came out although it may be the start of a stop string", out)
	}
}
