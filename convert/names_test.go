package convert

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"config.json", "1_Pooling/config.json", "a/b/c/d", "weird name é.txt", "..a", "a..", strings.Repeat("a", 255)} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "/etc/passwd", "../x", "a/../../x", "a/..", "..", ".", "./a", "a/./b", "a//b", "a/", "\\\\host\\x", "a\\..\\b", "C:/x", "C:x",
		"a\x00b", "a\nb", "a\x7f", "\xff", strings.Repeat("a", 256), "a/" + strings.Repeat("b", 256), "a/b/c/d/e", strings.Repeat("a/", 10000) + "b"} {
		if err := CheckName(name); !errors.As(err, new(Refused)) {
			t.Errorf("%.60q: %v", name, err)
		}
	}
}

func TestTooManyFiles(t *testing.T) {
	names := make([]string, MaxFiles+1)
	for i := range names {
		names[i] = strings.Repeat("x", i%200+1) + strings.Repeat("y", i/200)
	}
	if err := checkNames(names); !errors.As(err, new(Refused)) || !strings.Contains(err.Error(), "4097 files") {
		t.Error(err)
	}
}

func TestSelect(t *testing.T) {
	got, err := Select([]string{"README.md", "config.json", "model.safetensors", "pytorch_model.bin", "consolidated.safetensors", "1_Pooling/config.json",
		"modules.json", "tokenizer.json", "onnx/model.onnx", ".gitattributes", "modeling_x.py", "chat_template.jinja", "nested/config.json"})
	want := []string{"1_Pooling/config.json", "chat_template.jinja", "config.json", "model.safetensors", "modules.json", "tokenizer.json"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	got, err = Select([]string{"config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "x/model-1.safetensors"})
	want = []string{"config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Select([]string{"config.json", "pytorch_model.bin"}); !errors.As(err, new(Refused)) || !strings.Contains(err.Error(), "safetensors.torch") {
		t.Errorf("pickled weights only: %v", err)
	}
}

func FuzzCheckName(f *testing.F) {
	for _, s := range []string{"a/b", "../x", "a\\b", "/x", "C:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		if name[0] == '/' || strings.ContainsAny(name, "\\:\x00") || slices.Contains(strings.Split(name, "/"), "..") {
			t.Fatalf("%q is accepted", name)
		}
	})
}
