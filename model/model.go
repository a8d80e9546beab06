// Package model describes a model: architecture, tensors, where their bytes are, what a request and an answer look like.
package model

import (
	"github.com/skein-project/skein/blob"
)

// Arch is a family of graphs that share one builder.
type Arch string

// Families.
const (
	GPT2  Arch = "gpt2"  // learned positions, LayerNorm, GELU, packed QKV in Conv1D layout [in, out]
	Llama Arch = "llama" // rotary positions, RMSNorm, gated SiLU, grouped-query attention: Llama, Mistral, Qwen2
	BERT  Arch = "bert"  // encoder: learned positions, segments, post-LayerNorm
	Graph Arch = "graph" // one ONNX graph as its maker wrote it, not cut: Manifest.Graph, GraphFile
)

// Decoder says whether the family generates text with a KV cache.
func (a Arch) Decoder() bool { return a == GPT2 || a == Llama }

// DType is the type of a tensor's elements, by its safetensors name.
type DType string

// Element types. Families with a builder of their own have weights of F32, F16 and BF16 only.
const (
	F64   DType = "F64"
	F32   DType = "F32"
	F16   DType = "F16"
	BF16  DType = "BF16"
	I64   DType = "I64"
	I32   DType = "I32"
	I16   DType = "I16"
	I8    DType = "I8"
	U64   DType = "U64"
	U32   DType = "U32"
	U16   DType = "U16"
	U8    DType = "U8"
	Bool  DType = "BOOL"  // one byte, 0 or 1
	Bytes DType = "BYTES" // strings of any bytes; no element size
)

// Size is the number of bytes of an element, 0 if the type is unknown or has none.
func (d DType) Size() int64 {
	switch d {
	case F64, I64, U64:
		return 8
	case F32, I32, U32:
		return 4
	case F16, BF16, I16, U16:
		return 2
	case I8, U8, Bool:
		return 1
	}
	return 0
}

// Weight says whether the families with a builder of their own compute with weights of this type.
func (d DType) Weight() bool { return d == F32 || d == F16 || d == BF16 }

// Block numbers outside the layers.
const (
	Embed = -1 // what stage 0 needs before the first block
	// Tail is Config.Layers: what the last stage needs after the last block (final norm, head, pooler, classifier).
)

// Tensor is a weight: its canonical name, the block it belongs to, and where its bytes are.
//
// Canonical names. Embed: embed.token [vocab, hidden], embed.position [positions, hidden], embed.type [types, hidden],
// embed.norm.weight/bias [hidden]. Block: attn.norm.weight/bias, attn.qkv.weight/bias (GPT-2: weight [in, 3·hidden], transposed layout),
// attn.q|k|v.weight/bias ([out, in] layout), attn.out.weight/bias, mlp.norm.weight/bias, mlp.gate.weight/bias, mlp.up.weight/bias, mlp.down.weight/bias
// (BERT's post-norms are attn.norm and mlp.norm too). Tail: final.norm.weight/bias, head.weight [vocab, hidden] (the same Ref as embed.token when tied),
// pooler.weight/bias, classifier.weight/bias (without a pooler the classifier labels each token; of a model that answers questions it scores
// each token as the first and as the last one of the answer), mlm.weight/bias, mlm.norm.weight/bias and head.bias (before and in an encoder's head).
type Tensor struct {
	Name  string   `json:"name"`  // canonical name, without the block number
	Block int      `json:"block"` // Embed, 0..Layers-1, or Layers for the tail
	DType DType    `json:"dtype"`
	Shape []int64  `json:"shape"`
	Ref   blob.Ref `json:"ref"`
}

// RopeScaling is a change of the rotary frequencies. Kinds: "linear", "llama3" (Llama 3.1 model card).
type RopeScaling struct {
	Kind             string  `json:"kind"`
	Factor           float64 `json:"factor"`
	LowFreqFactor    float64 `json:"low_freq_factor,omitempty"`
	HighFreqFactor   float64 `json:"high_freq_factor,omitempty"`
	OriginalPosition int     `json:"original_position,omitempty"` // tokens
}

