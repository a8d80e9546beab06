package convert

import (
	"testing"
)

// TestCodeAnywhere: settings that want code are refused in whatever file they are, for versions that serve tensors too.
func TestCodeAnywhere(t *testing.T) {
	for _, base := range []string{"mlp", "bert-classify"} {
		for _, name := range []string{"config.json", "tokenizer_config.json", "generation_config.json", "processor_config.json", "inner/config.json", "1_Pooling/a_config.json"} {
			for _, key := range []string{"auto_map", "trust_remote_code"} {
				files := foreign(t, base)
				files["skein.json"] = []byte(`{"task":"tensors"}`)
				files[name] = []byte(`{"` + key + `":{"AutoTokenizer":["x.Y",null]}}`)
				_, err := Folder(sources(files))
				refusal(t, err, name, "never run")
				files[name] = []byte(`{"` + key + `":null}`)
				if _, err := Folder(sources(files)); err != nil {
					t.Errorf("%s, %s: %v", base, name, err)
				}
			}
		}
	}
	made, err := Folder(sources(foreign(t, "bert-classify")))
	if err != nil || made.Manifest.Graph.Text == nil {
		t.Error(made, err)
	}
}
