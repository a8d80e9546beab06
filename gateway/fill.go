package gateway

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/token"
	"github.com/skein-project/skein/wire"
)

// defaultFills is how many tokens a mask is given where the request does not say.
const defaultFills = 5

// Fill is a token that a mask may stand for.
type Fill struct {
	ID       int32
	Text     string
	Score    float32 // probability
	Sequence string  // the text with this mask filled
}

// fill finds the most likely tokens for the masks of texts: by text and mask.
func (s *Server) fill(ctx context.Context, t *text, texts []string, top int) (out [][][]Fill, tokens int, err error) {
	if !t.manifest.Can(model.FillMask) {
		return nil, 0, &Error{Fault: FaultTask, Param: "model", Why: fmt.Sprintf("%s fills no masks", t.version)}
	}
	if top == 0 {
		top = defaultFills
	}
	if top < 1 || top > model.MaxTopLogprobs {
		return nil, 0, invalid("top", "top is %d, want 1 to %d", top, model.MaxTopLogprobs)
	}
	if err := s.inputs(len(texts)); err != nil {
		return nil, 0, err
	}
	var encoded []token.Encoding
	var rows []wire.EncodeRow
	for i, x := range texts {
		e, row, err := t.masked(i, x)
		if err != nil {
			return nil, 0, err
		}
		tokens += len(row.IDs)
		encoded, rows = append(encoded, e), append(rows, row)
	}
	filled, err := s.encode(ctx, t, rows, wire.EncodeWant{Top: top})
	if err != nil {
		return nil, 0, err
	}
	for i, f := range filled {
		if len(f.Fills) != len(rows[i].Masks) {
			return nil, 0, &Error{Fault: FaultUnavailable, Param: "model", Why: "the replica fills no masks yet: its node runs an older program"}
		}
		masks := make([][]Fill, len(f.Fills))
		for j, list := range f.Fills {
			for _, x := range list {
				masks[j] = append(masks[j], Fill{ID: x.Token, Text: t.spell(x.Token), Score: float32(math.Exp(float64(x.Logprob))), Sequence: t.filled(encoded[i], rows[i].Masks, j, x.Token)})
			}
		}
		out = append(out, masks)
	}
	return out, tokens, nil
}

// masked turns a text with masks into a row. Of all special tokens that a text may spell only the mask is read.
func (t *text) masked(i int, x string) (e token.Encoding, row wire.EncodeRow, err error) {
	if t.tokenizer == nil {
		return e, row, errNoTokenizer
	}
	id, ok := t.tokenizer.MASK()
	spelt := t.specials["mask_token"]
	if !ok || spelt == "" {
		return e, row, &Error{Fault: FaultTask, Param: "model", Why: "the model's tokenizer has no mask"}
	}
	var literal []token.Span
	for from := 0; from < len(x); {
		at, next := strings.Index(x[from:], spelt), len(x)
		to := next
		if at >= 0 {
			to, next = from+at, from+at+len(spelt)
		}
		if to > from {
			literal = append(literal, token.Span{From: int32(from), To: int32(to)})
		}
		from = next
	}
	if e, err = t.tokenizer.Encode(x, token.EncodeOptions{AddSpecial: true, ParseSpecial: true, Literal: literal}); err != nil {
		return e, row, err
	}
	row = t.row(e)
	for at, token := range e.IDs {
		if token == id && e.Words[at] >= 0 {
			row.Masks = append(row.Masks, int32(at))
		}
	}
	if n := len(row.Masks); n < 1 || n > model.MaxMasks {
		return e, row, invalid("texts", "text %d has %d masks, want 1 to %d: a mask is written %s", i, n, model.MaxMasks, spelt)
	}
	return e, row, nil
}

// filled is a text with one of its masks filled. Other masks stay; without any, special tokens are left out, as the reference implementation
// does (Hugging Face transformers, FillMaskPipeline).
func (t *text) filled(e token.Encoding, masks []int32, mask int, id int32) string {
	var ids []int32
	for i, x := range e.IDs {
		if i == int(masks[mask]) {
			x = id
		}
		if e.Words[i] >= 0 { // else it is of the template
			ids = append(ids, x)
		}
	}
	return valid(t.tokenizer.Decode(ids, len(masks) == 1))
}