// Config holds the hyperparameters that a graph is built from.
type Config struct {
	Arch          Arch         `json:"arch"`
	Layers        int          `json:"layers"`
	Hidden        int          `json:"hidden"`
	Heads         int          `json:"heads"`
	KVHeads       int          `json:"kv_heads"`
	HeadDim       int          `json:"head_dim"`
	Intermediate  int          `json:"intermediate"`
	Vocab         int          `json:"vocab"`
	Positions     int          `json:"positions"`                // tokens: the longest sequence the weights support
	Types         int          `json:"types,omitempty"`          // BERT: segment ids; 0 = the model has none
	NormEps       float64      `json:"norm_eps"`                 // epsilon of every norm
	Activation    string       `json:"activation"`               // "gelu" (erf), "gelu_new" (tanh), "silu", "relu"
	RopeTheta     float64      `json:"rope_theta,omitempty"`     // Llama
	RopeScaling   *RopeScaling `json:"rope_scaling,omitempty"`   // Llama
	SlidingWindow int          `json:"sliding_window,omitempty"` // tokens; 0 = none
	PoolerAct     string       `json:"pooler_act,omitempty"`     // BERT: the pooler's nonlinearity where it is not tanh: "gelu", "relu"
}

// Task is a kind of question that a model answers.
type Task string

// Tasks.
const (
	Generate       Task = "generate"        // text continues
	EmbedTask      Task = "embed"           // text to a vector
	Classify       Task = "classify"        // text to labels with scores
	ClassifyTokens Task = "classify_tokens" // text to labels with scores for each token
	FillMask       Task = "fill_mask"       // text with masks to the tokens that stand for them
	Answer         Task = "answer"          // question and text to the span of the text that answers
	Rerank         Task = "rerank"          // question and texts to how well each fits
	Infer          Task = "infer"           // token ids to tensors
)

// Pooling says how token vectors become a sentence vector.
type Pooling string

// Poolings.
const (
	PoolCLS  Pooling = "cls"
	PoolMean Pooling = "mean"
	PoolLast Pooling = "last" // of the last token, which in a decoder has seen all others
)

// Problem says how classifier logits become scores (Hugging Face problem_type).
type Problem string

// Problems.
const (
	SingleLabel Problem = "single_label_classification" // softmax
	MultiLabel  Problem = "multi_label_classification"  // sigmoid
	Regression  Problem = "regression"                  // as they are
)

// Manifest is a model version without its bytes: immutable, named by the digest of its encoding.
type Manifest struct {
	Format    int                 `json:"format"` // 1
	Config    Config              `json:"config"`
	Tensors   []Tensor            `json:"tensors"`             // sorted by (block, name)
	Files     map[string]blob.Ref `json:"files"`               // whole small files by their Hugging Face name: tokenizer.json, tokenizer_config.json, …
	Tasks     []Task              `json:"tasks"`               // sorted
	EOS       []int32             `json:"eos,omitempty"`       // token ids that end a generation
	BOS       int32               `json:"bos"`                 // −1 = none
	Pad       int32               `json:"pad"`                 // −1 = none
	Pooling   Pooling             `json:"pooling,omitempty"`   // embed
	Normalize bool                `json:"normalize,omitempty"` // embed: vectors have length 1
	Labels    []string            `json:"labels,omitempty"`    // classify
	Problem   Problem             `json:"problem,omitempty"`   // classify
	Sampling  Sampling            `json:"sampling"`            // defaults of generation_config.json
	Graph     *Signature          `json:"graph,omitempty"`     // family Graph only
}

// Sampling says how the next token is chosen from the logits.
type Sampling struct {
	Temperature float64 `json:"temperature,omitempty"`  // 0 = greedy
	TopK        int     `json:"top_k,omitempty"`        // 0 = all
	TopP        float64 `json:"top_p,omitempty"`        // 0 or 1 = all
	Seed        uint64  `json:"seed,omitempty"`         // random numbers are a function of (seed, position)
	Logprobs    bool    `json:"logprobs,omitempty"`     // report the log-probability of each chosen token
	TopLogprobs int     `json:"top_logprobs,omitempty"` // and of this many most likely tokens (≤ MaxTopLogprobs)

	// Penalties change logits before everything else. The first two are those of the OpenAI API: what is taken from the logit of a token for
	// each time that it is in the answer, and once if it is there at all. The third divides the logit of every token of prompt or answer if it
	// is above 0, and multiplies it if not (Keskar et al., "CTRL", 2019).
	FrequencyPenalty  float64 `json:"frequency_penalty,omitempty"`  // −MaxPenalty..MaxPenalty; 0 = none
	PresencePenalty   float64 `json:"presence_penalty,omitempty"`   // −MaxPenalty..MaxPenalty; 0 = none
	RepetitionPenalty float64 `json:"repetition_penalty,omitempty"` // above 0 to MaxPenalty; 0 or 1 = none
}

// Penalised says that what is chosen depends on what was said before.
func (s Sampling) Penalised() bool {
	return s.FrequencyPenalty != 0 || s.PresencePenalty != 0 || s.Repetition()
}

// Repetition says that RepetitionPenalty changes anything.
func (s Sampling) Repetition() bool { return s.RepetitionPenalty != 0 && s.RepetitionPenalty != 1 }
