package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/skein-project/skein/engine/graph"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/model"
)

// embedding sums rows of the embedding tables, read from the mapped checkpoint: no copy of the tables is held.
type embedding struct {
	token    *table
	position *table // GPT-2, BERT
	segment  *table // BERT
}

// table is a matrix of a checkpoint, [rows, width].
type table struct {
	file  *ort.File
	dtype model.DType
	rows  int
	width int
}

func openEmbedding(m *model.Manifest, files weightFiles) (*embedding, error) {
	e := &embedding{}
	c := m.Config
	open := func(at **table, name string, rows int) error {
		for _, t := range m.Tensors {
			if t.Block != model.Embed || t.Name != name {
				continue
			}
			want := int64(rows) * int64(c.Hidden) * t.DType.Size()
			if len(t.Shape) != 2 || t.Shape[0] != int64(rows) || t.Shape[1] != int64(c.Hidden) || want == 0 || t.Ref.Len != want {
				return fmt.Errorf("%w: %s is %s%v in %d bytes, wanted shape [%d %d]", graph.ErrTensor, name, t.DType, t.Shape, t.Ref.Len, rows, c.Hidden)
			}
			f, err := ort.MapFile(files.paths[t.Ref.Digest], t.Ref.Off, t.Ref.Len)
			if err != nil {
				return err
			}
			*at = &table{file: f, dtype: t.DType, rows: rows, width: c.Hidden}
			return nil
		}
		return fmt.Errorf("%w: the embeddings have no %s", graph.ErrTensor, name)
	}
	err := open(&e.token, "embed.token", c.Vocab)
	if err == nil && c.Arch != model.Llama {
		err = open(&e.position, "embed.position", c.Positions)
	}
	if err == nil && c.Types > 0 {
		err = open(&e.segment, "embed.type", c.Types)
	}
	if err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

func (e *embedding) tables() []*table { return []*table{e.token, e.position, e.segment} }

func (e *embedding) resident() (n gpu.Bytes) {
	for _, t := range e.tables() {
		if t == nil {
			continue
		}
		if r, err := t.file.Resident(); err == nil {
			n += r
		}
	}
	return n
}

func (e *embedding) close() error {
	var errs []error
	for _, t := range e.tables() {
		if t != nil {
			errs = append(errs, t.file.Close())
		}
	}
	return errors.Join(errs...)
}

// add adds row i, cast to fp32, to dst [width].
func (t *table) add(dst []float32, i int32) error {
	if i < 0 || int(i) >= t.rows {
		return fmt.Errorf("%w: row %d of an embedding of %d", ErrStep, i, t.rows)
	}
	size := int(t.dtype.Size()) * t.width
	src := t.file.Bytes()[int(i)*size:][:size]
	switch t.dtype {
	case model.F32:
		for j := range dst {
			dst[j] += math.Float32frombits(binary.LittleEndian.Uint32(src[4*j:]))
		}
	case model.BF16:
		for j := range dst {
			dst[j] += math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*j:])) << 16)
		}
	case model.F16:
		for j := range dst {
			dst[j] += half(binary.LittleEndian.Uint16(src[2*j:]))
		}
	}
	return nil
}

// Half converts a number of 16 bits, of F16 or BF16.
func Half(d model.DType, bits uint16) float32 {
	if d == model.BF16 {
		return math.Float32frombits(uint32(bits) << 16)
	}
	return half(bits)
}

// half converts an IEEE 754 binary16 number; every value of it is exact in binary32.
func half(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10)&0x1f, uint32(h)&0x3ff
	switch exp {
	case 0: // subnormal: frac · 2^−24
		return math.Float32frombits(sign | math.Float32bits(float32(frac)/(1<<24)))
	case 0x1f: // infinity or NaN
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// Embed fills the input buffer of a first stage with the embeddings of tokens. positions are needed by GPT-2 and BERT (else nil), types
// (segment ids) by BERT. A position of −1 marks an idle row, which gets zeros. Errors wrap ErrStep.
func (s *Stage) Embed(tokens, positions, types []int32) error {
	if s.embed == nil {
		return fmt.Errorf("%w: only the first stage embeds tokens", ErrStep)
	}
	if err := s.fits(len(tokens)); err != nil {
		return err
	}
	if (s.embed.position != nil || positions != nil) && len(positions) != len(tokens) || s.embed.segment != nil && len(types) != len(tokens) {
		return fmt.Errorf("%w: %d tokens with %d positions and %d types", ErrStep, len(tokens), len(positions), len(types))
	}
	h := s.config.Hidden
	for i, id := range tokens {
		dst := s.hidden.Float32s()[i*h:][:h]
		clear(dst)
		if positions != nil && positions[i] == Idle {
			continue
		}
		err := s.embed.token.add(dst, id)
		if err == nil && s.embed.segment != nil {
			err = s.embed.segment.add(dst, types[i])
		}
		if err == nil && s.embed.position != nil {
			err = s.embed.position.add(dst, positions[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fits says whether a step of n tokens is possible.
func (s *Stage) fits(n int) error {
	if n < 1 || n > s.capacity {
		return fmt.Errorf("%w: %d tokens (1 to %d)", ErrStep, n, s.capacity)
	}
	return nil
}

// Input is the input buffer for n tokens, [n, hidden]: the hidden states that the stage before computed are copied here. The slice stays
// valid until Close. It is nil where n exceeds the largest step.
func (s *Stage) Input(n int) []float32 {
	if s.fits(n) != nil {
		return nil
	}
	return s.hidden.Float32s()[:n*s.config.Hidden]
}
