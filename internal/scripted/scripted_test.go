package scripted

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skein-project/skein/internal/jinja"
	"github.com/skein-project/skein/internal/toolcall"
	"github.com/skein-project/skein/token"
)

// The tokenizers load, the templates teach the forms that they are named after, and each line joins to what is promised.
func TestForms(t *testing.T) {
	forms := map[string]toolcall.Form{"tagged": toolcall.Tagged, "bare": toolcall.Bare, "listed": toolcall.Listed}
	for name, m := range Forms() {
		dir := t.TempDir()
		if err := m.Write(dir); err != nil {
			t.Fatal(name, err)
		}
		files := map[string][]byte{}
		for _, f := range token.Files() {
			if b, err := os.ReadFile(filepath.Join(dir, f)); err == nil {
				files[f] = b
			}
		}
		tok, err := token.Load(files)
		if err != nil {
			t.Fatal(name, err)
		}
		if _, err := jinja.Parse(m.Template); err != nil {
			t.Error(name, err)
		}
		if got := toolcall.FormOf(m.Template); got != forms[name] {
			t.Errorf("%s is of form %d", name, got)
		}
		for line, want := range map[string]string{say: Said, done: Done, ":": Begun, "{": Named[1:]} {
			if got := strings.Join(m.Lines[line], ""); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s says %q, want %q", name, line, got, want)
			}
		}
		for _, text := range []string{"Zürich 🌞\n", Said} {
			e, err := tok.Encode(text, token.EncodeOptions{})
			if err != nil || tok.Decode(e.IDs, false) != text {
				t.Errorf("%s: %q becomes %q, %v", name, text, tok.Decode(e.IDs, false), err)
			}
		}
		var events []string
		r := toolcall.NewReader(forms[name], []string{"get_weather", "add"})
		for _, piece := range append(m.Lines[call], "") {
			got := r.Push(piece)
			if piece == "" {
				got = r.Close()
			}
			for _, e := range got {
				events = append(events, e.Text)
			}
		}
		all := strings.Join(events, "")
		if want := "get_weather" + First + "add" + Then; strings.TrimPrefix(all, Look) != want {
			t.Errorf("%s calls %s, want %s", name, all, want)
		}
	}
}
