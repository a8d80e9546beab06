package engine_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/skein-project/skein/shard"
	"github.com/skein-project/skein/spans"
	"github.com/skein-project/skein/token"
)

// TestTokens: the tokenizer of each fixture turns the reference's texts into its ids, and its ids into its texts; and the reference is
// one: enough texts, each as long and as clear as it has to be.
func TestTokens(t *testing.T) {
	special := token.EncodeOptions{AddSpecial: true}
	for _, name := range decoders {
		f := open(t, name)
		whole := 0
		for _, p := range f.Prompts {
			e, err := f.tokenizer.Encode(p.Text, special)
			if err != nil || !slices.Equal(e.IDs, p.IDs) {
				t.Errorf("%s: %q is %v, want %v: %v", name, p.Text, e.IDs, p.IDs, err)
			}
			if got := f.tokenizer.Decode(p.Greedy.IDs, true); got != p.Greedy.Text {
				t.Errorf("%s: %v is %q, want %q", name, p.Greedy.IDs, got, p.Greedy.Text)
			}
			if len(p.Greedy.IDs) != 64 || p.Greedy.MinGap <= 1e-3 {
				t.Errorf("%s: a greedy text of %d tokens, clear by %g", name, len(p.Greedy.IDs), p.Greedy.MinGap)
			}
			if p.Logits != nil {
				whole++
			}
		}
		if len(f.Prompts) < 3 || whole == 0 {
			t.Errorf("%s: %d prompts, %d with all logits", name, len(f.Prompts), whole)
		}
	}
	for _, name := range encoders {
		f := open(t, name)
		pairs := 0
		for _, in := range f.Inputs {
			e, err := f.tokenizer.Encode(in.Text, special)
			if in.Pair != "" {
				pairs++
				e, err = f.tokenizer.EncodePair(in.Text, in.Pair, special)
			}
			if err != nil || !slices.Equal(e.IDs, in.IDs) || !slices.Equal(e.TypeIDs, in.TypeIDs) {
				t.Errorf("%s: %q and %q are %v of %v, want %v of %v: %v", name, in.Text, in.Pair, e.IDs, e.TypeIDs, in.IDs, in.TypeIDs, err)
			}
			if len(in.Hidden) == 0 || len(in.Vector) == 0 && len(in.Scores) == 0 {
				t.Errorf("%s: no answer to %q", name, in.Text)
			}
		}
		if len(f.Inputs) < 3 || pairs == 0 || len(f.Batch.Rows) < 3 {
			t.Errorf("%s: %d inputs, %d pairs, a batch of %d", name, len(f.Inputs), pairs, len(f.Batch.Rows))
		}
	}
}

// heldOut reads the questions that training of an example model never saw.
func heldOut[Q any](t *testing.T, name string) (list []Q) {
	t.Helper()
	file, err := os.Open(filepath.Join("..", "examples", name, "heldout.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var q Q
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			t.Fatal(err)
		}
		list = append(list, q)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// maxExample is how many bytes the weights of an example may have.
const maxExample = 8 << 20

func example(t *testing.T, name string) fixture {
	t.Helper()
	if st, err := os.Stat(filepath.Join("..", "examples", name, "model.safetensors")); err != nil || st.Size() > maxExample {
		t.Errorf("%s: %v, want at most %d bytes of weights", name, err, maxExample)
	}
	return folder(t, filepath.Join("examples", name))
}

// TestCalc: at least 99 of 100 held-out sums and sortings are right to the letter, cut in two.
func TestCalc(t *testing.T) {
	runtimeOf(t)
	f := example(t, "calc")
	p := f.cut(t, shard.Serving{Slots: 1, Context: 128}, 3)
	vocab := f.manifest.Config.Vocab
	questions := heldOut[struct{ Prompt, Answer string }](t, "calc")
	right := 0
	for _, q := range questions {
		e, err := f.tokenizer.Encode(q.Prompt, token.EncodeOptions{AddSpecial: true})
		if err != nil {
			t.Fatal(err)
		}
		logits := p.prefill(t, 0, e.IDs, len(e.IDs))
		var answer []int32
		for len(answer) < 32 {
			next := argmax(logits[len(logits)-vocab:])
			if slices.Contains(f.manifest.EOS, next) {
				break
			}
			logits = p.decode(t, 0, []int32{next}, []int32{int32(len(e.IDs) + len(answer))})
			answer = append(answer, next)
		}
		if f.tokenizer.Decode(answer, true) == q.Answer {
			right++
		}
	}
	if n := len(questions); n < 500 || right*100 < 99*n {
		t.Errorf("%d of %d are right", right, n)
	}
}

// TestTriage: at least 95 of 100 messages, of forms that training never saw, get the right label.
func TestTriage(t *testing.T) {
	runtimeOf(t)
	f := example(t, "triage")
	p := f.cut(t, shard.Serving{Slots: 1, Context: 64}, 1)
	messages := heldOut[struct{ Text, Label string }](t, "triage")
	right := 0
	for _, m := range messages {
		e, err := f.tokenizer.Encode(m.Text, token.EncodeOptions{AddSpecial: true})
		if err != nil {
			t.Fatal(err)
		}
		if out := p.encode(t, len(e.IDs), 0, row{e.IDs, e.TypeIDs}); f.manifest.Labels[argmax(out.Logits)] == m.Label {
			right++
		}
	}
	if n := len(messages); n < 300 || right*100 < 95*n {
		t.Errorf("%d of %d are right", right, n)
	}
}

// TestSegment: at least 95 of 100 Chinese sentences, which training never saw, are cut into the right words throughout.
func TestSegment(t *testing.T) {
	runtimeOf(t)
	f := example(t, "segment")
	p := f.cut(t, shard.Serving{Slots: 1, Context: 128}, 1)
	sentences := heldOut[struct {
		Text  string
		Words []string
	}](t, "segment")
	right := 0
	for _, s := range sentences {
		e, err := f.tokenizer.Encode(s.Text, token.EncodeOptions{AddSpecial: true})
		if err != nil {
			t.Fatal(err)
		}
		out := p.encode(t, len(e.IDs), 0, row{e.IDs, e.TypeIDs})
		var tokens []spans.Token
		for i, word := range e.Words {
			if word >= 0 {
				tokens = append(tokens, spans.Token{At: e.Offsets[i], Word: word, Scores: out.Logits[i*out.Labels:][:out.Labels]})
			}
		}
		found, err := spans.Join(tokens, f.manifest.Labels, spans.Simple, false)
		if err != nil {
			t.Fatal(err)
		}
		var words []string
		for _, w := range found {
			words = append(words, s.Text[w.At.From:w.At.To])
		}
		if slices.Equal(words, s.Words) {
			right++
		}
	}
	if n := len(sentences); n < 300 || right*100 < 95*n {
		t.Errorf("%d of %d are right", right, n)
	}
}
