package convert

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert/safetensors"
	"github.com/skein-project/skein/model"
)

// Names of weights.
const (
	wholeName = "model.safetensors"
	indexName = "model.safetensors.index.json"
)

// maxListed is how many surplus tensors a refusal names.
const maxListed = 8

// stored is a tensor of a checkpoint and the file that has it.
type stored struct {
	safetensors.Tensor
	file string
	src  Source
}

func (t stored) ref() blob.Ref { return blob.Ref{Digest: t.src.Digest, Off: t.Off, Len: t.Len} }

// refuse says what is wrong with the tensor.
func (t stored) refuse(format string, args ...any) error {
	return Refused{t.file, fmt.Sprintf("tensor %.80q", t.Name), fmt.Sprintf(format, args...)}
}

// slot is a place in the manifest.
type slot struct {
	block int
	name  string
}

// tensors fills in the manifest's tensors.
func (r *reading) tensors() error {
	all, err := r.weights()
	if err != nil {
		return err
	}
	found := map[slot]stored{}
	var surplus []string
	for _, t := range all {
		block, name, ok := r.family.find(t.Name, r.m.Config.Layers)
		if !ok {
			if !r.family.harmless(t.Name) {
				surplus = append(surplus, t.Name)
			}
			continue
		}
		if twin, twice := found[slot{block, name}]; twice {
			return t.refuse("is the same weight as %q", twin.Name)
		}
		found[slot{block, name}] = t
	}
	for _, step := range []func(map[slot]stored) error{r.head, r.tie, r.positions} {
		if err := step(found); err != nil {
			return err
		}
	}
	for block := model.Embed; block <= r.m.Tail(); block++ {
		for _, want := range r.m.Slots(block) {
			t, ok := found[slot{block, want.Name}]
			if !ok {
				continue // the manifest's own validation says what is missing
			}
			delete(found, slot{block, want.Name})
			dtype := model.DType(t.DType)
			if !slices.Equal(t.Shape, want.Shape) {
				return t.refuse("shape %v is not %v", t.Shape, want.Shape)
			}
			if !dtype.Weight() {
				return t.refuse("type %s is not F32, F16 or BF16", t.DType)
			}
			r.m.Tensors = append(r.m.Tensors, model.Tensor{Name: want.Name, Block: block, DType: dtype, Shape: want.Shape, Ref: t.ref()})
		}
	}
	for _, t := range found {
		surplus = append(surplus, t.Name)
	}
	return refuseSurplus(surplus)
}

// head gives the bias of a masked model's head the one name that it has here. A folder that has nothing of the head that its architecture
// names is a plain encoder: the library that such folders are for would draw the head anew.
func (r *reading) head(found map[slot]stored) error {
	if !r.m.Can(model.FillMask) {
		return nil
	}
	at := func(name string) slot { return slot{r.m.Tail(), name} }
	if twin, ok := found[at(headTwin+".bias")]; ok {
		if own, ok := found[at("head.bias")]; ok {
			if err := sameBytes(own, twin); err != nil {
				return err
			}
		}
		delete(found, at(headTwin+".bias"))
		found[at("head.bias")] = twin
	}
	for _, name := range []string{"mlm.weight", "mlm.bias", "mlm.norm.weight", "mlm.norm.bias", "head.weight", "head.bias"} {
		if _, ok := found[at(name)]; ok {
			return nil
		}
	}
	r.m.Tasks = slices.DeleteFunc(r.m.Tasks, func(t model.Task) bool { return t == model.FillMask })
	return nil
}

// positions leaves out the rows of the table of positions that no token has.
func (r *reading) positions(found map[slot]stored) error {
	at := slot{model.Embed, "embed.position"}
	t, ok := found[at]
	if n := int64(r.family.offset); ok && n > 0 && len(t.Shape) == 2 && t.Shape[0] > n {
		skipped := t.Len / t.Shape[0] * n
		t.Shape = []int64{t.Shape[0] - n, t.Shape[1]}
		t.Off, t.Len = t.Off+skipped, t.Len-skipped
		found[at] = t
	}
	return nil
}

// tie makes the token embeddings the head where the config says so. A checkpoint may store the head as well; then it must be equal.
func (r *reading) tie(found map[slot]stored) error {
	tied := r.config.flag("tie_word_embeddings", r.family.tied)
	if err := r.config.err(); err != nil || !tied || !r.m.Can(model.Generate) && !r.m.Can(model.FillMask) {
		return err
	}
	token, ok := found[slot{model.Embed, "embed.token"}]
	if !ok {
		return nil // reported as missing
	}
	head := slot{r.m.Tail(), "head.weight"}
	if own, ok := found[head]; ok {
		if err := sameBytes(own, token); err != nil {
			return err
		}
	}
	found[head] = token
	return nil
}

