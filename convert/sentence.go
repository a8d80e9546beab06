package convert

import (
	"fmt"
	"path"
	"strings"

	"github.com/skein-project/skein/model"
)

// module is one entry of the modules.json of sentence-transformers.
type module struct {
	Name string `json:"name"`
	Path string `json:"path"`
	Type string `json:"type"`
}

// sentence reads how token vectors become a sentence vector, as sentence-transformers declares it: a transformer, a pooling, and
// perhaps a normalisation. Any other module would change the vectors and is refused.
func (r *reading) sentence() error {
	m := r.m
	const file = "modules.json"
	if _, ok := r.files[file]; !ok || !m.Can(model.EmbedTask) {
		return nil
	}
	var modules []module
	if err := r.json(file, MaxConfig, &modules); err != nil {
		return err
	}
	pooled := false
	for i, mod := range modules {
		kind := mod.Type[strings.LastIndex(mod.Type, ".")+1:]
		switch {
		case kind == "Transformer" && i == 0:
			if mod.Path != "" && mod.Path != "." {
				return Refused{file, "path", "the transformer is not in the folder itself"}
			}
		case kind == "Pooling" && i == 1:
			if err := r.pooling(mod.Path); err != nil {
				return err
			}
			pooled = true
		case kind == "Normalize" && pooled && i == 2:
			m.Normalize = true
		default:
			return Refused{file, "type", fmt.Sprintf("module %.80q is not supported here", mod.Type)}
		}
	}
	if !pooled {
		return Refused{file, "", "declares no pooling"}
	}
	return nil
}

// pooling reads the settings of a pooling module.
func (r *reading) pooling(dir string) error {
	m := r.m
	file := path.Join(dir, "config.json")
	if err := CheckName(file); err != nil {
		return Refused{"modules.json", "path", "of the pooling is no name of a folder"}
	}
	s, err := r.settings(file, MaxConfig)
	if err != nil {
		return err
	}
	if n := s.count("word_embedding_dimension", m.Config.Hidden); n != m.Config.Hidden {
		s.refuse("word_embedding_dimension", "%d is not the hidden size %d", n, m.Config.Hidden)
	}
	chosen := 0
	for _, mode := range []struct {
		key  string
		kind model.Pooling
	}{{"pooling_mode_cls_token", model.PoolCLS}, {"pooling_mode_mean_tokens", model.PoolMean}, {"pooling_mode_max_tokens", ""},
		{"pooling_mode_mean_sqrt_len_tokens", ""}, {"pooling_mode_weightedmean_tokens", ""}, {"pooling_mode_lasttoken", model.PoolLast}} {
		if !s.flag(mode.key, false) {
			continue
		}
		if mode.kind == "" {
			s.refuse(mode.key, "is not supported")
		}
		m.Pooling = mode.kind
		chosen++
	}
	if s.has("pooling_mode") { // later versions write one word
		m.Pooling = model.Pooling(s.oneOf("pooling_mode", "", map[string]string{"cls": "cls", "mean": "mean", "lasttoken": "last"}))
		chosen++
	}
	if chosen != 1 {
		s.refuse("pooling_mode", "declares %d poolings, want one", chosen)
	}
	return s.err()
}
