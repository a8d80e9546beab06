package grammar

import "testing"

func bytesVocabulary(more ...string) *Vocabulary {
	var tokens [][]byte
	for i := range 256 {
		tokens = append(tokens, []byte{byte(i)})
	}
	for _, m := range more {
		tokens = append(tokens, []byte(m))
	}
	return NewVocabulary(tokens)
}

func fits(g *Grammar, text string) bool {
	m := g.Start(bytesVocabulary())
	for i := range len(text) {
		if m.Take(int32(text[i])) != nil {
			return false
		}
	}
	return m.Complete()
}

func TestFirst(t *testing.T) {
	g, err := Compile(Source{Object: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{`{}`, `{ }`, `{"a": [1, -2.5e3, "x\ud83d\ude00\u00e4ä"], "b":{"c": null}}`, "{\n  \"a\": 0\n}"} {
		if !fits(g, s) {
			t.Error(s)
		}
	}
	for _, s := range []string{``, ` {}`, `[]`, `{"a"}`, `{"a":01}`, `{"a":"\ud83d"}`, "{\"a\":\"\xff\"}", `{"a":1,}`, `{"a":1}}`} {
		if fits(g, s) {
			t.Error(s)
		}
	}
	g, err = Compile(Source{Choice: []string{"yes", "yesterday", "no", "yes"}})
	if err != nil {
		t.Fatal(err)
	}
	for s, ok := range map[string]bool{"yes": true, "yesterday": true, "no": true, "y": false, "": false} {
		if fits(g, s) != ok {
			t.Error(s)
		}
	}
}
