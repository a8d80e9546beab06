package table

import (
	"cmp"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

type num int

func (a num) Compare(b num) int { return cmp.Compare(a, b) }

type version struct {
	table Table[num, int]
	want  map[num]int
}

func check(t *rapid.T, v version, from num) {
	keys := slices.Sorted(maps.Keys(v.want))
	var got []num
	for k, x := range v.table.All() {
		if x != v.want[k] {
			t.Fatalf("value of %d is %d, want %d", k, x, v.want[k])
		}
		got = append(got, k)
	}
	if !slices.Equal(got, keys) || v.table.Len() != len(keys) {
		t.Fatalf("keys %v, want %v", got, keys)
	}
	var tail []num
	for k := range v.table.From(from) {
		tail = append(tail, k)
	}
	i, _ := slices.BinarySearch(keys, from)
	if !slices.Equal(tail, keys[i:]) {
		t.Fatalf("from %d: %v, want %v", from, tail, keys[i:])
	}
	if _, ok := v.want[from]; ok != v.table.Has(from) {
		t.Fatalf("has %d: %v", from, !ok)
	}
}

// Every version ever made keeps equal to the plain map that was copied beside it.
func TestOldTablesKeep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.Custom(func(t *rapid.T) num { return num(rapid.IntRange(0, 300).Draw(t, "k")) })
		history := []version{{want: map[num]int{}}}
		for i := range rapid.IntRange(1, 400).Draw(t, "steps") {
			last := history[len(history)-1]
			k, next := key.Draw(t, "key"), version{want: maps.Clone(last.want)}
			if rapid.IntRange(0, 2).Draw(t, "op") == 0 {
				delete(next.want, k)
				next.table = last.table.Delete(k)
			} else {
				next.want[k] = i
				next.table = last.table.Set(k, i)
			}
			history = append(history, next)
		}
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(history)-1), 1, 5).Draw(t, "look") {
			check(t, history[i], key.Draw(t, "from"))
		}
		check(t, history[len(history)-1], key.Draw(t, "from"))
	})
}