// refuseSurplus refuses weights that the graph would not use: leaving one out would answer wrongly without a word.
func refuseSurplus(names []string) error {
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	list := make([]string, 0, maxListed)
	for _, name := range names[:min(len(names), maxListed)] {
		list = append(list, fmt.Sprintf("%.80q", name))
	}
	more := ""
	if len(names) > maxListed {
		more = fmt.Sprintf(" and %d more", len(names)-maxListed)
	}
	return Refused{"", "weights", "the architecture has no place for " + strings.Join(list, ", ") + more}
}

// sameBytes refuses a head that differs from the embeddings it should be tied to.
func sameBytes(a, b stored) error {
	differ := a.refuse("differs from %q, to which config.json ties it", b.Name)
	if a.DType != b.DType || a.Len != b.Len {
		return differ
	}
	const window = 1 << 20
	x, y := make([]byte, window), make([]byte, window)
	for at := int64(0); at < a.Len; at += window {
		n := min(window, a.Len-at)
		if err := errors.Join(readFull(a, x[:n], at), readFull(b, y[:n], at)); err != nil {
			return err
		}
		if !bytes.Equal(x[:n], y[:n]) {
			return differ
		}
	}
	return nil
}

func readFull(t stored, p []byte, at int64) error {
	if _, err := io.ReadFull(io.NewSectionReader(t.src, t.Off+at, int64(len(p))), p); err != nil {
		return fmt.Errorf("convert: read %s: %w", t.file, err)
	}
	return nil
}

// weights lists the tensors of all files of the checkpoint, by name.
func (r *reading) weights() ([]stored, error) {
	if _, ok := r.files[indexName]; !ok {
		if _, ok := r.files[wholeName]; !ok {
			return nil, Refused{wholeName, "", "is missing, and so is " + indexName}
		}
		return r.header(wholeName)
	}
	places, err := r.shards()
	if err != nil {
		return nil, err
	}
	files := slices.Compact(slices.Sorted(maps.Values(places)))
	if _, ok := r.files[wholeName]; ok && !slices.Contains(files, wholeName) {
		return nil, Refused{indexName, "weight_map", "does not name " + wholeName + ", which is there too"}
	}
	var all []stored
	for _, file := range files {
		tensors, err := r.header(file)
		if err != nil {
			return nil, err
		}
		for _, t := range tensors {
			if places[t.Name] != file {
				return nil, t.refuse("is not in this file by %s", indexName)
			}
			delete(places, t.Name)
		}
		all = append(all, tensors...)
	}
	for _, name := range slices.Sorted(maps.Keys(places)) {
		return nil, Refused{places[name], fmt.Sprintf("tensor %.80q", name), "is missing, but " + indexName + " names it"}
	}
	return all, nil
}

// shards reads which tensor is in which file.
func (r *reading) shards() (map[string]string, error) {
	var index struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := r.json(indexName, MaxMap, &index); err != nil {
		return nil, err
	}
	if len(index.Map) == 0 || len(index.Map) > safetensors.MaxTensors {
		return nil, Refused{indexName, "weight_map", fmt.Sprintf("%d tensors are not in 1..%d", len(index.Map), safetensors.MaxTensors)}
	}
	for _, name := range slices.Sorted(maps.Keys(index.Map)) {
		file := index.Map[name]
		if err := CheckName(file); err != nil || path.Dir(file) != "." || path.Ext(file) != ".safetensors" {
			return nil, Refused{indexName, fmt.Sprintf("tensor %.80q", name), fmt.Sprintf("%.80q is no name of a safetensors file", file)}
		}
		if _, ok := r.files[file]; !ok {
			return nil, Refused{file, "", "is missing, but " + indexName + " names it"}
		}
	}
	return index.Map, nil
}

// header reads the header of one safetensors file.
func (r *reading) header(file string) ([]stored, error) {
	src := r.files[file]
	tensors, err := safetensors.Read(src, src.Size)
	if inv, ok := errors.AsType[safetensors.Invalid](err); ok {
		return nil, Refused{file, inv.What, inv.Why}
	}
	if err != nil {
		return nil, fmt.Errorf("convert: read %s: %w", file, err)
	}
	out := make([]stored, 0, len(tensors))
	for _, t := range tensors {
		out = append(out, stored{t, file, src})
	}
	return out, nil
}
