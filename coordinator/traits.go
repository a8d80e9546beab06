package coordinator

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/token"
)

// TraitsOf finds what clients of a version rely on. read gives a small file of the model by its name; only names of the manifest are
// asked for. Errors: those of read, and of token.Load.
func TraitsOf(m *model.Manifest, read func(name string) ([]byte, error)) (*cluster.Traits, error) {
	t := &cluster.Traits{Context: m.Context()}
	for _, task := range m.Tasks {
		t.Inputs = append(t.Inputs, string(task))
	}
	if m.Graph != nil && m.Graph.Text == nil {
		ports, err := json.Marshal(m.Graph)
		if err != nil {
			return nil, err
		}
		t.Inputs = append(t.Inputs, "ports:"+digestOf(ports)[:16]) // who sends tensors relies on all of them
	}
	slices.Sort(t.Inputs)
	if len(m.Labels) > 0 {
		list, err := json.Marshal(m.Labels)
		if err != nil {
			return nil, err
		}
		t.Labels = digestOf(list)
	}
	if m.Can(model.EmbedTask) {
		t.Vector = m.Config.Hidden
	}
	for _, name := range []string{"tokenizer.json", "vocab.txt", "vocab.json"} {
		if ref, ok := m.Files[name]; ok {
			t.Tokens = ref.Digest.String()
			break
		}
	}
	template, err := templateOf(m, read)
	if template != "" {
		t.Template = digestOf([]byte(template))
	}
	return t, err
}

// templateOf is a model's chat template as the gateways will load it; "" = it has none.
func templateOf(m *model.Manifest, read func(name string) ([]byte, error)) (string, error) {
	files := map[string][]byte{}
	for _, name := range token.Files() {
		if _, ok := m.Files[name]; !ok {
			continue
		}
		b, err := read(name)
		if err != nil {
			return "", fmt.Errorf("read %s: %w", name, err)
		}
		files[name] = b
	}
	if len(files) == 0 {
		return "", nil
	}
	t, err := token.Load(files)
	if err != nil {
		return "", err
	}
	template, _ := t.ChatTemplate()
	return template, nil
}

// digestOf is the SHA-256 of a text in hexadecimal.
func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
