package benchfile

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func example() Report {
	s := Series{}
	s.AddPair(10, 20)
	s.AddPair(30, 30)
	s.AddPair(12.34567, 20)
	return Report{Title: "A test", Machine: Machine{CPU: "c", Cores: 2, Go: "go1", Date: "2026-01-02T03:04:05Z"}, Commit: "abc", Sections: []Section{{
		Title: "Speed", How: []string{"as fast as it goes"},
		Records: []Record{s.Record("speed/a", "m/s", Higher, "a snail").WithGoal(12), Series{Values: []float64{5}}.Record("time/b", "s", Lower, "").WithGoal(4)}}}}
}

func TestWriteAndRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bench")
	if err := example().Write(dir, "x"); err != nil {
		t.Fatal(err)
	}
	got, err := Read(filepath.Join(dir, "x.json"))
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	a, b := got[0], got[1]
	if a.Value != 12.35 || *a.PeerValue != 20 || *a.Ratio != 0.6173 || *a.Goal != 12 || a.Peer != "a snail" || a.Commit != "abc" || !a.Met() {
		t.Errorf("%+v", a)
	}
	if b.PeerValue != nil || b.Ratio != nil || b.Met() || b.Machine.Cores != 2 {
		t.Errorf("%+v", b)
	}
	text, err := os.ReadFile(filepath.Join(dir, "x.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"A test", "as fast as it goes", "12 met", "4 MISSED", "10..30", "a snail", "commit abc"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the text does not say %q:\n%s", want, text)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A figure that says too little, or a file that says too much, is refused.
func TestMalformed(t *testing.T) {
	good, err := lines(func() []Record {
		r := example().Sections[0].Records[:1]
		r[0].Machine, r[0].Commit = example().Machine, "abc"
		return r
	}())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parse(good); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{`"ratio":0.6173`, `"ratio":null`}, {`"peer_value":20`, `"peer_value":null`}, {`"peer":"a snail"`, `"peer":""`}, {`"goal":12,`, ``},
		{`"commit":"abc"`, `"commit":""`}, {`"better":"higher"`, `"better":"more"`}, {`"unit":"m/s"`, `"unit":""`}, {`"cores":2`, `"cores":0`},
		{`"name":"speed/a"`, `"name":"speed/a","host":"h"`}, {`[`, ``}, {`"value":12.35`, `"value":"12.35"`},
		{"\n]", ",\n" + strings.Trim(string(good), "[]\n") + "\n]"},
	} {
		bad := strings.Replace(string(good), change[0], change[1], 1)
		if bad == string(good) {
			t.Fatalf("%q is not there", change[0])
		}
		if _, err := parse([]byte(bad)); !errors.Is(err, ErrRecord) {
			t.Errorf("with %s instead of %s: %v", change[1], change[0], err)
		}
	}
	nothing := example()
	nothing.Sections[0].Records = append(nothing.Sections[0].Records, Series{}.Record("nothing", "s", Lower, ""))
	if dir := t.TempDir(); nothing.Write(dir, "x") == nil {
		t.Error("a figure without a round is written")
	}
}

func TestRound(t *testing.T) {
	for v, want := range map[float64]float64{0: 0, 1234.56: 1235, 123456: 123500, 0.00123449: 0.001234, -12.3456: -12.35, 999.96: 1000, 7: 7} {
		if got := round(v); got != want {
			t.Errorf("round(%v) = %v, want %v", v, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Float64Range(1e-6, 1e12).Draw(t, "v")
		if got := round(v); math.Abs(got-v) > 0.00051*v || round(got) != got {
			t.Fatalf("round(%v) = %v, again %v", v, got, round(got))
		}
	})
}

// Quantile against counting, which is slow and obvious.
func TestQuantile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(-9, 9), 1, 20).Draw(t, "values")
		q := rapid.Float64Range(0.01, 1).Draw(t, "q")
		best := math.Inf(1)
		for _, v := range values {
			below := 0
			for _, w := range values {
				if w <= v {
					below++
				}
			}
			if float64(below) >= q*float64(len(values)) {
				best = min(best, v)
			}
		}
		if got := Quantile(values, q); got != best {
			t.Fatalf("%v, want %v", got, best)
		}
	})
	if m := Median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Errorf("median %v", m)
	}
}
