package admin

import (
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/alert"
)

// What a client writes means one thing, or is refused.
func TestParse(t *testing.T) {
	if r, err := parse[alert.Rule]("rule", ` {"id":"a"} `); err != nil || r.ID != "a" {
		t.Errorf("%+v, %v", r, err)
	}
	for name, text := range map[string]string{
		"a key twice":       `{"id":"a","id":"b"}`,
		"a key twice below": `{"id":"a","labels":{"x":"1","x":"2"}}`,
		"something after":   `{"id":"a"} {}`,
		"a bracket after":   `{"id":"a"}]`,
		"an unknown key":    `{"id":"a","idd":"b"}`,
		"too deep":          `{"labels":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`,
		"no UTF-8":          "{\"id\":\"\xff\"}",
		"a byte order mark": "\xef\xbb\xbf{}",
		"too long":          `{"id":"` + strings.Repeat("a", 20_000) + `"}`,
		"nothing":           ``,
	} {
		if r, err := parse[alert.Rule]("rule", text); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}
