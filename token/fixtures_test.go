package token_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skein-project/skein/token"
)

// The fixtures are written by tools/py/make_token_fixtures.py with the reference library.

var fixtureNames = []string{
	"gpt2", "llama3", "qwen2", "bert-uncased", "bert-cased", "spm",
	"o200k", "tekken", "roberta", "digits", "metaspace", "mistral", "gemma", "added", "splits",
}

type fixtureTexts struct {
	Texts []string
	Pairs [][2]string
	Long  []longRule
}

type longRule struct {
	Name   string
	Seed   uint64
	Bytes  int
	Pieces []string
}

// line joins pieces chosen by a 64-bit linear congruential generator, as long_line of the script does.
func (r longRule) line() string {
	var out strings.Builder
	for state := r.Seed; out.Len() < r.Bytes; {
		state = state*6364136223846793005 + 1442695040888963407
		out.WriteString(r.Pieces[(state>>33)%uint64(len(r.Pieces))])
	}
	return out.String()
}

// answer is what the reference says of one text.
type answer struct {
	Normalized string
	Words      []int32 // offsets in the normalized text, flat as Offsets are
	IDs        []int32
	Offsets    []int32 // from, to, from, to, ...
	Special    []int32
	Literal    []int32
	Decoded    string
	Skipped    string
}

type fixtureExpected struct {
	Texts []answer
	Long  []struct {
		Count  int
		SHA256 string
	}
	Pairs []struct {
		IDs   []int32
		Types []int32
	}
}

func readJSON[T any](t testing.TB, parts ...string) (v T) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(append([]string{"testdata"}, parts...)...))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func loadFixture(t testing.TB, name string) *token.Tokenizer {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := token.Load(map[string][]byte{"tokenizer.json": raw})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return tok
}

func encode(t testing.TB, tok *token.Tokenizer, text string, opts token.EncodeOptions) token.Encoding {
	t.Helper()
	e, err := tok.Encode(text, opts)
	if err != nil {
		t.Fatalf("encode %.60q: %v", text, err)
	}
	if len(e.TypeIDs) != len(e.IDs) || len(e.Offsets) != len(e.IDs) {
		t.Fatalf("encode %.60q: %d ids, %d types, %d offsets", text, len(e.IDs), len(e.TypeIDs), len(e.Offsets))
	}
	return e
}

// compare checks one text against the reference. Offsets are compared where the reference's are exact.
func compare(t *testing.T, tok *token.Tokenizer, text string, want answer, offsets bool) bool {
	t.Helper()
	plain := encode(t, tok, text, token.EncodeOptions{ParseSpecial: true})
	ok := true
	differ := func(what string, got, want any) {
		t.Errorf("%s of %.200q:\n got %v\nwant %v", what, text, got, want)
		ok = false
	}
	if !slices.Equal(plain.IDs, want.IDs) {
		differ("ids", plain.IDs, want.IDs)
	}
	full := encode(t, tok, text, token.EncodeOptions{ParseSpecial: true, AddSpecial: true})
	if !slices.Equal(full.IDs, want.Special) {
		differ("ids with special tokens", full.IDs, want.Special)
	}
	if got := encode(t, tok, text, token.EncodeOptions{}).IDs; !slices.Equal(got, want.Literal) {
		differ("literal ids", got, want.Literal)
	}
	if got := tok.Decode(want.Special, false); got != want.Decoded {
		differ("decoded text", got, want.Decoded)
	}
	if got := tok.Decode(want.Special, true); got != want.Skipped {
		differ("decoded text without special tokens", got, want.Skipped)
	}
	if got := stream(tok, want.Special, true); got != want.Skipped {
		differ("streamed text", got, want.Skipped)
	}
	if got := flat(plain.Offsets); offsets && !slices.Equal(got, want.Offsets) {
		differ("offsets", got, want.Offsets)
	}
	normalized, words := token.Words(tok, text)
	if normalized != want.Normalized {
		differ("normalized text", normalized, want.Normalized)
	}
	if got := flat(words); !slices.Equal(got, want.Words) {
		differ("words", got, want.Words)
	}
	return ok
}

func flat(spans []token.Span) []int32 {
	var out []int32
	for _, s := range spans {
		out = append(out, s.From, s.To)
	}
	return out
}

func stream(tok *token.Tokenizer, ids []int32, skip bool) string {
	d := tok.NewDecoder(skip)
	var out strings.Builder
	for _, id := range ids {
		out.WriteString(d.Push(id))
	}
	out.WriteString(d.Flush())
	return out.String()
}

// coarseOffsets are the tokenizers with a Unicode normalization: there the reference aligns character by character and
// this package segment by segment.
func coarseOffsets(name string) bool {
	return slices.Contains([]string{"qwen2", "bert-uncased", "added", "digits", "splits"}, name)
}

func TestFixtures(t *testing.T) {
	texts := readJSON[fixtureTexts](t, "texts.json")
	for _, name := range fixtureNames {
		t.Run(name, func(t *testing.T) {
			tok := loadFixture(t, name)
			want := readJSON[fixtureExpected](t, name, "expected.json")
			for i, text := range texts.Texts {
				compare(t, tok, text, want.Texts[i], !coarseOffsets(name))
			}
			for i, p := range texts.Pairs {
				got, err := tok.EncodePair(p[0], p[1], token.EncodeOptions{AddSpecial: true, ParseSpecial: true})
				if err != nil {
					t.Fatal(err)
				}
				if w := want.Pairs[i]; !slices.Equal(got.IDs, w.IDs) || !slices.Equal(got.TypeIDs, w.Types) {
					t.Errorf("pair %q:\n got %v %v\nwant %v %v", p, got.IDs, got.TypeIDs, w.IDs, w.Types)
				}
			}
			for i, rule := range texts.Long {
				got := encode(t, tok, rule.line(), token.EncodeOptions{ParseSpecial: true}).IDs
				h := sha256.New()
				for _, id := range got {
					h.Write(binary.LittleEndian.AppendUint32(nil, uint32(id)))
				}
				if w := want.Long[i]; len(got) != w.Count || hex.EncodeToString(h.Sum(nil)) != w.SHA256 {
					t.Errorf("long line %q: %d ids, want %d with SHA-256 %s", rule.Name, len(got), w.Count, w.SHA256)
				}
			}
		})
	}
}
