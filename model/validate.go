package model

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// Validate checks everything that can be checked without the weights' bytes: limits, that every tensor the family needs is there
// with the right shape, that byte ranges have the right length, and that the tasks have what they need. Errors are of type Invalid.
func (m *Manifest) Validate() error {
	if m.Format != Format {
		return Invalid{"format", fmt.Sprintf("%d is not %d", m.Format, Format)}
	}
	if err := m.Config.Validate(); err != nil {
		return err
	}
	if err := first(m.validateTasks(), m.validateTokens(), m.validateFiles(), m.Sampling.Validate()); err != nil {
		return err
	}
	if m.Config.Arch == Graph {
		return m.validateGraph()
	}
	if _, there := m.Files[GraphFile]; there || m.Graph != nil {
		return Invalid{"graph", fmt.Sprintf("is given, but family %s has a builder of its own", m.Config.Arch)}
	}
	return m.validateTensors()
}

// validateTasks checks the tasks, and that labels, pooling and problem are there exactly where a task needs them.
func (m *Manifest) validateTasks() error {
	if len(m.Tasks) == 0 || !slices.IsSorted(m.Tasks) || len(slices.Compact(slices.Clone(m.Tasks))) != len(m.Tasks) {
		return Invalid{"tasks", fmt.Sprintf("%.200q: want at least one, sorted, each once", m.Tasks)}
	}
	for _, t := range m.Tasks {
		if !slices.Contains(tasksOf(m.Config.Arch), t) {
			return Invalid{"tasks", fmt.Sprintf("%.40q is nothing that a model of family %s does", t, m.Config.Arch)}
		}
	}
	switch m.Pooling {
	case PoolCLS, PoolMean, PoolLast:
		if !m.Can(EmbedTask) {
			return Invalid{"pooling", "is given, but the model makes no vectors"}
		}
	case "":
		if m.Can(EmbedTask) || m.Normalize {
			return Invalid{"pooling", "is missing"}
		}
	default:
		return Invalid{"pooling", fmt.Sprintf("%.40q is not known", m.Pooling)}
	}
	return m.validateLabels()
}

// tasksOf lists what models of a family can do.
func tasksOf(a Arch) []Task {
	if a.Decoder() {
		return []Task{Generate, EmbedTask}
	}
	return []Task{EmbedTask, Classify, ClassifyTokens, FillMask, Answer, Rerank, Infer}
}

func (m *Manifest) validateLabels() error {
	heads := 0
	for _, t := range []Task{Classify, ClassifyTokens, Answer, FillMask} {
		if m.Can(t) {
			heads++
		}
	}
	if heads > 1 {
		return Invalid{"tasks", "a model has one head"}
	}
	if m.Can(Rerank) && (!m.Can(Classify) || len(m.Labels) != 1) {
		return Invalid{"tasks", "only a classifier of texts with one label says how well a text fits"}
	}
	if !m.Can(Classify) && !m.Can(ClassifyTokens) {
		if len(m.Labels) > 0 || m.Problem != "" {
			return Invalid{"labels", "are given, but the model does not classify"}
		}
		return nil
	}
	if err := within("number of labels", len(m.Labels), 1, MaxLabels); err != nil {
		return err
	}
	for i, l := range m.Labels {
		if len(l) > MaxLabelLen || !utf8.ValidString(l) {
			return Invalid{fmt.Sprintf("label %d", i), fmt.Sprintf("is not UTF-8 of at most %d bytes", MaxLabelLen)}
		}
	}
	if !slices.Contains([]Problem{SingleLabel, MultiLabel, Regression}, m.Problem) {
		return Invalid{"problem", fmt.Sprintf("%.40q is not known", m.Problem)}
	}
	return nil
}

// validateTokens checks the special token ids.
func (m *Manifest) validateTokens() error {
	top := m.Config.Vocab - 1
	if err := first(within("bos", int(m.BOS), -1, top), within("pad", int(m.Pad), -1, top), within("number of eos", len(m.EOS), 0, MaxEOS)); err != nil {
		return err
	}
	for i, id := range m.EOS {
		if err := within("eos", int(id), 0, top); err != nil {
			return err
		}
		if i > 0 && m.EOS[i-1] >= id {
			return Invalid{"eos", "ids are not sorted, each once"}
		}
	}
	return nil
}

func (m *Manifest) validateFiles() error {
	if err := within("number of files", len(m.Files), 0, MaxFiles); err != nil {
		return err
	}
	for _, name := range m.Names() {
		ref := m.Files[name]
		what := fmt.Sprintf("file %.80q", name)
		if !slices.Contains(FileNames, name) {
			return Invalid{what, "is not one that a manifest carries"}
		}
		if err := ref.Validate(); err != nil {
			return Invalid{what, err.Error()}
		}
		if ref.Off != 0 || ref.Len > MaxFileLen {
			return Invalid{what, fmt.Sprintf("%d bytes at %d: want a whole blob of at most %d bytes", ref.Len, ref.Off, MaxFileLen)}
		}
	}
	return nil
}

