package model

import (
	"fmt"
	"slices"
)

// activations lists what Config.Activation may be.
var activations = []string{"gelu", "gelu_new", "relu", "silu"}

// poolerActs lists what Config.PoolerAct may be, beside tanh.
var poolerActs = []string{"gelu", "relu"}

// Validate checks every number against its limit and against the others.
func (c Config) Validate() error {
	if c.Arch == Graph {
		return c.validateGraph()
	}
	if err := first(
		within("layers", c.Layers, 1, MaxLayers),
		within("hidden", c.Hidden, 1, MaxHidden),
		within("heads", c.Heads, 1, MaxHeads),
		within("kv_heads", c.KVHeads, 1, c.Heads),
		within("head_dim", c.HeadDim, 1, MaxHeadDim),
		within("intermediate", c.Intermediate, 1, MaxIntermediate),
		within("vocab", c.Vocab, 1, MaxVocab),
		within("positions", c.Positions, 1, MaxPositions),
		within("sliding_window", c.SlidingWindow, 0, MaxPositions),
		finite("norm_eps", c.NormEps, 0, 1),
	); err != nil {
		return err
	}
	if c.Heads%c.KVHeads != 0 {
		return Invalid{"kv_heads", fmt.Sprintf("%d heads are not divisible by %d", c.Heads, c.KVHeads)}
	}
	if !slices.Contains(activations, c.Activation) {
		return Invalid{"activation", fmt.Sprintf("%.40q is not one of %q", c.Activation, activations)}
	}
	if c.PoolerAct != "" && (c.Arch != BERT || !slices.Contains(poolerActs, c.PoolerAct)) {
		return Invalid{"pooler_act", fmt.Sprintf("%.40q is not one of %q, which encoders may have", c.PoolerAct, poolerActs)}
	}
	switch c.Arch {
	case Llama:
		return c.validateRotary()
	case GPT2:
		return first(c.validateLearned(), within("types", c.Types, 0, 0))
	case BERT:
		return first(c.validateLearned(), within("types", c.Types, 0, MaxTypes), within("sliding_window", c.SlidingWindow, 0, 0))
	}
	return Invalid{"arch", fmt.Sprintf("%.40q is not known", c.Arch)}
}

// validateGraph checks what a graph of its maker's has: one block, and the measures of its text where it has text, else 0.
func (c Config) validateGraph() error {
	if c != (Config{Arch: Graph, Layers: c.Layers, Hidden: c.Hidden, Vocab: c.Vocab, Positions: c.Positions, Types: c.Types}) {
		return Invalid{"config", "has numbers that only families with a builder have"}
	}
	return first(within("layers", c.Layers, 1, 1), within("hidden", c.Hidden, 0, MaxHidden), within("vocab", c.Vocab, 0, MaxVocab),
		within("positions", c.Positions, 0, MaxPositions), within("types", c.Types, 0, MaxTypes))
}

// validateLearned checks what families with learned positions have in common: full attention, one key head per head, no rotation.
func (c Config) validateLearned() error {
	if c.Heads*c.HeadDim != c.Hidden {
		return Invalid{"head_dim", fmt.Sprintf("%d heads of %d are not the hidden size %d", c.Heads, c.HeadDim, c.Hidden)}
	}
	if c.RopeTheta != 0 || c.RopeScaling != nil {
		return Invalid{"rope_theta", "this family has learned positions"}
	}
	return first(within("kv_heads", c.KVHeads, c.Heads, c.Heads), within("sliding_window", c.SlidingWindow, 0, 0))
}

// validateRotary checks what a family with rotary positions needs.
func (c Config) validateRotary() error {
	if c.HeadDim%2 != 0 {
		return Invalid{"head_dim", fmt.Sprintf("%d is odd: rotation needs pairs", c.HeadDim)}
	}
	if err := first(within("types", c.Types, 0, 0), finite("rope_theta", c.RopeTheta, 0, 1e12)); err != nil {
		return err
	}
	s := c.RopeScaling
	if s == nil {
		return nil
	}
	if err := finite("rope_scaling factor", s.Factor, 0, 1e6); err != nil {
		return err
	}
	switch s.Kind {
	case "linear":
		if s.LowFreqFactor != 0 || s.HighFreqFactor != 0 || s.OriginalPosition != 0 {
			return Invalid{"rope_scaling", "kind linear has a factor and nothing else"}
		}
		return nil
	case "llama3":
		if err := first(finite("rope_scaling low_freq_factor", s.LowFreqFactor, 0, 1e6),
			finite("rope_scaling high_freq_factor", s.HighFreqFactor, 0, 1e6),
			within("rope_scaling original_position", s.OriginalPosition, 1, MaxPositions)); err != nil {
			return err
		}
		if s.HighFreqFactor <= s.LowFreqFactor {
			return Invalid{"rope_scaling", "high_freq_factor is not above low_freq_factor"}
		}
		return nil
	}
	return Invalid{"rope_scaling", fmt.Sprintf("kind %.40q is not known", s.Kind)}
}

// Tail is the block number of what the last stage needs after the last block.
func (c Config) Tail() int { return c.Layers }

// Group is the number of query heads that share a key head.
func (c Config) Group() int { return c.Heads / c.KVHeads }
