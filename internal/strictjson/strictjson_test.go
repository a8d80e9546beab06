package strictjson

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

var limits = Limits{Bytes: 1 << 20, Depth: 8, Values: 1000}

func TestCheck(t *testing.T) {
	for _, c := range []struct{ text, why string }{
		{`{"a":1,"b":{"a":[{"a":1},{"a":"a"}]},"c":"b"}`, ""},
		{` [1, "a", null] `, ""},
		{`"x"`, ""},
		{`{"a":"]}","b":"\"{[[[[[[[[[["}`, ""},
		{`{"a":1,"a":2}`, `key "a" twice`},
		{`{"a":{"b":1,"c":[],"b":2}}`, `key "b" twice`},
		{`[{"a":1},{"a":[{"k":0,"\u006b":1}]}]`, `key "k" twice`},
		{"\xef\xbb\xbf{}", "byte order mark"},
		{"{\"a\":\"\xff\"}", "not UTF-8"},
		{`{} {}`, "after top-level value"},
		{`{"a":NaN}`, "invalid character"},
		{`{"a":1,}`, "invalid character"},
		{``, "unexpected end"},
		{`{"a":`, "unexpected end"},
		{strings.Repeat("[", 9) + strings.Repeat("]", 9), "deeper than 8"},
		{strings.Repeat("[", 1e5), "deeper than 8"},
		{strings.Repeat(`{"a":`, 1e5), "deeper than 8"},
		{"[" + strings.Repeat("1,", 1000) + "1]", "more than 1000 values"},
		{`"` + strings.Repeat("a", 1<<20) + `"`, "more than 1048576"},
	} {
		err := Check([]byte(c.text), limits)
		if c.why == "" {
			if err != nil {
				t.Errorf("%.60q: %v", c.text, err)
			}
			continue
		}
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%.60q: %v, want %q", c.text, err, c.why)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{`{"a":1,"a":2}`, `[{"a":{}}]`, "\xef\xbb\xbf{}", `"\ud800"`, `[[[[[[[[[`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := Check(b, limits)
		if err != nil && !errors.Is(err, ErrRefused) {
			t.Fatalf("untyped error %v", err)
		}
		if err == nil && !json.Valid(b) {
			t.Fatal("accepted what is no JSON")
		}
	})
}
