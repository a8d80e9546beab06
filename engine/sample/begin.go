package sample

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"

	"github.com/skein-project/skein/grammar"
	"github.com/skein-project/skein/model"
)

// Begin is what a sequence begins with whose tokens do not follow from its newest logits alone: what State is made of.
type Begin struct {
	Prompt     []byte          `json:"prompt,omitempty"` // set of the prompt's tokens: bit t%8 of byte t/8; only where repetition is penalised
	Given      Tokens          `json:"given,omitempty"`  // the answer so far, where it goes on from elsewhere
	Bias       []Bias          `json:"bias,omitempty"`
	Constraint *grammar.Source `json:"constraint,omitempty"` // what the answer must look like; nil = like anything
	Marks      []string        `json:"marks,omitempty"`      // special tokens that are text of the answer
	EOS        []int32         `json:"eos,omitempty"`        // what ends an answer, where Constraint says when it may end
}

// Bias is added to the logit of a token.
type Bias struct {
	Token int32   `json:"token"`
	Add   float64 `json:"add"` // −model.MaxBias..model.MaxBias
}

// Validate checks what can be checked for a vocabulary of so many tokens. Errors wrap model.Invalid.
func (b *Begin) Validate(vocab int) error {
	bad := func(what, format string, args ...any) error {
		return fmt.Errorf("sample: %w", model.Invalid{What: what, Why: fmt.Sprintf(format, args...)})
	}
	if len(b.Prompt) > (vocab+7)/8 {
		return bad("prompt", "a set of %d tokens, the vocabulary has %d", 8*len(b.Prompt), vocab)
	}
	if len(b.Bias) > model.MaxBiases {
		return bad("logit_bias", "%d tokens, at most %d", len(b.Bias), model.MaxBiases)
	}
	for _, x := range b.Bias {
		if x.Token < 0 || int(x.Token) >= vocab {
			return bad("logit_bias", "token %d is not in a vocabulary of %d", x.Token, vocab)
		}
		if math.IsNaN(x.Add) || math.Abs(x.Add) > model.MaxBias {
			return bad("logit_bias", "%v of token %d is not in %d..%d", x.Add, x.Token, -model.MaxBias, model.MaxBias)
		}
	}
	for _, list := range [][]int32{b.Given, b.EOS} {
		for _, t := range list {
			if t < 0 || int(t) >= vocab {
				return bad("tokens", "token %d is not in a vocabulary of %d", t, vocab)
			}
		}
	}
	return nil
}

// SetOf is the set of tokens in the form of Begin.Prompt. Tokens must not be negative.
func SetOf(tokens []int32) []byte {
	var set []byte
	for _, t := range tokens {
		if at := int(t / 8); at >= len(set) {
			set = append(set, make([]byte, at+1-len(set))...)
		}
		set[t/8] |= 1 << (t % 8)
	}
	return set
}

// Tokens travel as base64 of little-endian 32-bit numbers: an answer may be long, and a message is bounded.
type Tokens []int32

// MarshalJSON implements json.Marshaler.
func (t Tokens) MarshalJSON() ([]byte, error) {
	b := make([]byte, 4*len(t))
	for i, v := range t {
		binary.LittleEndian.PutUint32(b[4*i:], uint32(v))
	}
	return json.Marshal(base64.StdEncoding.EncodeToString(b))
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Tokens) UnmarshalJSON(raw []byte) error {
	var b []byte
	if err := json.Unmarshal(raw, &b); err != nil {
		return err
	}
	if len(b)%4 != 0 {
		return fmt.Errorf("sample: %d bytes are no tokens", len(b))
	}
	*t = make(Tokens, len(b)/4)
	for i := range *t {
		(*t)[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return nil
}