// Names lists the files that the manifest carries, sorted.
func (m *Manifest) Names() []string {
	names := make([]string, 0, len(m.Files))
	for name := range m.Files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// validateTensors walks the tensors and the places for them together; both are in the order of (block, name).
func (m *Manifest) validateTensors() error {
	if err := within("number of tensors", len(m.Tensors), 1, MaxTensors); err != nil {
		return err
	}
	for i, t := range m.Tensors {
		if i > 0 && !before(m.Tensors[i-1], t) {
			return Invalid{t.what(), "tensors are not sorted by block and name, each once"}
		}
		if t.Block < Embed || t.Block > m.Tail() {
			return Invalid{t.what(), fmt.Sprintf("block is not in %d..%d", Embed, m.Tail())}
		}
	}
	for block := Embed; block <= m.Tail(); block++ {
		if err := m.validateBlock(block); err != nil {
			return err
		}
	}
	return nil
}

// validateBlock checks one block; optional tensors must be in all layers or in none, because layers share a graph.
func (m *Manifest) validateBlock(block int) error {
	rest := m.Block(block)
	for _, s := range m.Slots(block) {
		if len(rest) == 0 || rest[0].Name != s.Name {
			_, elsewhere := m.Tensor(0, s.Name)
			inner := block >= 0 && block < m.Tail()
			if !s.Optional || inner && elsewhere {
				return Invalid{Tensor{Block: block, Name: s.Name}.what(), "is missing"}
			}
			continue
		}
		if err := rest[0].validate(s); err != nil {
			return err
		}
		if _, elsewhere := m.Tensor(0, s.Name); s.Optional && block > 0 && block < m.Tail() && !elsewhere {
			return Invalid{rest[0].what(), "is missing in block 0"}
		}
		rest = rest[1:]
	}
	if len(rest) > 0 {
		return Invalid{rest[0].what(), fmt.Sprintf("has no place in family %s", m.Config.Arch)}
	}
	if block == m.Tail() {
		return m.validatePooler()
	}
	return nil
}

// validatePooler refuses half a pooler.
func (m *Manifest) validatePooler() error {
	_, weight := m.Tensor(m.Tail(), "pooler.weight")
	_, bias := m.Tensor(m.Tail(), "pooler.bias")
	if weight != bias {
		return Invalid{"pooler", "has a weight or a bias, not both"}
	}
	return nil
}

func (t Tensor) what() string {
	if t.Block == Embed {
		return fmt.Sprintf("tensor %.80q", t.Name)
	}
	return fmt.Sprintf("tensor %d/%.80q", t.Block, t.Name)
}

// Elements is the product of the dimensions, or −1 where a dimension is negative or the product is beyond 2^62.
func Elements(shape []int64) int64 {
	n := int64(1)
	for _, d := range shape {
		if d < 0 || d > 0 && n > (math.MaxInt64>>1)/d {
			return -1
		}
		n *= d
	}
	return n
}

// validate checks a tensor against its place.
func (t Tensor) validate(s Slot) error {
	size := t.DType.Size()
	if !t.DType.Weight() {
		return Invalid{t.what(), fmt.Sprintf("type %.20q is not F32, F16 or BF16", t.DType)}
	}
	if !slices.Equal(t.Shape, s.Shape) {
		return Invalid{t.what(), fmt.Sprintf("shape %s is not %v", shapeText(t.Shape), s.Shape)}
	}
	if err := t.Ref.Validate(); err != nil {
		return Invalid{t.what(), err.Error()}
	}
	if n := Elements(t.Shape); n < 1 || n > math.MaxInt64/size || n*size != t.Ref.Len {
		return Invalid{t.what(), fmt.Sprintf("%d bytes do not hold %s of %s", t.Ref.Len, shapeText(t.Shape), t.DType)}
	}
	return nil
}

// shapeText prints a foreign shape, cut short.
func shapeText(shape []int64) string {
	if len(shape) > 8 {
		return fmt.Sprintf("of %d dimensions", len(shape))
	}
	return fmt.Sprint(shape)
}

// Validate checks the numbers of a request's or a model's sampling; NaN is refused.
func (s Sampling) Validate() error {
	if math.IsNaN(s.Temperature) || s.Temperature < 0 || s.Temperature > MaxTemperature {
		return Invalid{"temperature", fmt.Sprintf("%v is not in 0..%d", s.Temperature, MaxTemperature)}
	}
	if math.IsNaN(s.TopP) || s.TopP < 0 || s.TopP > 1 {
		return Invalid{"top_p", fmt.Sprintf("%v is not in 0..1", s.TopP)}
	}
	for _, p := range []struct {
		what string
		v    float64
		low  float64
	}{{"frequency_penalty", s.FrequencyPenalty, -MaxPenalty}, {"presence_penalty", s.PresencePenalty, -MaxPenalty}, {"repetition_penalty", s.RepetitionPenalty, 0}} {
		if math.IsNaN(p.v) || p.v < p.low || p.v > MaxPenalty {
			return Invalid{p.what, fmt.Sprintf("%v is not in %v..%d", p.v, p.low, MaxPenalty)}
		}
	}
	return first(within("top_k", s.TopK, 0, MaxVocab), within("top_logprobs", s.TopLogprobs, 0, MaxTopLogprobs))
}
