package grammar

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// free is any text, see Free.
func (b *builder) free(f *Free, next int32) (int32, error) {
	if !utf8.ValidString(f.Marker) || f.Times < 0 || f.Times > maxCount {
		return end, fmt.Errorf("%w: free text with marker %q, %d times", ErrMalformed, f.Marker, f.Times)
	}
	if f.Marker == "" {
		if f.Times != 0 || f.Then.kinds() != 0 {
			return end, fmt.Errorf("%w: free text without a marker for what follows it", ErrMalformed)
		}
		return b.emit(dfa{{accept: true, arcs: []arc{{all, 0}}}}, false, next), nil
	}
	then, err := b.source(f.Then, end)
	if err != nil {
		return end, err
	}
	seek := b.seek(f.Marker)
	found := len(seek) - 1
	if f.Times > 0 {
		// While it may come again the text up to it and the text without it are both open, and the one that does not fit dies.
		seek[found].accept = true
		part := b.call(b.emit(seek, false, end), then)
		return b.loop(part, 0, f.Times, b.emit(without(seek), false, next)), nil
	}
	again := b.add(node{op: opSplit})
	for i := range found {
		seek[i].accept = true
	}
	start := b.emit(seek, false, next)
	if b.err != nil {
		return end, b.err
	}
	b.nodes[int(start)+found] = node{op: opCall, sub: then, next: again}
	b.nodes[again].to = []int32{start}
	return again, nil
}

// seek is the dfa of text up to the first marker: in state n the text ends with the first n characters of the marker and with no more
// (Knuth, Morris, Pratt, "Fast Pattern Matching in Strings"). The last state has no arcs.
func (b *builder) seek(marker string) dfa {
	want := []rune(marker)
	letters := slices.Compact(slices.Sorted(slices.Values(want)))
	if b.step(len(want) * len(letters)); b.err != nil || len(want) >= maxPattern {
		b.fail(&TooLarge{"characters of a marker", maxPattern})
		return dfa{{}}
	}
	d := make(dfa, len(want)+1)
	back := make([]map[rune]int, len(want)) // by state: where the letters lead, but to state 0
	fall := 0                               // the state of the text without its first character
	for n, r := range want {
		back[n] = map[rune]int{}
		if n > 0 {
			for _, l := range letters {
				if to, ok := back[fall][l]; ok {
					back[n][l] = to
				}
			}
			fall = back[fall][r]
		}
		back[n][r] = n + 1
		var known []rune
		for _, l := range letters {
			if to, ok := back[n][l]; ok {
				d[n].arcs = append(d[n].arcs, arc{[]rune{l, l}, to})
				known = append(known, l, l)
			}
		}
		d[n].arcs = append(d[n].arcs, arc{invert(known), 0})
	}
	return d
}

// without takes the texts in which the last state of d is never reached.
func without(d dfa) dfa {
	last := len(d) - 1
	out := make(dfa, last)
	for i := range last {
		out[i].accept = true
		for _, a := range d[i].arcs {
			if a.to != last {
				out[i].arcs = append(out[i].arcs, a)
			}
		}
	}
	return out
}
