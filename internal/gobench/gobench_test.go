package gobench

import (
	"maps"
	"testing"
)

func TestParse(t *testing.T) {
	got := parse([]byte(`goos: linux
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
