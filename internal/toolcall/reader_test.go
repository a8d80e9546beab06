package toolcall

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var offered = []string{"get_weather", "add", "now"}

// read reads an answer in pieces that end at the given places, and joins neighbouring events.
func read(f Form, text string, cuts ...int) (out []Event) {
	r := NewReader(f, offered)
	add := func(events []Event) {
		for _, e := range events {
			if n := len(out); n > 0 && out[n-1].Kind == e.Kind && (e.Kind == Text || e.Kind == Arguments) {
				out[n-1].Text += e.Text
				continue
			}
			out = append(out, e)
		}
	}
	from := 0
	for _, to := range cuts {
		add(r.Push(text[from:to]))
		from = to
	}
	add(r.Push(text[from:]))
	add(r.Close())
	return out
}

// brief writes events as "text name(arguments) text".
func brief(events []Event) string {
	var b strings.Builder
	for _, e := range events {
		switch e.Kind {
		case Text, Arguments:
			b.WriteString(e.Text)
		case Call:
			b.WriteString("«" + e.Text + "(")
		case End:
			b.WriteString(")»")
		}
	}
	return b.String()
}

func TestReader(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "answers.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ Form, Text, Want string }
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 30 {
		t.Fatalf("%d cases", len(cases))
	}
	forms := map[string]Form{"tagged": Tagged, "bare": Bare, "listed": Listed, "unknown": Unknown}
	for _, c := range cases {
		f, ok := forms[c.Form]
		if !ok {
			t.Fatalf("no form %q", c.Form)
		}
		if got := brief(read(f, c.Text)); got != c.Want {
			t.Errorf("%s: %s\ngave %s\nwant %s", c.Form, c.Text, got, c.Want)
		}
		whole := read(f, c.Text)
		for i := range c.Text { // every cut, and all bytes one by one
			if got := read(f, c.Text, i); !slices.Equal(got, whole) {
				t.Errorf("%s: %s\ncut at %d gives %s\nwhole %s", c.Form, c.Text, i, brief(got), brief(whole))
			}
		}
		var every []int
		for i := range len(c.Text) {
			every = append(every, i)
		}
		if got := read(f, c.Text, every...); !slices.Equal(got, whole) {
			t.Errorf("%s: %s\nbyte by byte gives %s\nwhole %s", c.Form, c.Text, brief(got), brief(whole))
		}
	}
}

// The form of each template is the one that it teaches.
func TestFormOf(t *testing.T) {
	dir := filepath.Join("..", "jinja", "testdata", "chat")
	want := map[string]Form{"qwen_tools.jinja": Tagged, "llama3_tools.jinja": Bare, "mistral_tools.jinja": Listed}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 8 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if got := FormOf(string(b)); got != want[f.Name()] {
			t.Errorf("%s: form %d, want %d", f.Name(), got, want[f.Name()])
		}
	}
}

var tagged = regexp.MustCompile(`(?s)<tool_call>\s*(.*?)\s*</tool_call>`)

