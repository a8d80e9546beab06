package blob

import (
	"fmt"
	"slices"
	"testing"
)

// Everybody has the same order, turns are about even, and who goes changes nothing among the others.
func TestOrder(t *testing.T) {
	d := Of([]byte("weights")).Digest()
	members := []string{"a:1", "b:1", "c:1", "d:1"}
	turns := map[string]int{}
	const chunks = 4000
	for i := range chunks {
		got := Order(d, i, members)
		turns[got[0]]++
		other := Order(d, i, []string{"d:1", "c:1", "b:1", "a:1"})
		if !slices.Equal(got, other) {
			t.Fatalf("chunk %d: %v and %v", i, got, other)
		}
		for _, gone := range members {
			keep := func(list []string) []string {
				return slices.DeleteFunc(slices.Clone(list), func(m string) bool { return m == gone })
			}
			if left := Order(d, i, keep(members)); !slices.Equal(left, keep(got)) {
				t.Fatalf("chunk %d without %s: %v, was %v", i, gone, left, got)
			}
		}
	}
	for m, n := range turns {
		if n < chunks/5 || n > chunks*3/10 {
			t.Errorf("%s comes first for %d of %d chunks", m, n, chunks)
		}
	}
	if len(turns) != len(members) || len(Order(d, 0, nil)) != 0 {
		t.Errorf("turns %v", turns)
	}
	if a, b := Order(d, 1, members), Order(Of(nil).Digest(), 1, members); fmt.Sprint(a) == fmt.Sprint(b) && fmt.Sprint(Order(d, 2, members)) == fmt.Sprint(Order(Of(nil).Digest(), 2, members)) {
		t.Error("the blob does not matter")
	}
}
