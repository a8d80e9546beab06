package main

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/skein-project/skein/raftstore"
)

// Tokens before every stream decodes, and after one has ended, do not count.
func TestPaceOf(t *testing.T) {
	t0 := time.Unix(0, 0)
	at := func(ms ...int) (a arrivals) {
		for _, m := range ms {
			a = append(a, t0.Add(time.Duration(m)*time.Millisecond))
		}
		return a
	}
	got, err := paceOf(t0, []arrivals{at(100, 200, 300, 400, 500), at(300, 400, 500, 600, 700), at(200, 250, 350, 450, 510)})
	if err != nil || got.rate != 6/0.2 || got.first != 200 { // (300, 500]: 2 of the first, 2 of the second, 2 of the third
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := paceOf(t0, []arrivals{at(100, 200), at(200, 300)}); err == nil {
		t.Error("streams that do not overlap have a pace")
	}
}

func TestParseGoBench(t *testing.T) {
	got := parseGoBench([]byte(`goos: linux
pkg: example
BenchmarkApply-2             	   12170	     49000 ns/op	     20408 commands/s	    9000 B/op
BenchmarkCommits/proposers=1-2 	 500	 1.5 ns/op
BenchmarkOne 	 3	 7 ns/op
BenchmarkBroken-2
PASS
ok  	example	1.2s
`))
	want := map[string]float64{"Apply ns/op": 49000, "Apply commands/s": 20408, "Apply B/op": 9000, "Commits/proposers=1 ns/op": 1.5, "One ns/op": 7}
	if !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestPrompt(t *testing.T) {
	a, b := prompt(0, 50), prompt(1, 50)
	same := 0
	for i := range a {
		if a[i] < ' ' || a[i] > '~' {
			t.Errorf("token %d", a[i])
		}
		if a[i] == b[i] {
			same++
		}
	}
	if same > 25 {
		t.Error("streams have the same prompt")
	}
}

// What a stalled disk makes a store say is recognised.
func TestStalled(t *testing.T) {
	if !stalled(fmt.Errorf("benchmark: %w", raftstore.Stalled{Op: "append", Limit: time.Second})) || stalled(errors.New("disk full")) || stalled(nil) {
		t.Error("a stall is not told from other errors")
	}
}
