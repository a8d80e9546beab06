package grammar

import (
	"slices"
	"unicode/utf8"
)

// dfa is a deterministic automaton over characters. State 0 is the first.
type dfa []dfaState

type dfaState struct {
	accept bool
	arcs   []arc // apart from each other
}

// arc leads on a character of the ranges (pairs of first and last, sorted) to a state.
type arc struct {
	ranges []rune
	to     int
}

// grow makes a dfa from what its states are made of: K identifies a state, look says whether it accepts and where characters lead.
// Only the first character of each span that cuts names needs to be looked at.
func grow[K comparable](b *builder, first K, look func(K) (accept bool, cuts []rune, next func(rune) (K, bool))) dfa {
	states := []K{first}
	index := map[K]int{first: 0}
	var d dfa
	for at := 0; at < len(states) && b.err == nil; at++ {
		accept, cuts, next := look(states[at])
		slices.Sort(cuts)
		cuts = slices.Compact(cuts)
		if b.step(1 + len(cuts)); b.err != nil {
			return nil
		}
		state := dfaState{accept: accept}
		place := map[int]int{} // of the arc to a state
		for i, lo := range cuts {
			hi := rune(utf8.MaxRune)
			if i+1 < len(cuts) {
				hi = cuts[i+1] - 1
			}
			key, ok := next(lo)
			if !ok {
				continue
			}
			to, known := index[key]
			if !known {
				to = len(states)
				if to >= maxPattern {
					b.fail(&TooLarge{"states of a pattern", maxPattern})
					return nil
				}
				index[key] = to
				states = append(states, key)
			}
			p, ok := place[to]
			if !ok {
				p = len(state.arcs)
				place[to] = p
				state.arcs = append(state.arcs, arc{to: to})
			}
			state.arcs[p].ranges = append(state.arcs[p].ranges, lo, hi)
		}
		for i := range state.arcs {
			state.arcs[i].ranges = tidy(state.arcs[i].ranges)
		}
		d = append(d, state)
	}
	return d
}

// cuts is the first characters of the spans that the state's arcs are made of, and of those between.
func (s *dfaState) cuts() []rune {
	cuts := []rune{0}
	for _, a := range s.arcs {
		for i := 0; i < len(a.ranges); i += 2 {
			cuts = append(cuts, a.ranges[i])
			if a.ranges[i+1] < utf8.MaxRune {
				cuts = append(cuts, a.ranges[i+1]+1)
			}
		}
	}
	return cuts
}

// next is where a character leads.
func (s *dfaState) next(r rune) (int, bool) {
	for _, a := range s.arcs {
		if within(a.ranges, r) {
			return a.to, true
		}
	}
	return 0, false
}

// within says whether the sorted ranges have r.
func within(ranges []rune, r rune) bool {
	lo, hi := 0, len(ranges)/2
	for lo < hi {
		if mid := (lo + hi) / 2; r > ranges[2*mid+1] {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return 2*lo < len(ranges) && ranges[2*lo] <= r
}

// both takes what d and e take.
func (d dfa) both(b *builder, e dfa) dfa {
	if b.err != nil {
		return nil
	}
	return grow(b, [2]int{}, func(k [2]int) (bool, []rune, func(rune) ([2]int, bool)) {
		x, y := &d[k[0]], &e[k[1]]
		return x.accept && y.accept, append(x.cuts(), y.cuts()...), func(r rune) ([2]int, bool) {
			to, ok := x.next(r)
			too, ok2 := y.next(r)
			return [2]int{to, too}, ok && ok2
		}
	})
}

// lengths takes every text of least to most characters (most < 0: without bound).
func lengths(b *builder, least, most int) dfa {
	if least >= maxPattern || most >= maxPattern {
		b.fail(&TooLarge{"characters of a text with a pattern", maxPattern - 1})
		return nil
	}
	var d dfa
	for n := 0; n <= max(least, most); n++ {
		state := dfaState{accept: n >= least}
		if n < max(least, most) {
			state.arcs = []arc{{all, n + 1}}
		} else if most < 0 {
			state.arcs = []arc{{all, n}}
		}
		d = append(d, state)
	}
	return d
}

// span is how many characters the texts of the dfa have: at least, and at most (-1: there is no bound). States without texts count too.
func (d dfa) span() (least, most int) {
	least = -1
	seen := make([]bool, len(d))
	level := []int{0}
	for n := 0; len(level) > 0 && least < 0; n++ { // breadth first, to the first state that accepts
		var next []int
		for _, at := range level {
			if seen[at] {
				continue
			}
			if seen[at] = true; d[at].accept && least < 0 {
				least = n
			}
			for _, a := range d[at].arcs {
				next = append(next, a.to)
			}
		}
		level = next
	}
	// Kahn's order, if there is one: what has no arcs from what is left comes next.
	from, far := make([]int, len(d)), make([]int, len(d))
	for _, s := range d {
		for _, a := range s.arcs {
			from[a.to]++
		}
	}
	var ready []int
	for at, n := range from {
		if n == 0 {
			ready = append(ready, at)
		}
	}
	for i := 0; i < len(ready); i++ {
		at := ready[i]
		most = max(most, far[at])
		for _, a := range d[at].arcs {
			far[a.to] = max(far[a.to], far[at]+1)
			if from[a.to]--; from[a.to] == 0 {
				ready = append(ready, a.to)
			}
		}
	}
	if len(ready) < len(d) {
		most = -1
	}
	return least, most
}

// takes says whether the dfa takes a text.
func (d dfa) takes(text string) bool {
	at := 0
	for _, r := range text {
		to, ok := d[at].next(r)
		if !ok {
			return false
		}
		at = to
	}
	return len(d) > 0 && d[at].accept
}

// emit is the part of a dfa (see chars for quoted), then next.
func (b *builder) emit(d dfa, quoted bool, next int32) int32 {
	if b.err != nil || len(d) == 0 {
		return end
	}
	first := int32(len(b.nodes))
	for range d {
		b.add(node{op: opSplit})
	}
	for i, s := range d {
		var edges []edge
		var to []int32
		for _, a := range s.arcs {
			e, parts := b.chars(a.ranges, first+int32(a.to), quoted)
			edges, to = append(edges, e...), append(to, parts...)
		}
		to = append(to, b.bytes(edges...))
		if s.accept {
			to = append(to, next)
		}
		if b.err != nil {
			return end
		}
		b.nodes[int(first)+i].to = to
	}
	return first
}
