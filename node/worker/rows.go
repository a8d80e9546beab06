package worker

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/engine/batch"
	"github.com/skein-project/skein/engine/sample"
	"github.com/skein-project/skein/grammar"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/token"
)

// Bounds of what a stage keeps for constraints.
const (
	maxGrammars     = 16 // compiled, whether or not a sequence uses one; more are forgotten by turns
	maxVocabularies = 4  // of one tokenizer, with other special tokens that show
)

// rows is what a last stage remembers of the sequences in its KV rows, and what it needs to constrain them.
type rows struct {
	manifest *model.Manifest
	files    func(blob.Digest) (string, error)
	states   map[int]*sample.State // by row; of sequences that have one
	scratch  sample.Scratch

	mu           sync.Mutex // of what follows: grammars are compiled beside the device's work
	tokenizer    *token.Tokenizer
	vocabularies map[string]*grammar.Vocabulary // by the special tokens that show
	grammars     map[[sha256.Size]byte]*compiled
	order        [][sha256.Size]byte // of grammars, the oldest first
}

// compiled is a constraint of a vocabulary. Its grammar is used where the stage steps, and nowhere else.
type compiled struct {
	grammar    *grammar.Grammar
	vocabulary *grammar.Vocabulary
	err        error
}

func newRows(m *model.Manifest, files func(blob.Digest) (string, error)) *rows {
	return &rows{manifest: m, files: files, states: map[int]*sample.State{}, vocabularies: map[string]*grammar.Vocabulary{}, grammars: map[[sha256.Size]byte]*compiled{}}
}

// choose chooses what follows in a row.
func (r *rows) choose(row int, logits []float32, w batch.Want) (sample.Choice, error) {
	state := r.states[row]
	switch {
	case w.Begin != nil:
		var err error
		if state, err = r.begin(w.Begin); err != nil {
			delete(r.states, row)
			return sample.Choice{Failed: err.Error()}, nil //nolint:nilerr // it is told of this sequence alone
		}
		r.states[row] = state
	case !w.Goes:
		if state != nil {
			delete(r.states, row)
		}
		return sample.Choose(logits, w.Sampling, w.Position)
	case state == nil:
		return sample.Choice{}, fmt.Errorf("%w: nothing is known of a sequence that goes on", errFrame)
	}
	c, err := state.Choose(logits, w.Sampling, w.Position, &r.scratch)
	if errors.Is(err, sample.ErrDeadEnd) {
		return sample.Choice{Failed: err.Error()}, nil
	}
	return c, err
}

// begin makes the state of a sequence.
func (r *rows) begin(b *sample.Begin) (*sample.State, error) {
	if b.Constraint == nil {
		return sample.NewState(b, nil)
	}
	c := r.compile(b)
	if c.err != nil {
		return nil, c.err
	}
	return sample.NewState(b, c.grammar.Start(c.vocabulary))
}

// prepare compiles what sequences of a step begin with, before the device is asked for its time.
func (r *rows) prepare(wants []batch.Want) {
	for _, w := range wants {
		if w.Begin != nil && w.Begin.Constraint != nil {
			r.compile(w.Begin)
		}
	}
}

// compile finds the grammar of a constraint, or makes it.
func (r *rows) compile(b *sample.Begin) *compiled {
	r.mu.Lock()
	defer r.mu.Unlock()
	raw, err := json.Marshal(struct {
		Source *grammar.Source
		Marks  []string
	}{b.Constraint, b.Marks})
	if err != nil {
		return &compiled{err: err}
	}
	key := sha256.Sum256(raw)
	if c := r.grammars[key]; c != nil {
		return c
	}
	c := &compiled{}
	if c.vocabulary, c.err = r.vocabulary(b.Marks); c.err != nil {
		return c // it may be another time
	}
	c.grammar, c.err = grammar.Compile(*b.Constraint)
	if len(r.order) >= maxGrammars {
		delete(r.grammars, r.order[0])
		r.order = r.order[1:]
	}
	r.grammars[key], r.order = c, append(r.order, key)
	return c
}

// vocabulary is the bytes of all tokens, with those of marks, which are special. The tokenizer is read when the first one is asked for.
func (r *rows) vocabulary(marks []string) (*grammar.Vocabulary, error) {
	if r.tokenizer == nil {
		t, err := r.loadTokenizer()
		if err != nil {
			return nil, err
		}
		r.tokenizer = t
	}
	key := strings.Join(marks, "\x00")
	if v := r.vocabularies[key]; v != nil {
		return v, nil
	}
	if len(r.vocabularies) >= maxVocabularies {
		clear(r.vocabularies)
	}
	v := grammar.NewVocabulary(r.tokenizer.Texts(r.manifest.Config.Vocab, marks))
	r.vocabularies[key] = v
	return v, nil
}

// loadTokenizer reads the tokenizer's files, which came with the stage.
func (r *rows) loadTokenizer() (*token.Tokenizer, error) {
	files := map[string][]byte{}
	for _, name := range token.Files() {
		ref, ok := r.manifest.Files[name]
		if !ok {
			continue
		}
		path, err := r.files(ref.Digest)
		if err == nil {
			files[name], err = readFile(path, ref.Len)
		}
		if err != nil {
			return nil, fmt.Errorf("worker: read %s: %w", name, err)
		}
		if blob.Of(files[name]).Digest() != ref.Digest {
			return nil, fmt.Errorf("worker: read %s: %w", name, blob.ErrCorrupt)
		}
	}
	t, err := token.Load(files)
	if err != nil {
		return nil, fmt.Errorf("worker: load the tokenizer: %w", err)
	}
	return t, nil
}

// readFile reads a file of so many bytes.
func readFile(path string, size int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, size)
	_, err = io.ReadFull(f, b)
	return b, err
}
