package jinja_test

import (
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/skein-project/skein/internal/jinja"
)

// now is where the clock of tools/py/make_jinja_cases.py stands.
var now = time.Date(2026, 3, 5, 7, 8, 9, 123456000, time.UTC)

// reference is what Python answers for one template.
type reference struct {
	Name     string          `json:"name"`
	Template string          `json:"template"`
	Vars     json.RawMessage `json:"vars"`
	Output   *string         `json:"output"`
	Error    string          `json:"error"`
	Message  string          `json:"message"`
}

func readCases(t testing.TB, path string) (cases []reference, shared map[string]any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vars  json.RawMessage `json:"vars"`
		Cases []reference     `json:"cases"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.Cases, readVars(t, file.Vars)
}

func readVars(t testing.TB, text []byte) map[string]any {
	t.Helper()
	v, err := jinja.FromJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	o := v.(*jinja.Object)
	vars := map[string]any{}
	for _, k := range o.Keys() {
		vars[k], _ = o.Get(k)
	}
	return vars
}

func render(template string, vars map[string]any, lim jinja.Limits) (string, error) {
	tmpl, err := jinja.Parse(template)
	if err != nil {
		return "", err
	}
	if lim.Now.IsZero() {
		lim.Now = now
	}
	return tmpl.Render(vars, lim)
}

// class names an error as the reference does.
func class(err error) string {
	var (
		syntax  *jinja.SyntaxError
		limit   *jinja.LimitError
		raised  *jinja.RaisedError
		runtime *jinja.RuntimeError
	)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &syntax):
		return "syntax"
	case errors.As(err, &limit):
		return "limit"
	case errors.As(err, &raised):
		return "raised"
	case errors.As(err, &runtime):
		return "runtime"
	}
	return "unknown"
}

// TestCases compares every committed case with what Python rendered.
func TestCases(t *testing.T) {
	cases, shared := readCases(t, "testdata/cases.json")
	if len(cases) < 1000 {
		t.Fatalf("only %d cases", len(cases))
	}
	compare(t, cases, shared)
}

// TestForeignCases compares cases of the same form from the file that SKEIN_JINJA_CASES names: templates of others,
// which are not ours to keep.
func TestForeignCases(t *testing.T) {
	path := os.Getenv("SKEIN_JINJA_CASES")
	if path == "" {
		t.Skip("SKEIN_JINJA_CASES is not set")
	}
	cases, shared := readCases(t, path)
	compare(t, cases, shared)
}

func compare(t *testing.T, cases []reference, shared map[string]any) {
	t.Helper()
	for _, c := range cases {
		vars := shared
		if string(c.Vars) != "null" {
			vars = readVars(t, c.Vars)
		}
		got, err := render(c.Template, vars, jinja.Limits{})
		if diff := c.differs(got, err); diff != "" {
			t.Errorf("%s: %q\n%s", c.Name, c.Template, diff)
		}
	}
}

// differs describes how an answer differs from the reference, or returns "".
func (c reference) differs(got string, err error) string {
	if c.Output != nil {
		switch {
		case err != nil:
			return "  got error " + err.Error() + "\n want " + quote(*c.Output)
		case got != *c.Output:
			return "  got " + quote(got) + "\n want " + quote(*c.Output)
		}
		return ""
	}
	if k := class(err); k != c.Error {
		text := quote(got)
		if err != nil {
			text = k + " error: " + err.Error()
		}
		return "  got " + text + "\n want a " + c.Error + " error: " + c.Message
	}
	var raised *jinja.RaisedError
	if errors.As(err, &raised) && raised.Msg != c.Message {
		return "  got message " + quote(raised.Msg) + "\n want " + quote(c.Message)
	}
	return ""
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
