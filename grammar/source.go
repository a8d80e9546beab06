package grammar

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// measure checks the limits of a source before anything is made of it.
func measure(src Source) error {
	var bytes, sources int
	var visit func(s *Source, depth int) error
	visit = func(s *Source, depth int) error {
		if sources++; sources > maxSources {
			return &TooLarge{"sources within a source", maxSources}
		}
		if depth > maxNesting {
			return &TooLarge{"sources within each other", maxNesting}
		}
		bytes += len(s.Schema) + len(s.Regex) + len(s.Literal)
		for _, c := range s.Choice {
			bytes += len(c)
		}
		if s.Free != nil {
			bytes += len(s.Free.Marker)
		}
		if bytes > maxSource {
			return &TooLarge{"bytes of a source", maxSource}
		}
		for _, parts := range [][]Source{s.Seq, s.Alt} {
			for i := range parts {
				if err := visit(&parts[i], depth+1); err != nil {
					return err
				}
			}
		}
		if s.Free != nil {
			return visit(&s.Free.Then, depth+1)
		}
		return nil
	}
	return visit(&src, 0)
}

// kinds is how many fields of the source are set.
func (s *Source) kinds() (n int) {
	for _, set := range []bool{s.Object, s.Schema != nil, s.Regex != "", s.Choice != nil, s.Literal != "", s.Seq != nil, s.Alt != nil, s.Free != nil} {
		if set {
			n++
		}
	}
	return n
}

// source is the part that src describes.
func (b *builder) source(src Source, next int32) (int32, error) {
	if n := src.kinds(); n != 1 {
		return end, fmt.Errorf("%w: a source with %d of its fields set instead of one", ErrMalformed, n)
	}
	switch {
	case src.Object:
		return b.call(b.anyObject(), next), nil
	case src.Schema != nil:
		return b.schema(src.Schema, next)
	case src.Regex != "":
		return b.regex(src.Regex, next)
	case src.Choice != nil:
		return b.choice(src.Choice, next)
	case src.Literal != "":
		return b.choice([]string{src.Literal}, next)
	case src.Seq != nil:
		for _, part := range slices.Backward(src.Seq) {
			var err error
			if next, err = b.source(part, next); err != nil {
				return end, err
			}
		}
		return next, nil
	case src.Alt != nil:
		var starts []int32
		for _, part := range src.Alt {
			start, err := b.source(part, next)
			if err != nil {
				return end, err
			}
			starts = append(starts, start)
		}
		return b.add(node{op: opSplit, to: starts}), nil
	}
	return b.free(src.Free, next)
}

// choice takes one of the texts, which must be UTF-8.
func (b *builder) choice(texts []string, next int32) (int32, error) {
	for _, t := range texts {
		if !utf8.ValidString(t) {
			return end, fmt.Errorf("%w: text %q is not UTF-8", ErrMalformed, t)
		}
	}
	return b.words(texts, next), nil
}

// words takes one of the texts. Texts that begin alike share their nodes.
func (b *builder) words(texts []string, next int32) int32 {
	texts = slices.Clone(texts)
	slices.Sort(texts)
	texts = slices.Compact(texts)
	return b.trie(texts, 0, next)
}

// trie takes what the sorted texts have behind their first at bytes, which are the same.
func (b *builder) trie(texts []string, at int, next int32) int32 {
	if len(texts) == 1 {
		return b.literal(texts[0][at:], next)
	}
	// What all have in common is a chain, so that the recursion is as deep as there are branches.
	same := at
	if len(texts) > 0 {
		first, last := texts[0], texts[len(texts)-1]
		for same < len(first) && same < len(last) && first[same] == last[same] {
			same++
		}
	}
	var edges []edge
	empty := false
	for from := 0; from < len(texts); {
		if len(texts[from]) == same {
			empty = true
			from++
			continue
		}
		c, to := texts[from][same], from+1
		for to < len(texts) && texts[to][same] == c {
			to++
		}
		edges = append(edges, edge{c, c, b.trie(texts[from:to], same+1, next)})
		from = to
	}
	start := b.bytes(edges...)
	if empty {
		start = b.split(start, next)
	}
	if same > at {
		start = b.literal(texts[0][at:same], start)
	}
	return start
}
