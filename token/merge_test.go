package token

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// obvious merges by the definition: of all neighbours the pair of the lowest rank, the leftmost of equals, until none
// is left.
func obvious(ids []int32, merges map[uint64]uint64) []int32 {
	for {
		best, at := noRule, -1
		for i := range len(ids) - 1 {
			if r, ok := merges[pairKey(ids[i], ids[i+1])]; ok && r < best {
				best, at = r, i
			}
		}
		if at < 0 {
			return ids
		}
		ids = slices.Replace(ids, at, at+2, int32(uint32(best)))
	}
}

func TestMergesEqualTheObviousWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		letters := rapid.IntRange(1, 4).Draw(t, "letters")
		m := &bpe{unknown: none, chars: map[string]int32{}, merges: map[uint64]uint64{}}
		texts := []string{}
		for i := range letters {
			texts = append(texts, string(rune('a'+i)))
			m.chars[texts[i]] = int32(i)
		}
		for rank := range rapid.IntRange(0, 12).Draw(t, "merges") {
			left := rapid.IntRange(0, len(texts)-1).Draw(t, "left")
			right := rapid.IntRange(0, len(texts)-1).Draw(t, "right")
			id := slices.Index(texts, texts[left]+texts[right])
			if id < 0 {
				id = len(texts)
				texts = append(texts, texts[left]+texts[right])
			}
			m.merges[pairKey(int32(left), int32(right))] = ruleOf(rank, int32(id))
		}
		word := ""
		var ids []int32
		for range rapid.IntRange(1, 80).Draw(t, "length") {
			i := rapid.IntRange(0, letters-1).Draw(t, "letter")
			word += texts[i]
			ids = append(ids, int32(i))
		}
		want := obvious(ids, m.merges)
		for _, way := range []string{"short", "long"} {
			s := &scratch{symbols: m.spell(word, nil)}
			if way == "short" {
				s.symbols = m.mergeShort(s)
			} else {
				m.mergeLong(s)
			}
			var got []int32
			end := int32(0)
			for _, y := range s.symbols {
				if y.id == none {
					continue
				}
				if y.from != end || word[y.from:y.to] != texts[y.id] {
					t.Fatalf("%s: token %q at %d-%d of %q", way, texts[y.id], y.from, y.to, word)
				}
				end = y.to
				got = append(got, y.id)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%s: %q: got %v, want %v", way, word, got, want)
			}
		}
	})
}

func TestValidText(t *testing.T) {
	for _, c := range []struct{ in, want, rest string }{
		{"", "", ""},
		{"aé中👋", "aé中👋", ""},
		{"\xff", "\ufffd", ""},
		{"\xe2\x82", "", "\xe2\x82"},
		{"\xe2\x82A", "\ufffdA", ""},
		{"\xe2A", "\ufffdA", ""},
		{"\xf0\x9f\x98", "", "\xf0\x9f\x98"},
		{"\xf0\x9f\x98x", "\ufffdx", ""},
		{"\xf0\x80\x80\x80", "\ufffd\ufffd\ufffd\ufffd", ""},
		{"\xed\xa0\x80", "\ufffd\ufffd\ufffd", ""},
		{"\x80\x80", "\ufffd\ufffd", ""},
		{"\xf0\x9f\x91\xe2\x82\xac", "\ufffd€", ""},
		{"\ufffd", "\ufffd", ""},
	} {
		got, rest := validText([]byte(c.in), false)
		if got != c.want || string(rest) != c.rest {
			t.Errorf("%q: got %q and %q, want %q and %q", c.in, got, rest, c.want, c.rest)
		}
		if final, _ := validText([]byte(c.in), true); c.rest != "" && final != c.want+"\ufffd" {
			t.Errorf("%q at the end: got %q", c.in, final)
		}
	}
}

func TestByteAlphabet(t *testing.T) {
	seen := map[rune]bool{}
	for b, r := range byteRunes {
		back, ok := byteOf(r)
		if !ok || int(back) != b || seen[r] {
			t.Errorf("byte %d is %q, which is byte %d, %v", b, r, back, ok)
		}
		seen[r] = true
	}
	if _, ok := byteOf('中'); ok {
		t.Error("中 stands for a byte")
	}
	for c, r := range map[byte]rune{' ': 'Ġ', '\n': 'Ċ', 'a': 'a', 0xad: 'Ń'} {
		if byteRunes[c] != r {
			t.Errorf("byte %#x is %q, want %q", c, byteRunes[c], r)
		}
	}
}
