package token_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/skein-project/skein/token"
	"pgregory.net/rapid"
)

// The bytes of tokens, joined, are what decoding them gives, without the space that is dropped where the text begins.
func TestBytesAgainstDecode(t *testing.T) {
	texts := readJSON[fixtureTexts](t, "texts.json").Texts
	for _, name := range fixtureNames {
		raw, err := os.ReadFile(filepath.Join("testdata", name, "tokenizer.json"))
		if err != nil {
			t.Fatal(err)
		}
		tok, err := token.Load(map[string][]byte{"tokenizer.json": raw})
		if err != nil {
			t.Fatal(err)
		}
		compared := 0
		var plain, first []int32 // tokens with bytes; those that a text may begin with
		for id := range int32(tok.VocabSize()) {
			if b, ok := tok.Bytes(id); ok {
				if plain = append(plain, id); !tok.DropsSpace() || strings.HasPrefix(string(b), " ") {
					first = append(first, id)
				}
			} else if tok.IsSpecial(id) != (tok.Decode([]int32{id}, true) == "") {
				t.Errorf("%s: no bytes of %d, %q", name, id, tok.Decode([]int32{id}, true))
			}
		}
		if len(plain) < tok.VocabSize()/2 {
			t.Errorf("%s: %d of %d tokens have bytes", name, len(plain), tok.VocabSize())
		}
		rapid.Check(t, func(t *rapid.T) {
			ids := append([]int32{rapid.SampledFrom(first).Draw(t, "first")}, rapid.SliceOfN(rapid.SampledFrom(plain), 0, 12).Draw(t, "ids")...)
			if rapid.Bool().Draw(t, "a text") {
				e, err := tok.Encode(rapid.SampledFrom(texts).Draw(t, "text"), token.EncodeOptions{})
				if err != nil {
					t.Fatal(err)
				}
				from := rapid.IntRange(0, len(e.IDs)).Draw(t, "from")
				ids = append(ids[:1:1], e.IDs[from:rapid.IntRange(from, len(e.IDs)).Draw(t, "to")]...)
			}
			var joined strings.Builder
			for _, id := range ids {
				b, ok := tok.Bytes(id)
				if !ok {
					return
				}
				joined.Write(b)
			}
			want := joined.String()
			if !utf8.ValidString(want) {
				return
			}
			if tok.DropsSpace() {
				want = want[1:]
			}
			compared++
			if got := tok.Decode(ids, true); got != want {
				t.Fatalf("%s: %d decode to %q, their bytes are %q", name, ids, got, want)
			}
		})
		if compared < 5 {
			t.Errorf("%s: only %d texts were compared", name, compared)
		}
	}
}
