package grammar

import "unicode/utf8"

// groups is a set of groups of characters. A group is plain in a state if all its characters lead to the same state, which often is the state
// itself. Where tokens consist of such characters, there is no need to walk through them.
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

// manyChars is as many characters of a suffix as are counted.
const manyChars = 255

// suffix is what the end of a token consists of.
type suffix struct {
	groups groups
	chars  uint8 // characters, or bytes that are none
}

// join is the suffix with a character of a group before it.
func (s suffix) join(g groups) suffix {
	return suffix{s.groups | g, uint8(min(manyChars, int(s.chars)+1))}
}

// most is the suffix that stands for both.
func (s suffix) most(t suffix) suffix { return suffix{s.groups | t.groups, max(s.chars, t.chars)} }

// suffixes is, by i, what t[i:] consists of.
func suffixes(dst []suffix, t []byte) []suffix {
	dst = append(dst[:0], make([]suffix, len(t)+1)...)
	for i := len(t) - 1; i >= 0; i-- {
		switch r, size := utf8.DecodeRune(t[i:]); {
		case r < utf8.RuneSelf:
			dst[i] = dst[i+1].join(groupOf(t[i]))
		case r == utf8.RuneError && size == 1:
			dst[i] = dst[i+1].join(broken)
		default:
			dst[i] = dst[i+size].join(wide)
		}
	}
	return dst
}

// oftenVisited is how often a walk visits a state until it is looked at for what is plain in it.
const oftenVisited = 32

// visit counts a visit in a walk.
func (c *cache) visit(s *set) {
	if s.visits++; s.visits == oftenVisited {
		s.plain = c.plainOf(s)
	}
}

// skips says whether all tokens below a place, of which the last byte led to s, are admitted, because their characters are plain in the states that
// they lead to. To leave out nothing that a walk counts, it meets these states, and says no where a part that is looked at by itself may end.
func (c *cache) skips(p *place, s *set) bool {
	if p.below&^s.plain != 0 {
		return false
	}
	for left := p.chars; left > 0; left-- {
		next := s.follow
		if next == s {
			return true
		}
		if left == manyChars || next.exit || next.cut || next.walk != c.walks && !c.meet(next) || p.below&^c.plainOf(next) != 0 && left > 1 {
			return false
		}
		s = next
	}
	return true
}

// plainOf is the groups of which every character leads from s to one state, follow.
func (c *cache) plainOf(s *set) groups {
	if s.follow != nil {
		return s.plains
	}
	s.follow = c.none
	for _, b := range []byte("e5 E") {
		if s.follow == c.none {
			s.follow = c.step(s, b)
		}
	}
	if s.follow == c.none {
		return 0
	}
	plain := ^broken
	for b := range byte(utf8.RuneSelf) {
		if g := groupOf(b); plain&g != 0 && c.step(s, b) != s.follow {
			plain &^= g
		}
	}
	for _, seq := range [][4][2]byte{ // of bytes that are one character
		{{0xc2, 0xdf}, {0x80, 0xbf}},
		{{0xe0, 0xe0}, {0xa0, 0xbf}, {0x80, 0xbf}},
		{{0xe1, 0xec}, {0x80, 0xbf}, {0x80, 0xbf}},
		{{0xed, 0xed}, {0x80, 0x9f}, {0x80, 0xbf}},
		{{0xee, 0xef}, {0x80, 0xbf}, {0x80, 0xbf}},
		{{0xf0, 0xf0}, {0x90, 0xbf}, {0x80, 0xbf}, {0x80, 0xbf}},
		{{0xf1, 0xf3}, {0x80, 0xbf}, {0x80, 0xbf}, {0x80, 0xbf}},
		{{0xf4, 0xf4}, {0x80, 0x8f}, {0x80, 0xbf}, {0x80, 0xbf}},
	} {
		if plain&wide != 0 && !c.leads(s, s.follow, seq[:]) {
			plain &^= wide
		}
	}
	s.plains = plain
	return plain
}

// leads says whether every sequence of bytes within the ranges leads from s to to. A range that is zero is none.
func (c *cache) leads(s, to *set, ranges [][2]byte) bool {
	if len(ranges) == 0 || ranges[0][1] == 0 {
		return s == to
	}
	last := -1
	for b := int(ranges[0][0]); b <= int(ranges[0][1]); b++ {
		if class := int(c.g.class[b]); class != last {
			last = class
			if next := c.step(s, byte(b)); next == c.none || !c.leads(next, to, ranges[1:]) {
				return false
			}
		}
	}
	return true
}
