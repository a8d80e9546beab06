package grammar

import "unicode/utf8"

// groups is a set of groups of characters. A state that all characters of some groups lead back to need not be walked from where the tokens below
// consist of such characters.
type groups uint64

// Groups of more than one character, and what is no character. Every other one, of ASCII, is a group by itself.
const (
	broken  groups = 1 << 63 // bytes that are no characters, or part of one
	wide    groups = 1 << 62 // characters of several bytes
	control groups = 1 << 61
	digit   groups = 1 << 60
	lowHex  groups = 1 << 59
	low     groups = 1 << 58
	highHex groups = 1 << 57
	high    groups = 1 << 56
)

// groupOf is the group of a character of ASCII.
func groupOf(b byte) groups {
	in := func(lo, hi byte) bool { return lo <= b && b <= hi }
	switch {
	case in('0', '9'):
		return digit
	case in('a', 'f'):
		return lowHex
	case in('g', 'z'):
		return low
	case in('A', 'F'):
		return highHex
	case in('G', 'Z'):
		return high
	case b == '\n', b == '\t', b == '\r':
		return 1 << (b - '\t') // 0, 1, 4
	case b < ' ', b == 0x7f:
		return control
	case b < '0': // space and 15 others
		return 1 << (5 + b - ' ')
	case b < 'A': // 7
		return 1 << (21 + b - ':')
	case b < 'a': // 6
		return 1 << (28 + b - '[')
	}
	return 1 << (34 + b - '{') // 4
}

// suffixGroups is, by i, the groups of t[i:].
func suffixGroups(dst []groups, t []byte) []groups {
	dst = append(dst[:0], make([]groups, len(t)+1)...)
	for i := len(t) - 1; i >= 0; i-- {
		switch r, size := utf8.DecodeRune(t[i:]); {
		case r < utf8.RuneSelf:
			dst[i] = groupOf(t[i]) | dst[i+1]
		case r == utf8.RuneError && size == 1:
			dst[i] = broken
		default:
			dst[i] = wide | dst[i+size]
		}
	}
	return dst
}

// visits of a state in walks until its loops are looked for.
const oftenVisited = 32

// visit counts a visit.
func (c *cache) visit(s *set) {
	if s.visits++; s.visits == oftenVisited {
		s.loops = c.loopsOf(s)
	}
}

// loopsOf is the groups of which every character leads from s to s.
func (c *cache) loopsOf(s *set) groups {
	loops := ^broken
	for b := range byte(utf8.RuneSelf) {
		if g := groupOf(b); loops&g != 0 && c.step(s, b) != s {
			loops &^= g
		}
	}
	for _, seq := range [][4][2]byte{
		{{0xc2, 0xdf}, {0x80, 0xbf}},
		{{0xe0, 0xe0}, {0xa0, 0xbf}, {0x80, 0xbf}}, {{0xe1, 0xec}, {0x80, 0xbf}, {0x80, 0xbf}}, {{0xed, 0xed}, {0x80, 0x9f}, {0x80, 0xbf}}, {{0xee, 0xef}, {0x80, 0xbf}, {0x80, 0xbf}},
		{{0xf0, 0xf0}, {0x90, 0xbf}, {0x80, 0xbf}, {0x80, 0xbf}}, {{0xf1, 0xf3}, {0x80, 0xbf}, {0x80, 0xbf}, {0x80, 0xbf}}, {{0xf4, 0xf4}, {0x80, 0x8f}, {0x80, 0xbf}, {0x80, 0xbf}},
	} {
		if loops&wide != 0 && !c.returns(s, s, seq[:]) {
			loops &^= wide
		}
	}
	return loops
}

// returns says whether every sequence of bytes within the ranges leads from s to back. A range that is zero is none.
func (c *cache) returns(s, back *set, ranges [][2]byte) bool {
	if len(ranges) == 0 || ranges[0][1] == 0 {
		return s == back
	}
	last := -1
	for b := int(ranges[0][0]); b <= int(ranges[0][1]); b++ {
		if class := int(c.g.class[b]); class != last {
			last = class
			if next := c.step(s, byte(b)); next == c.none || !c.returns(next, back, ranges[1:]) {
				return false
			}
		}
	}
	return true
}
