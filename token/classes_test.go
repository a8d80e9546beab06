package token

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"unicode"
	"unicode/utf8"
)

// TestCharacterClasses compares every code point with the reference library (SKEIN_PYTHON names its Python). Without it
// the fixtures still hold the classes of the scripts in use.
func TestCharacterClasses(t *testing.T) {
	python := os.Getenv("SKEIN_PYTHON")
	if python == "" {
		t.Skip("SKEIN_PYTHON is not set: it names a Python with the reference library")
	}
	cmd := exec.Command(python, filepath.Join("..", "tools", "py", "make_token_fixtures.py"), "--unicode")
	cmd.Stderr = os.Stderr
	raw, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var ref struct {
		Classes map[string][]rune
		Lower   map[string]string
	}
	if err := json.Unmarshal(raw, &ref); err != nil {
		t.Fatal(err)
	}
	ours := map[string]func(r rune) bool{
		"letter": func(r rune) bool { return classOf(r) == letter },
		"number": func(r rune) bool { return classOf(r) == number },
		"space":  func(r rune) bool { return isSpaceClass(classOf(r)) },
		"head":   headLetter,
		"tail":   tailLetter,
		"bertControl": func(r rune) bool {
			text, same := cleanText.to(r)
			return !same && text == ""
		},
		"bertMark": func(r rune) bool {
			_, same := dropMarks.to(r)
			return !same
		},
		"bertPunctuation": isBertPunctuation,
		"ideograph":       isIdeograph,
		"word":            isWordChar,
	}
	if len(ref.Classes) != len(ours) {
		t.Fatalf("the reference has %d classes, this test %d", len(ref.Classes), len(ours))
	}
	for name, is := range ours {
		in := map[rune]bool{}
		for _, r := range ref.Classes[name] {
			in[r] = true
		}
		for r := range rune(unicode.MaxRune + 1) {
			if utf8.ValidRune(r) && in[r] != is(r) {
				t.Errorf("%U: %s is %v, want %v", r, name, is(r), in[r])
			}
		}
	}
	for r := range rune(unicode.MaxRune + 1) {
		if !utf8.ValidRune(r) {
			continue
		}
		want, ok := ref.Lower[strconv.Itoa(int(r))]
		if !ok {
			want = string(r)
		}
		got, same := lowercase.to(r)
		if same {
			got = string(r)
		}
		if got != want {
			t.Errorf("%U in lower case is %q, want %q", r, got, want)
		}
	}
}