// On answers that are well formed, the reader finds what a search through the whole answer finds.
func TestReaderAgainstSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		var cuts []int
		values := rapid.OneOf(rapid.Just(any(nil)), rapid.Map(rapid.Float64Range(-1e9, 1e9), func(x float64) any { return x }),
			rapid.Map(rapid.StringOf(rapid.RuneFrom([]rune("a\"\\{}[]<>é\n/ "))), func(s string) any { return s }),
			rapid.Map(rapid.SliceOf(rapid.Bool()), func(s []bool) any { return s }))
		for range rapid.IntRange(0, 4).Draw(t, "parts") {
			if rapid.Bool().Draw(t, "call") {
				b, err := json.Marshal(rapid.MapOf(rapid.StringMatching("[a-z]{1,3}"), values).Draw(t, "arguments"))
				if err != nil {
					t.Fatal(err)
				}
				space := rapid.SampledFrom([]string{"", "\n", "  "}).Draw(t, "space")
				text.WriteString("<tool_call>" + space + `{"name": "` + rapid.SampledFrom(offered).Draw(t, "name") + `",` + space + `"arguments": ` + string(b) + "}" + space + "</tool_call>" + space)
			} else {
				text.WriteString(rapid.StringMatching(`[a-z <{"]{0,8}`).Draw(t, "text"))
			}
		}
		s := text.String()
		for range rapid.IntRange(0, 6).Draw(t, "cuts") {
			cuts = append(cuts, rapid.IntRange(0, len(s)).Draw(t, "cut"))
		}
		slices.Sort(cuts)
		var want []string
		for _, m := range tagged.FindAllStringSubmatch(s, -1) {
			var call struct {
				Name      string
				Arguments json.RawMessage
			}
			if err := json.Unmarshal([]byte(m[1]), &call); err != nil {
				t.Fatal(err)
			}
			want = append(want, call.Name+string(call.Arguments))
		}
		var got []string
		rest := ""
		for _, e := range read(Tagged, s, cuts...) {
			switch e.Kind {
			case Call:
				got = append(got, e.Text)
			case Arguments:
				got[len(got)-1] += e.Text
			case Text:
				rest += e.Text
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s\ngave %q\nwant %q", s, got, want)
		}
		if a, b := strings.Join(strings.Fields(rest), ""), strings.Join(strings.Fields(tagged.ReplaceAllString(s, "")), ""); a != b {
			t.Fatalf("%s\nleaves the text %q, want %q", s, a, b)
		}
	})
}

// What is held back to find out whether it is a call is bounded, and the bound does not depend on the pieces either.
func TestLongHead(t *testing.T) {
	long := strings.Repeat(" ", maxHead)
	for f, text := range map[Form]string{
		Tagged: `a <tool_call>{"name":` + long + `"now", "arguments": {}}</tool_call>`, Bare: `{"name":` + long + `"now", "parameters": {}}`,
		Listed: `[TOOL_CALLS]` + long + `[{"name": "now", "arguments": {}}]`,
	} {
		var every []int
		for i := range len(text) {
			every = append(every, i)
		}
		if got := read(f, text, every...); brief(got) != text || !slices.Equal(got, read(f, text)) {
			t.Errorf("form %d: %.60q, in one piece %.60q", f, brief(got), brief(read(f, text)))
		}
		r, most := NewReader(f, offered), 0
		for i := range len(text) {
			r.Push(text[i : i+1])
			most = max(most, len(r.held))
		}
		if most > maxHead+len(pythonTag) {
			t.Errorf("form %d holds %d bytes back", f, most)
		}
	}
}

// Whatever a model writes, the pieces in which it comes change nothing, and an answer without calls comes out as it is.
func FuzzReader(f *testing.F) {
	b, err := os.ReadFile(filepath.Join("testdata", "answers.json"))
	if err != nil {
		f.Fatal(err)
	}
	var cases []struct{ Text string }
	if err := json.Unmarshal(b, &cases); err != nil {
		f.Fatal(err)
	}
	for i, c := range cases {
		f.Add(byte(i), c.Text, uint(len(c.Text)/2), uint(len(c.Text)/3))
	}
	f.Fuzz(func(t *testing.T, form byte, text string, a, b uint) {
		fm := Form(form % 4)
		whole := read(fm, text)
		cuts := []int{int(a % uint(len(text)+1)), int(b % uint(len(text)+1))}
		slices.Sort(cuts)
		if got := read(fm, text, cuts...); !slices.Equal(got, whole) {
			t.Fatalf("form %d: %q\ncut at %v gives %q\nwhole %q", fm, text, cuts, brief(got), brief(whole))
		}
		open, calls := false, 0
		for _, e := range whole {
			if (e.Kind == Call) == open && e.Kind != Arguments && e.Kind != Text || (e.Kind == Arguments) != open && e.Kind != Call && e.Kind != End {
				t.Fatalf("form %d: %q gives %q", fm, text, brief(whole))
			}
			switch e.Kind {
			case Call:
				open, calls = true, calls+1
			case End:
				open = false
			}
		}
		if open || calls == 0 && brief(whole) != text {
			t.Fatalf("form %d: %q gives %q", fm, text, brief(whole))
		}
	})
}
