package worker

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
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
	maxGrammars     = 16 // compiled, whether or not a sequence uses one; of more, the one whose last use is longest ago is forgotten
	maxVocabularies = 4  // of one tokenizer, with other special tokens that show
)

// errVocabulary is a fault of this worker, of which nobody else is told more.
var errVocabulary = errors.New("worker: the tokenizer cannot be read here")

// rows is what a last stage remembers of the sequences in its KV rows, and what it needs to constrain them.
type rows struct {
	manifest *model.Manifest
	files    func(blob.Digest) (string, error)
	log      *slog.Logger
	states   map[int]steered // by row; of sequences that have a state
	scratch  sample.Scratch
	warming  chan struct{} // the ticket to compile before a step: a step waits for one other grammar at most

	making       sync.Mutex // of what follows: grammars are compiled beside the device's work, one after the other
	tokenizer    *token.Tokenizer
	vocabularies map[string]*grammar.Vocabulary // by the special tokens that show

	mu       sync.Mutex // of what follows
	grammars map[[sha256.Size]byte]*compiled
	order    [][sha256.Size]byte // of grammars, the one used last at the end
}

// steered is the state of a sequence, and the tokens that end it.
type steered struct {
	*sample.State
	eos []int32
}

// compiled is a constraint of a vocabulary. Its grammar is used where the stage steps, and nowhere else.
type compiled struct {
	grammar    *grammar.Grammar
	vocabulary *grammar.Vocabulary
	err        error
}

func newRows(m *model.Manifest, files func(blob.Digest) (string, error), log *slog.Logger) *rows {
	return &rows{manifest: m, files: files, log: log, states: map[int]steered{}, warming: make(chan struct{}, 1),
		vocabularies: map[string]*grammar.Vocabulary{}, grammars: map[[sha256.Size]byte]*compiled{}}
}

// choose chooses what follows in a row. c is what the sequence's constraint was compiled to, if it begins with one.
func (r *rows) choose(row int, logits []float32, w batch.Want, c *compiled) (sample.Choice, error) {
	state, there := r.states[row]
	switch {
	case w.Begin != nil:
		s, err := begin(w.Begin, c)
		if err != nil {
			delete(r.states, row)
			return sample.Choice{Failed: err.Error(), Elsewhere: errors.Is(err, errVocabulary)}, nil // it is told of this sequence alone
		}
		state = steered{s, w.Begin.EOS}
		r.states[row] = state
	case !w.Goes:
		if there {
			delete(r.states, row)
		}
		return sample.Choose(logits, w.Sampling, w.Position)
	case !there:
		return sample.Choice{}, fmt.Errorf("%w: nothing is known of a sequence that goes on", errFrame)
	}
	next, err := state.Choose(logits, w.Sampling, w.Position, &r.scratch)
	if err != nil || next.Token == sample.End || slices.Contains(state.eos, next.Token) {
		delete(r.states, row) // it is over, whoever takes the row next
	}
	if errors.Is(err, sample.ErrDeadEnd) {
		return sample.Choice{Failed: err.Error()}, nil
	}
	return next, err
}

// begin makes the state of a sequence.
func begin(b *sample.Begin, c *compiled) (*sample.State, error) {
	if c == nil {
		return sample.NewState(b, nil)
	}
	if c.err != nil {
		return nil, c.err
	}
	return sample.NewState(b, c.grammar.Start(c.vocabulary))
}

// prepare compiles what sequences of a step begin with, before the device is asked for its time: one for each want, nil where there is
// nothing to compile.
func (r *rows) prepare(wants []batch.Want) []*compiled {
	list := make([]*compiled, len(wants))
	for i, w := range wants {
		if w.Begin != nil && w.Begin.Constraint != nil {
			list[i] = r.compile(w.Begin)
		}
	}
	return list
}

// warm compiles what a sequence will begin with, so that no step waits for it. It gives up when the caller is gone.
func (r *rows) warm(ctx context.Context, b *sample.Begin) {
	if b == nil || b.Constraint == nil {
		return
	}
	select {
	case r.warming <- struct{}{}:
		r.compile(b)
		<-r.warming
	case <-ctx.Done():
	}
}

// compile finds the grammar of a constraint, or makes it.
func (r *rows) compile(b *sample.Begin) *compiled {
	raw, err := json.Marshal(struct {
		Source *grammar.Source
		Marks  []string
	}{b.Constraint, b.Marks})
	if err != nil {
		return &compiled{err: err}
	}
	key := sha256.Sum256(raw)
	if c := r.known(key); c != nil {
		return c
	}
	r.making.Lock()
	defer r.making.Unlock()
	if c := r.known(key); c != nil {
		return c
	}
	c := &compiled{}
	if c.vocabulary, c.err = r.vocabulary(b.Marks); c.err != nil {
		r.log.Error("no constraints", "err", c.err)
		c.err = errVocabulary
		return c // it may be another time
	}
	c.grammar, c.err = grammar.Compile(*b.Constraint)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.order) >= maxGrammars {
		delete(r.grammars, r.order[0])
		r.order = r.order[1:]
	}
	r.grammars[key], r.order = c, append(r.order, key)
	return c
}

// known finds a grammar that is compiled, and notes its use.
func (r *rows) known(key [sha256.Size]byte) *compiled {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.grammars[key]
	if c != nil {
		at := slices.Index(r.order, key)
		r.order = append(slices.Delete(r.order, at, at+1), key)
	}
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
