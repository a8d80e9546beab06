package grammar

import (
	"encoding/json"
	"errors"
	"os"
	"testing"
)

// seedSchemas adds the schemas of testdata to a corpus.
func seedSchemas(f *testing.F, add func(schema []byte, text string)) {
	text, err := os.ReadFile("testdata/schemas.json")
	if err != nil {
		f.Fatal(err)
	}
	var cases []struct {
		Schema         json.RawMessage
		Takes, Refuses []string
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		for _, s := range append(c.Takes, append(c.Refuses, "")...) {
			add(c.Schema, s)
		}
	}
}

// FuzzCompile compiles sources of any kind: it gives a grammar that an answer can be given in, or one of the errors that it promises.
func FuzzCompile(f *testing.F) {
	seedSchemas(f, func(schema []byte, _ string) {
		src, err := json.Marshal(Source{Schema: schema})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	})
	for _, src := range []string{`{"object":true}`, `{"regex":"^(a|b){2,5}[^é]*$"}`, `{"choice":["a","ab",""]}`, `{"seq":[{"literal":"<"},{"alt":[{"regex":"x+"},{"object":true}]}]}`,
		`{"free":{"marker":"<<","then":{"literal":">"},"times":2}}`, `{"free":{"then":{}}}`, `{"regex":"\\pL{1,9}(?i)k$"}`} {
		f.Add([]byte(src))
	}
	v := bytesVocabulary(spans...)
	f.Fuzz(func(t *testing.T, text []byte) {
		var src Source
		if json.Unmarshal(text, &src) != nil {
			return
		}
		g, err := Compile(src)
		if err != nil {
			var unsupported *Unsupported
			var large *TooLarge
			if !errors.Is(err, ErrMalformed) && !errors.As(err, &unsupported) && !errors.As(err, &large) {
				t.Fatal(err)
			}
			return
		}
		m := g.Start(v)
		for i := range 30 {
			ids := admitted(m.Mask(nil))
			if len(ids) == 0 {
				if !m.Complete() {
					t.Fatal("stuck")
				}
				break
			}
			if err := m.Take(ids[(i*7919+len(text))%len(ids)]); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzMatch gives texts to schemas: what is taken is JSON that fits the schema, also for a library.
func FuzzMatch(f *testing.F) {
	seedSchemas(f, func(schema []byte, text string) { f.Add(schema, text) })
	f.Fuzz(func(t *testing.T, schema []byte, text string) {
		g, err := Compile(Source{Schema: schema})
		if err != nil || !fits(g, text) {
			return
		}
		library, err := validatorOf(string(schema))
		if err != nil {
			return // it is stricter about what a schema may look like
		}
		if err := judge(library, text); err != nil {
			t.Fatalf("%s takes %s: %v", schema, text, err)
		}
	})
}
