package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"sort"

	"github.com/skein-project/skein/blob"
)

// Format is the version of the manifest encoding that this code reads and writes.
const Format = 1

// FileNames lists the small files that a manifest may carry beside the weights, sorted.
var FileNames = []string{"added_tokens.json", "chat_template.jinja", "config.json", "generation_config.json", GraphFile, "merges.txt",
	"special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt"}

// Encode writes the canonical form: JSON without spaces, keys in the order of the Go fields, files by name. The manifest must be
// valid: a NaN in it is a programmer's mistake.
func Encode(m *Manifest) []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic("model: Encode of an invalid manifest: " + err.Error())
	}
	return b
}

// Digest names the version: the blob digest of its encoding.
func (m *Manifest) Digest() blob.Digest { return blob.Of(Encode(m)).Digest() }

// Decode reads the canonical form and no other (so that one manifest has one digest), and validates it.
func Decode(b []byte) (*Manifest, error) {
	if len(b) > MaxEncoded {
		return nil, Invalid{"manifest", fmt.Sprintf("%d bytes are more than %d", len(b), MaxEncoded)}
	}
	// Each tensor is two objects. A short text can name many empty ones, each a hundred bytes of memory, so count first.
	if n := objects(b); n > 2*MaxTensors+MaxFiles+8 {
		return nil, Invalid{"manifest", fmt.Sprintf("%d objects are too many", n)}
	}
	m := new(Manifest)
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(m); err != nil {
		return nil, Invalid{"manifest", err.Error()}
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	if !bytes.Equal(Encode(m), b) {
		return nil, Invalid{"manifest", "is not in canonical form"}
	}
	return m, nil
}

// objects counts the braces that open outside of strings.
func objects(b []byte) (n int) {
	inside := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			inside = !inside
		case c == '\\' && inside:
			i++
		case c == '{' && !inside:
			n++
		}
	}
	return n
}

// Sort puts the tensors and tasks in canonical order.
func (m *Manifest) Sort() {
	sort.Slice(m.Tensors, func(i, j int) bool { return before(m.Tensors[i], m.Tensors[j]) })
	slices.Sort(m.Tasks)
	slices.Sort(m.EOS)
}

func before(a, b Tensor) bool {
	if a.Block != b.Block {
		return a.Block < b.Block
	}
	return a.Name < b.Name
}

// Tail is the block number of what the last stage needs after the last block.
func (m *Manifest) Tail() int { return m.Config.Tail() }

// Context is the longest sequence in tokens that the weights support, prompt and answer together.
func (m *Manifest) Context() int { return m.Config.Positions }

// Can says whether the model answers a task.
func (m *Manifest) Can(t Task) bool { return slices.Contains(m.Tasks, t) }

// Block lists the tensors of one block in the order of their names. The slice shares the manifest's memory.
func (m *Manifest) Block(block int) []Tensor {
	from := sort.Search(len(m.Tensors), func(i int) bool { return m.Tensors[i].Block >= block })
	to := sort.Search(len(m.Tensors), func(i int) bool { return m.Tensors[i].Block > block })
	return m.Tensors[from:to:to]
}

// Tensor finds a tensor by its block and canonical name.
func (m *Manifest) Tensor(block int, name string) (Tensor, bool) {
	in := m.Block(block)
	i := sort.Search(len(in), func(i int) bool { return in[i].Name >= name })
	if i < len(in) && in[i].Name == name {
		return in[i], true
	}
	return Tensor{}, false
}

// Tied says whether the head's weights are the token embeddings.
func (m *Manifest) Tied() bool {
	head, ok := m.Tensor(m.Tail(), "head.weight")
	token, _ := m.Tensor(Embed, "embed.token")
	return ok && head.Ref == token.Ref
}

// Refs lists the byte ranges that a stage of blocks [from, to) needs, merged where they touch, in the order of digest and offset.
// A stage from 0 includes the embeddings, one to Layers the tail, and of a decoder the files that say what tokens are, since the last stage
// chooses them; that of a Graph includes its GraphFile.
func (m *Manifest) Refs(from, to int) []blob.Ref {
	if from == 0 {
		from = Embed
	}
	if to == m.Tail() {
		to++
	}
	var refs []blob.Ref
	for _, t := range m.Tensors {
		if t.Block >= from && t.Block < to {
			refs = append(refs, t.Ref)
		}
	}
	if m.Config.Arch == Graph {
		refs = append(refs, m.Files[GraphFile])
	}
	if m.Config.Arch.Decoder() && to > m.Tail() {
		for _, name := range m.Names() {
			refs = append(refs, m.Files[name])
		}
	}
	return merge(refs)
}

// merge sorts ranges and joins those that touch or overlap.
func merge(refs []blob.Ref) []blob.Ref {
	sort.Slice(refs, func(i, j int) bool {
		if c := bytes.Compare(refs[i].Digest[:], refs[j].Digest[:]); c != 0 {
			return c < 0
		}
		return refs[i].Off < refs[j].Off
	})
	var out []blob.Ref
	for _, r := range refs {
		if n := len(out); n > 0 && out[n-1].Digest == r.Digest && r.Off <= out[n-1].Off+out[n-1].Len {
			out[n-1].Len = max(out[n-1].Len, r.Off+r.Len-out[n-1].Off)
			continue
		}
		out = append(out, r)
	}
	return out
}
