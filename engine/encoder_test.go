package engine_test

import (
	"slices"
	"testing"

	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/shard"
)

func eachEncoder(t *testing.T, test func(t *testing.T, f fixture)) {
	for _, name := range encoders {
		t.Run(name, func(t *testing.T) {
			runtimeOf(t)
			test(t, open(t, name))
		})
	}
}

// row is one input of an encoder.
type row struct{ ids, types []int32 }

// encode runs rows as one batch, padded to length, through all stages. Padding is filled with nonsense that must not matter.
func (p pipeline) encode(t *testing.T, length int, junk int32, rows ...row) engine.Encoded {
	t.Helper()
	return p.fill(t, length, junk, nil, rows...)
}

// fill is encode with places of masks in the batch.
func (p pipeline) fill(t *testing.T, length int, junk int32, masks []int, rows ...row) engine.Encoded {
	t.Helper()
	n := len(rows) * length
	ids, types, positions, mask := make([]int32, n), make([]int32, n), make([]int32, n), make([]int32, n)
	for r, in := range rows {
		for i := range length {
			at := r*length + i
			positions[at] = int32(i)
			if i < len(in.ids) {
				ids[at], types[at], mask[at] = in.ids[i], in.types[i], 1
			} else {
				ids[at] = junk
			}
		}
	}
	if err := p[0].Embed(ids, positions, types); err != nil {
		t.Fatal(err)
	}
	var out engine.Encoded
	for i, s := range p {
		if i > 0 {
			copy(s.Input(n), out.Hidden)
		}
		var err error
		b := engine.EncodeBatch{Rows: len(rows), Length: length, Mask: mask}
		if i == len(p)-1 {
			b.Masks = masks
		}
		if out, err = s.Encode(b); err != nil {
			t.Fatal(err)
		}
	}
	// The next Encode overwrites what this one gave out.
	out.Hidden, out.Masks = slices.Clone(out.Hidden), slices.Clone(out.Masks)
	out.Pooled, out.Logits = slices.Clone(out.Pooled), slices.Clone(out.Logits)
	return out
}

var encoding = shard.Serving{Slots: 8, Context: 128}

// TestEncoderReference: token vectors, sentence vectors, classifier logits and scores are those of the reference implementation.
func TestEncoderReference(t *testing.T) {
	eachEncoder(t, func(t *testing.T, f fixture) {
		p := f.cut(t, encoding)
		for _, in := range f.Inputs {
			got := p.encode(t, len(in.IDs), 0, row{in.IDs, in.TypeIDs})
			if d := far(got.Hidden, in.Hidden); d > tolerance {
				t.Errorf("%q: token vectors differ by %g", in.Text, d)
			}
			if in.Vector != nil {
				if d := far(f.vector(got.Hidden), in.Vector); d > tolerance {
					t.Errorf("%q: vector differs by %g", in.Text, d)
				}
				continue
			}
			if d := far(got.Logits, in.Logits); d > tolerance || got.Labels != len(f.manifest.Labels) {
				t.Errorf("%q: logits of %d labels differ by %g", in.Text, got.Labels, d)
			}
			var scores []float32
			for row := range slices.Chunk(got.Logits, got.Labels) {
				scores = append(scores, f.manifest.Problem.Scores(row)...)
			}
			if d := far(scores, in.Scores); d > tolerance {
				t.Errorf("%q: scores differ by %g", in.Text, d)
			}
		}
	})
}

// vector is the sentence vector of a row's token vectors.
func (f fixture) vector(hidden []float32) []float32 {
	return engine.Pool(hidden, f.manifest.Config.Hidden, f.manifest.Pooling, f.manifest.Normalize)
}

// answer is what the model says of row r, of n tokens: its vector, its logits, or those of its tokens.
func (f fixture) answer(e engine.Encoded, r, n, length int) []float32 {
	if len(f.Batch.Vectors) > 0 {
		width := f.manifest.Config.Hidden
		return f.vector(e.Hidden[r*length*width:][:n*width])
	}
	if e.Pooled == nil {
		return e.Logits[r*length*e.Labels:][:n*e.Labels]
	}
	return e.Logits[r*e.Labels:][:e.Labels]
}

// TestEncoderBatch: in a padded batch each row has what it has alone; what stands in the padding and in the other rows changes nothing at
// all, the length of the padding no more than the order of sums does.
func TestEncoderBatch(t *testing.T) {
	eachEncoder(t, func(t *testing.T, f fixture) {
		p := f.cut(t, encoding)
		var rows []row
		longest := 0
		for _, i := range f.Batch.Rows {
			rows = append(rows, row{f.Inputs[i].IDs, f.Inputs[i].TypeIDs})
			longest = max(longest, len(f.Inputs[i].IDs))
		}
		want := f.Batch.Vectors
		if len(want) == 0 {
			want = f.Batch.Logits
		}
		batch := p.encode(t, longest, 0, rows...)
		junk := p.encode(t, longest, 77, rows...)
		for i, r := range rows {
			n := len(r.ids)
			got := f.answer(batch, i, n, longest)
			if d := far(got, want[len(want)/len(rows)*i:][:len(got)]); d > tolerance {
				t.Errorf("row %d differs from the reference by %g", i, d)
			}
			if other := f.answer(junk, i, n, longest); !same(other, got) {
				t.Errorf("row %d: other tokens in the padding change the answer by %g", i, far(other, got))
			}
			others := slices.Clone(rows)
			for j := range others {
				if j != i {
					others[j] = rows[(j+1)%len(rows)]
				}
			}
			if other := f.answer(p.encode(t, longest, 5, others...), i, n, longest); !same(other, got) {
				t.Errorf("row %d: other rows change the answer by %g", i, far(other, got))
			}
			alone := f.answer(p.encode(t, n, 0, r), 0, n, n)
			for _, length := range []int{longest, n + 1, n + 5, 128} {
				if d := far(f.answer(p.encode(t, length, 9, r), 0, n, length), alone); d > 2e-6 {
					t.Errorf("row %d alone, padded from %d to %d: the answer changes by %g", i, n, length, d)
				}
			}
			if d := far(alone, got); d > 2e-6 {
				t.Errorf("row %d: alone and in the batch differ by %g", i, d)
			}
		}
	})
}

// TestEncoderCuts: every legal cut gives what the uncut model gives, bit for bit.
func TestEncoderCuts(t *testing.T) {
	eachEncoder(t, func(t *testing.T, f fixture) {
		var whole engine.Encoded
		in := f.Inputs[0]
		for _, boundaries := range cuts(f.manifest.Config.Layers) {
			p := f.cut(t, encoding, boundaries...)
			got := p.encode(t, len(in.IDs)+3, 1, row{in.IDs, in.TypeIDs})
			if len(boundaries) == 0 {
				whole = got
			}
			if !same(got.Hidden, whole.Hidden) || !same(got.Logits, whole.Logits) || !same(got.Pooled, whole.Pooled) {
				t.Errorf("cut at %v differs", boundaries)
			}
		}
	})
}
