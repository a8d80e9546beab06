package graph

import (
	"fmt"
	"math"

	"github.com/skein-project/skein/model"
)

// Rope fills in the tables of rotary position embedding ("RoFormer", 2021): cos and sin of position·frequency, row major
// [positions, head dim / 2]. Frequencies are computed in fp32 as the reference implementations do; scaling as the configuration says.
func Rope(c model.Config, cos, sin []float32) error {
	freq, err := frequencies(c)
	if err != nil {
		return err
	}
	half := len(freq)
	for i := range cos[:len(sin)] {
		angle := float64(float32(i/half) * freq[i%half])
		cos[i], sin[i] = float32(math.Cos(angle)), float32(math.Sin(angle))
	}
	return nil
}

// frequencies gives theta^(−2i/d) for each pair of dimensions, scaled.
func frequencies(c model.Config) ([]float32, error) {
	freq := make([]float32, c.HeadDim/2)
	for i := range freq {
		freq[i] = float32(1 / math.Pow(c.RopeTheta, float64(2*i)/float64(c.HeadDim)))
	}
	s := c.RopeScaling
	if s == nil {
		return freq, nil
	}
	if !(s.Factor > 0) {
		return nil, fmt.Errorf("%w: rope scaling by %g", ErrUnsupported, s.Factor)
	}
	switch s.Kind {
	case "linear":
		for i := range freq {
			freq[i] /= float32(s.Factor)
		}
	case "llama3":
		if !(s.HighFreqFactor > s.LowFreqFactor) || s.OriginalPosition <= 0 {
			return nil, fmt.Errorf("%w: llama3 rope scaling between %g and %g of %d positions", ErrUnsupported, s.LowFreqFactor, s.HighFreqFactor, s.OriginalPosition)
		}
		for i := range freq {
			freq[i] = float32(llama3(float64(freq[i]), s))
		}
	default:
		return nil, fmt.Errorf("%w: rope scaling %q", ErrUnsupported, s.Kind)
	}
	return freq, nil
}

// llama3 slows frequencies whose wavelength exceeds the original context by Factor, keeps those well inside it, and blends in between
// (Llama 3.1 model card).
func llama3(f float64, s *model.RopeScaling) float64 {
	turns := float64(s.OriginalPosition) * f / (2 * math.Pi) // over the original context
	switch {
	case turns < s.LowFreqFactor:
		return f / s.Factor
	case turns > s.HighFreqFactor:
		return f
	}
	keep := (turns - s.LowFreqFactor) / (s.HighFreqFactor - s.LowFreqFactor)
	return (1-keep)*f/s.Factor + keep*f
}
