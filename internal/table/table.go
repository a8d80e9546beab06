// Package table is a sorted map that never changes: a write returns a new map that shares most of its memory with the old one.
package table

import (
	"iter"

	"github.com/benbjohnson/immutable"
)

// Key is a key with a total order: Compare returns −1, 0 or +1, and nothing else.
type Key[K any] interface{ Compare(K) int }

type comparer[K Key[K]] struct{}

func (comparer[K]) Compare(a, b K) int { return a.Compare(b) }

// Table is a persistent sorted map. The zero value is empty and ready. Copying a Table is copying a pointer, and readers of an old
// one never see a later write. Get, Set and Delete are O(log n).
type Table[K Key[K], V any] struct{ m *immutable.SortedMap[K, V] }

// Len is the number of entries.
func (t Table[K, V]) Len() int {
	if t.m == nil {
		return 0
	}
	return t.m.Len()
}

// Get finds the value of a key.
func (t Table[K, V]) Get(k K) (V, bool) {
	if t.m == nil {
		var none V
		return none, false
	}
	return t.m.Get(k)
}

// Has says whether the key has a value.
func (t Table[K, V]) Has(k K) bool {
	_, ok := t.Get(k)
	return ok
}

// Set returns the table with the value of a key added or replaced.
func (t Table[K, V]) Set(k K, v V) Table[K, V] {
	m := t.m
	if m == nil {
		m = immutable.NewSortedMap[K, V](comparer[K]{})
	}
	return Table[K, V]{m.Set(k, v)}
}

// Delete returns the table without the key.
func (t Table[K, V]) Delete(k K) Table[K, V] {
	if t.m == nil {
		return t
	}
	return Table[K, V]{t.m.Delete(k)}
}

// All yields the entries in key order.
func (t Table[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if t.m != nil {
			drain(t.m.Iterator(), yield)
		}
	}
}

// From yields the entries whose key is k or greater, in key order.
func (t Table[K, V]) From(k K) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if t.m != nil {
			it := t.m.Iterator()
			it.Seek(k)
			drain(it, yield)
		}
	}
}

// Values yields the values in key order.
func (t Table[K, V]) Values() iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, v := range t.All() {
			if !yield(v) {
				return
			}
		}
	}
}

func drain[K, V any](it *immutable.SortedMapIterator[K, V], yield func(K, V) bool) {
	for {
		k, v, ok := it.Next()
		if !ok || !yield(k, v) {
			return
		}
	}
}
