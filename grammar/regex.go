package grammar

import (
	"encoding/binary"
	"fmt"
	"regexp/syntax"
	"slices"
	"unicode"
	"unicode/utf8"
)

// regex takes what the expression matches from its first to its last character. The syntax is RE2's without \b, \B and multi-line ^ and $.
func (b *builder) regex(text string, next int32) (int32, error) {
	d, err := b.pattern(text, false)
	if err != nil {
		return end, err
	}
	return b.emit(d, false, next), nil
}

// expression is a regular expression, as instructions.
type expression struct {
	prog   *syntax.Prog
	search bool // it may match anywhere within the text
}

// Where a thread of the expression is in the text, as bits: behind a character (else at the beginning), and at the end.
const (
	behind = 1 << iota
	atEnd
	modes
)

// anything is the thread of a search that has matched.
const anything = -1

// pattern is the dfa of a regular expression: of the whole text, or (search, as JSON Schema's pattern) of something within it.
func (b *builder) pattern(text string, search bool) (dfa, error) {
	if len(text) > maxRegex {
		return nil, &TooLarge{"bytes of a regular expression", maxRegex}
	}
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("%w: regular expression is not UTF-8", ErrMalformed)
	}
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if weight(re) > maxExpand {
		return nil, &TooLarge{"instructions of a regular expression, repetitions written out", maxExpand}
	}
	if search {
		narrowDot(re)
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	for i := range prog.Inst {
		if in := &prog.Inst[i]; in.Op == syntax.InstEmptyWidth && syntax.EmptyOp(in.Arg)&^(syntax.EmptyBeginText|syntax.EmptyEndText) != 0 {
			return nil, &Unsupported{Keyword: `\b, \B or multi-line ^ or $ in a regular expression`}
		}
	}
	x := &expression{prog, search}
	d := grow(b, x.close(b, []int{prog.Start * modes}), func(key string) (bool, []rune, func(rune) (string, bool)) {
		threads := unpack(key)
		return x.look(b, threads)
	})
	return d, b.err
}

// weight is about how many instructions the expression takes when repetitions are written out.
func weight(re *syntax.Regexp) int {
	n := 1
	if re.Op == syntax.OpLiteral {
		n = len(re.Rune)
	}
	for _, sub := range re.Sub {
		n = min(n+weight(sub), maxExpand+1)
	}
	if re.Op == syntax.OpRepeat {
		n = min(n*max(re.Min, re.Max, 1), maxExpand+1)
	}
	return n
}

// narrowDot makes a dot leave out what it does in ECMA-262, whose expressions JSON Schema means: besides \n also \r and two separators.
func narrowDot(re *syntax.Regexp) {
	if re.Op == syntax.OpAnyCharNotNL {
		re.Op, re.Rune = syntax.OpCharClass, invert([]rune{'\n', '\n', '\r', '\r', 0x2028, 0x2029})
	}
	for _, sub := range re.Sub {
		narrowDot(sub)
	}
}

// look is what a state with the given threads does.
func (x *expression) look(b *builder, threads []int) (accept bool, cuts []rune, next func(rune) (string, bool)) {
	type move struct {
		ranges []rune
		to     int
	}
	var moves []move
	cuts = []rune{0}
	for _, t := range threads {
		if t == anything {
			accept = true
			moves = append(moves, move{all, anything})
			continue
		}
		in, mode := &x.prog.Inst[t/modes], t%modes
		if in.Op == syntax.InstMatch {
			accept = true
			continue
		}
		if mode&atEnd != 0 {
			continue
		}
		moves = append(moves, move{runes(in), int(in.Out)*modes + behind})
	}
	if x.search && (len(threads) == 0 || threads[0] != anything) {
		moves = append(moves, move{all, x.prog.Start*modes + behind})
	}
	for _, m := range moves {
		b.step(len(m.ranges))
		for i := 0; i < len(m.ranges); i += 2 {
			cuts = append(cuts, m.ranges[i])
			if m.ranges[i+1] < utf8.MaxRune {
				cuts = append(cuts, m.ranges[i+1]+1)
			}
		}
	}
	b.step(len(cuts) * len(moves) / 8)
	return accept, cuts, func(r rune) (string, bool) {
		var to []int
		for _, m := range moves {
			if within(m.ranges, r) {
				to = append(to, m.to)
			}
		}
		key := x.close(b, to)
		return key, key != ""
	}
}

// close follows the threads to instructions that take a character, or match, and packs them.
func (x *expression) close(b *builder, threads []int) string {
	seen := map[int]bool{}
	var out []int
	for len(threads) > 0 {
		t := threads[len(threads)-1]
		threads = threads[:len(threads)-1]
		if seen[t] {
			continue
		}
		seen[t] = true
		b.step(1)
		if t == anything {
			return pack([]int{anything})
		}
		in, mode := &x.prog.Inst[t/modes], t%modes
		switch in.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			threads = append(threads, int(in.Out)*modes+mode, int(in.Arg)*modes+mode)
		case syntax.InstCapture, syntax.InstNop:
			threads = append(threads, int(in.Out)*modes+mode)
		case syntax.InstEmptyWidth:
			need := syntax.EmptyOp(in.Arg)
			if need&syntax.EmptyBeginText != 0 && mode&behind != 0 {
				continue
			}
			if need&syntax.EmptyEndText != 0 {
				mode |= atEnd
			}
			threads = append(threads, int(in.Out)*modes+mode)
		case syntax.InstMatch:
			if x.search && mode&atEnd == 0 {
				return pack([]int{anything})
			}
			out = append(out, t)
		case syntax.InstFail:
		default:
			out = append(out, t)
		}
	}
	slices.Sort(out)
	return pack(out)
}

func pack(threads []int) string {
	s := make([]byte, 0, 4*len(threads))
	for _, t := range threads {
		s = binary.LittleEndian.AppendUint32(s, uint32(t+1))
	}
	return string(s)
}

func unpack(key string) (threads []int) {
	for i := 0; i < len(key); i += 4 {
		threads = append(threads, int(binary.LittleEndian.Uint32([]byte(key[i:i+4])))-1)
	}
	return threads
}

// runes is the characters that an instruction takes.
func runes(in *syntax.Inst) []rune {
	switch in.Op {
	case syntax.InstRuneAny:
		return all
	case syntax.InstRuneAnyNotNL:
		return []rune{0, '\n' - 1, '\n' + 1, utf8.MaxRune}
	}
	if len(in.Rune) != 1 {
		return in.Rune
	}
	r := in.Rune[0]
	out := []rune{r, r}
	if syntax.Flags(in.Arg)&syntax.FoldCase != 0 {
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			out = append(out, f, f)
		}
	}
	return tidy(out)
}
