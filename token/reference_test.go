package token_test

import (
	"bufio"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// pythonScript returns a command that runs make_token_fixtures.py with the Python that SKEIN_PYTHON names, which must
// have the tokenizers package.
func pythonScript(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	python := os.Getenv("SKEIN_PYTHON")
	if python == "" {
		t.Skip("SKEIN_PYTHON is not set: it names a Python with the reference library")
	}
	script := filepath.Join("..", "tools", "py", "make_token_fixtures.py")
	cmd := exec.Command(python, append([]string{script}, args...)...)
	cmd.Stderr = os.Stderr
	return cmd
}

// oracle asks the reference library about one text after another.
type oracle struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func startOracle(t *testing.T, name string) *oracle {
	t.Helper()
	cmd := pythonScript(t, "--oracle", filepath.Join("testdata", name, "tokenizer.json"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("oracle: %v", err)
		}
	})
	return &oracle{in: in, out: bufio.NewReaderSize(out, 1<<20)}
}

func (o *oracle) ask(t *testing.T, text string) (a answer) {
	t.Helper()
	line, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.in.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	reply, err := o.out.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(reply, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// randomTexts makes texts of pieces, code points of all kinds, white space and special tokens.
type randomTexts struct {
	rng    *rand.Rand
	pieces []string
}

func newRandomTexts(t testing.TB, seed uint64) *randomTexts {
	texts := readJSON[fixtureTexts](t, "texts.json")
	g := &randomTexts{rng: rand.New(rand.NewPCG(seed, 0))}
	for _, s := range texts.Texts {
		g.pieces = append(g.pieces, strings.Fields(s)...)
		if s != "" {
			g.pieces = append(g.pieces, s)
		}
	}
	g.pieces = append(g.pieces, "<s>", "</s>", "<mask>", "[CLS]", "[MASK]", "NAME", "[TAIL]", "[HEAD]", "the the",
		"<|im_start|>", "<|endoftext|>", "<|eot_id|>", "<tool_call>", "<0x41>", "##ing", "'s", "'LL", "'ſ", "▁", "Ġ")
	return g
}

var randomRanges = [...][2]rune{
	{0, 0x7f}, {0x20, 0x7e}, {0x20, 0x7e}, {'a', 'z'}, {'A', 'Z'}, {'0', '9'}, {0x80, 0x24f}, {0x300, 0x36f}, {0x370, 0x5ff},
	{0x600, 0x8ff}, {0x900, 0xdff}, {0xe00, 0x11ff}, {0x1200, 0x1fff}, {0x2000, 0x206f}, {0x2070, 0x2fff}, {0x3000, 0x30ff},
	{0x4e00, 0x9fff}, {0xac00, 0xd7a3}, {0xf900, 0xffff}, {0x10000, 0x1ffff}, {0x1f1e6, 0x1f1ff}, {0x1f300, 0x1faff},
	{0x20000, 0x2fa1f}, {0xe0000, 0xe01ef},
}

func (g *randomTexts) next() string {
	var out strings.Builder
	r := randomRanges[g.rng.IntN(len(randomRanges))]
	kinds := 1 + g.rng.IntN(8)
	for range 1 + g.rng.IntN(1<<g.rng.IntN(8)) {
		switch g.rng.IntN(kinds) {
		case 0:
			out.WriteString(string(r[0] + g.rng.Int32N(r[1]-r[0]+1)))
		case 1:
			out.WriteString(g.pieces[g.rng.IntN(len(g.pieces))])
		case 2:
			out.WriteString(strings.Repeat(" ", 1+g.rng.IntN(3)))
		case 3:
			out.WriteString([]string{"\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\u0085", " \n"}[g.rng.IntN(8)])
		case 4:
			s := randomRanges[g.rng.IntN(len(randomRanges))]
			out.WriteString(string(s[0] + g.rng.Int32N(s[1]-s[0]+1)))
		case 5:
			out.WriteString(string(rune('a' + g.rng.IntN(26))))
		case 6:
			out.WriteString([]string{"'s", "'T", "'re", "1", "23", "/", ".", ",", "-", "'"}[g.rng.IntN(10)])
		case 7:
			r = randomRanges[g.rng.IntN(len(randomRanges))]
		}
	}
	return out.String()
}

// TestReference compares random texts with the reference library. SKEIN_TOKEN_TEXTS is the number of texts for each
// tokenizer (default 300), SKEIN_TOKEN_SEED their seed (default 1).
func TestReference(t *testing.T) {
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return otherwise
	}
	for _, name := range fixtureNames {
		t.Run(name, func(t *testing.T) {
			o := startOracle(t, name)
			tok := loadFixture(t, name)
			g := newRandomTexts(t, uint64(number("SKEIN_TOKEN_SEED", 1)))
			bad := 0
			for range number("SKEIN_TOKEN_TEXTS", 300) {
				text := g.next()
				if !compare(t, tok, text, o.ask(t, text), !coarseOffsets(name)) {
					if bad++; bad == 3 {
						t.Fatal("giving up")
					}
				}
			}
		})
	}
}
