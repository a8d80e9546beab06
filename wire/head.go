package wire

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/engine/sample"
	"github.com/skein-project/skein/grammar"
	"github.com/skein-project/skein/model"
)

// GenerateRequest asks the head of a replica to continue a sequence of tokens. Replica and Epoch fence: a worker that holds another
// placement refuses with CodeFailedPrecondition. Repeating a request with the tokens that were already given continues it exactly,
// since random numbers are a function of (seed, position).
type GenerateRequest struct {
	Replica   cluster.ReplicaID `json:"replica"`
	Epoch     cluster.Epoch     `json:"epoch"`
	Tokens    []int32           `json:"tokens"`
	Sampling  model.Sampling    `json:"sampling"`
	MaxTokens int               `json:"max_tokens"` // tokens still to be given, ≥ 1
	EOS       []int32           `json:"eos"`        // any of these ends the generation; it is not given

	// What follows, and penalties, programs before it do not know: a request that says any of it goes by Steer.
	Given      int             `json:"given,omitempty"` // of Tokens, the last ones, that are of the answer: it goes on
	Bias       []sample.Bias   `json:"bias,omitempty"`
	Constraint *grammar.Source `json:"constraint,omitempty"` // what the answer must look like, with EOS where it may end
	Marks      []string        `json:"marks,omitempty"`      // special tokens that are text of a constrained answer
}

// Steered says that the request must go by Steer.
func (r *GenerateRequest) Steered() bool {
	return r.Sampling.Penalised() || len(r.Bias) > 0 || r.Constraint != nil
}

// Begin is what the last stage must know of the sequence; nil = nothing. Given must be in 0..len(Tokens).
func (r *GenerateRequest) Begin() *sample.Begin {
	if !r.Steered() {
		return nil
	}
	prompt, given := r.Tokens[:len(r.Tokens)-r.Given], r.Tokens[len(r.Tokens)-r.Given:]
	b := &sample.Begin{Given: given, Bias: r.Bias}
	if r.Sampling.Repetition() {
		b.Prompt = sample.SetOf(prompt)
	}
	if r.Constraint != nil {
		b.Constraint, b.Marks, b.EOS = r.Constraint, r.Marks, r.EOS
	}
	return b
}

// Finish says why a generation ended.
type Finish string

// Reasons.
const (
	FinishStop   Finish = "stop"   // an EOS token was chosen
	FinishLength Finish = "length" // MaxTokens, or the replica's context
)

// GenerateResponse is what was generated since the last one.
type GenerateResponse struct {
	Tokens []sample.Choice `json:"tokens,omitempty"`
	Finish Finish          `json:"finish,omitempty"` // only in the last one
	Device int64           `json:"device,omitempty"` // microseconds that devices spent on it since the last one: of each step its part, all stages together
}

// EncodeRequest runs an encoder on rows of tokens, or a decoder where vectors or hidden states of them are wanted.
type EncodeRequest struct {
	Replica cluster.ReplicaID `json:"replica"`
	Epoch   cluster.Epoch     `json:"epoch"`
	Rows    []EncodeRow       `json:"rows"`
	Want    EncodeWant        `json:"want"`
}

// EncodeRow is one sequence with its segment ids (empty = all 0).
type EncodeRow struct {
	IDs   []int32 `json:"ids"`
	Types []int32 `json:"types,omitempty"`
	Masks []int32 `json:"masks,omitempty"` // places of the tokens to be filled in: at most model.MaxMasks
}

// EncodeWant says which outputs are sent back.
type EncodeWant struct {
	Hidden bool `json:"hidden,omitempty"` // [tokens, hidden]
	Vector bool `json:"vector,omitempty"` // [hidden]: pooled and normalised as the manifest declares
	Logits bool `json:"logits,omitempty"` // [labels]; of a model that labels tokens, or the ends of an answer, [tokens, labels]
	Pooled bool `json:"pooled,omitempty"` // [hidden]: what the model's own pooler gives
	Top    int  `json:"top,omitempty"`    // so many tokens for each mask, at most model.MaxTopLogprobs

	// Pooling asks for a Vector that is made in this way, whatever the manifest declares.
	Pooling   model.Pooling `json:"pooling,omitempty"`
	Normalize bool          `json:"normalize,omitempty"`
}

// How says how a vector is made of a row's tokens by a model; "" = none is wanted.
func (w EncodeWant) How(m *model.Manifest) (model.Pooling, bool) {
	switch {
	case w.Pooling != "":
		return w.Pooling, w.Normalize
	case w.Vector:
		return m.Pooling, m.Normalize
	}
	return "", false
}

// EncodeResponse holds the rows in order.
type EncodeResponse struct {
	Rows   []EncodedRow `json:"rows"`
	Device int64        `json:"device,omitempty"` // microseconds that devices spent on it, all stages together
}

// EncodedRow holds what was wanted of a row.
type EncodedRow struct {
	Hidden Floats `json:"hidden,omitempty"`
	Vector Floats `json:"vector,omitempty"`
	Logits Floats `json:"logits,omitempty"`
	Pooled Floats `json:"pooled,omitempty"`

	Fills [][]sample.TokenLogprob `json:"fills,omitempty"` // by mask: the most likely tokens, falling
}

// Floats travel as base64 of little-endian float32.
type Floats []float32

// MarshalJSON implements json.Marshaler.
func (f Floats) MarshalJSON() ([]byte, error) {
	b := make([]byte, 4*len(f))
	for i, v := range f {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
	}
	return json.Marshal(base64.StdEncoding.EncodeToString(b))
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *Floats) UnmarshalJSON(b []byte) error {
	var s []byte
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if len(s)%4 != 0 {
		return fmt.Errorf("wire: %d bytes are no float32s", len(s))
	}
	*f = make(Floats, len(s)/4)
	for i := range *f {
		(*f)[i] = math.Float32frombits(binary.LittleEndian.Uint32(s[4*i:]))
	}
	return nil
}
