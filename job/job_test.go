package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
)

// readCases reads a file of cases.
func readCases(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What is said of an input before any of its requests is made.
func TestInputs(t *testing.T) {
	var cases []struct {
		Name   string
		Lines  []string
		Total  int64
		Faults []Fault
	}
	readCases(t, "inputs.json", &cases)
	for _, c := range cases {
		total, faults := checked(t, strings.Join(c.Lines, "\n"))
		for i := range faults {
			faults[i].Message = ""
		}
		if total != c.Total || fmt.Sprint(faults) != fmt.Sprint(c.Faults) {
			t.Errorf("%s: %d requests, %v, want %d, %v", c.Name, total, faults, c.Total, c.Faults)
		}
	}
}

func checked(t testing.TB, input string) (int64, []Fault) {
	t.Helper()
	c, lines := NewChecker("/v1/completions"), NewLines(strings.NewReader(input), 0)
	for {
		line, long, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return c.Result()
		}
		if err != nil {
			t.Fatal(err)
		}
		if !c.Line(lines.Number, line, long) {
			return c.Result()
		}
	}
}

// What the owner of a batch does next, and what others may do meanwhile.
func TestNext(t *testing.T) {
	var cases []struct {
		Name   string
		Batch  Batch
		Now    Millis
		Want   Action
		Free   bool
		Cancel bool // it can be cancelled
	}
	readCases(t, "next.json", &cases)
	for _, c := range cases {
		_, err := c.Batch.Cancel(c.Now)
		if got := c.Batch.Next(c.Now); got != c.Want || c.Batch.Free(c.Now) != c.Free || (err == nil) != c.Cancel {
			t.Errorf("%s: %s, free %v, cancel %v", c.Name, got, c.Batch.Free(c.Now), err)
		}
	}
}

// A line is as long as a line may be, or it is too long; neither takes more memory than one line, whatever it is cut into.
func TestLongLines(t *testing.T) {
	fits := strings.Repeat("x", MaxLine)
	lines := NewLines(strings.NewReader(fits+"\r\n"+fits+"y\n\n  \n"+strings.Repeat("z", 3*MaxLine)+"\nend"), 0)
	for i, want := range []struct {
		n    int
		long bool
		line int64
	}{{MaxLine, false, 1}, {0, true, 2}, {0, true, 5}, {3, false, 6}} {
		b, long, err := lines.Next()
		if len(b) != want.n || long != want.long || lines.Number != want.line || err != nil {
			t.Errorf("%d: %d bytes, long %v, line %d, %v", i, len(b), long, lines.Number, err)
		}
		if cap(lines.line) > 2*MaxLine {
			t.Errorf("%d: %d bytes are held", i, cap(lines.line))
		}
	}
	if _, _, err := lines.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// Lines are those that splitting the whole input gives, from any of their ends on too.
func TestLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		input := rapid.StringMatching(`([a-c ]{0,5}\r?\n){0,8}[a-c ]{0,3}`).Draw(t, "input")
		var want []string
		for _, l := range strings.Split(input, "\n") {
			if l = strings.TrimSpace(l); l != "" {
				want = append(want, l)
			}
		}
		var got []string
		ends := []int64{0}
		for lines := NewLines(oneByte{strings.NewReader(input)}, 0); ; {
			l, _, err := lines.Next()
			if err != nil {
				break
			}
			got, ends = append(got, string(l)), append(ends, lines.Offset)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%q, want %q", got, want)
		}
		for i, at := range ends {
			lines := NewLines(strings.NewReader(input[at:]), at)
			for _, w := range want[i:] {
				if l, _, err := lines.Next(); err != nil || string(l) != w {
					t.Fatalf("from byte %d: %q, %v, want %q", at, l, err, w)
				}
			}
		}
	})
}

type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

// Parts are few, fall in size, and every byte is written again a few times at most, however often a little is added.
func TestKeep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		adds := rapid.SliceOfN(rapid.Int64Range(1, 6<<20), 1, 300).Draw(t, "adds")
		if rapid.Bool().Draw(t, "small") {
			for i := range adds {
				adds[i] = 1 + adds[i]%2000
			}
		}
		var parts []Part
		var total, written int64
		for _, n := range adds {
			total += n
			kept := Keep(parts, n)
			for _, p := range parts[kept:] {
				n += p.Bytes
			}
			written += n
			parts = parts[:kept]
			for n > 0 {
				parts = append(parts, Part{Bytes: min(n, blob.ChunkSize)})
				n -= min(n, blob.ChunkSize)
			}
			if Size(parts) != total {
				t.Fatalf("%d bytes in parts, want %d", Size(parts), total)
			}
		}
		if most := int(total/blob.ChunkSize)*2 + 26; len(parts) > most {
			t.Errorf("%d parts of %d bytes, want at most %d", len(parts), total, most)
		}
		if written > 26*total {
			t.Errorf("%d bytes were written for %d", written, total)
		}
	})
}

// A part is read as it was written, and documents of the largest files and batches are not too large.
func TestPartsFit(t *testing.T) {
	p := Part{Digest: blob.Of([]byte("x")).Digest(), Bytes: blob.ChunkSize}
	text, _ := p.MarshalText()
	var got Part
	if err := got.UnmarshalText(text); err != nil || got != p {
		t.Errorf("%s: %v, %v", text, got, err)
	}
	parts := make([]Part, MaxFile)
	for i := range parts {
		parts[i] = p
	}
	long := strings.Repeat("\x01", MaxName) // written as six characters each
	f, _ := json.Marshal(File{ID: "file-" + strings.Repeat("f", 32), App: strings.Repeat("a", 64), Name: long, Parts: parts, Created: 1 << 42, Expires: 1 << 42, Bytes: 1 << 40})
	if len(f) > cluster.MaxDocument {
		t.Errorf("a file of %d parts takes %d bytes", MaxFile, len(f))
	}
	b := Batch{Metadata: map[string]string{"m": strings.Repeat("m", MaxMetadata)}, Output: parts[:MaxParts], Callback: &Callback{URL: strings.Repeat("u", MaxURL), Why: strings.Repeat("w", maxWords)},
		Since: map[Status]Millis{Validating: 1 << 42, InProgress: 1 << 42, Finalizing: 1 << 42}, App: strings.Repeat("a", 64), Key: strings.Repeat("k", 64), Owner: strings.Repeat("o", 65)}
	if text, _ := json.Marshal(b); len(text) > cluster.MaxDocument-1024 {
		t.Errorf("a batch of %d parts takes %d bytes", MaxParts, len(text))
	}
}

// What a callback comes to.
func TestCalled(t *testing.T) {
	b := Batch{Status: Completed, Callback: &Callback{URL: "https://x", State: Pending}}
	if !b.CallDue(0) || b.Called("", false, 0, 1).Callback.State != Delivered || b.Called("status 404", true, 0, 1).Callback.State != GivenUp {
		t.Error("the first call")
	}
	var last Millis
	n := 0
	for now := Millis(0); b.CallDue(now); now = b.Callback.Next {
		if now < last {
			t.Fatalf("call %d is earlier than the one before", n)
		}
		last, n = now, n+1
		b = b.Called(strings.Repeat("é", 500), false, 0, now)
	}
	if n != MaxCalls || b.Callback.State != GivenUp || len([]rune(b.Callback.Why)) != maxWords {
		t.Errorf("%d calls, %+v", n, b.Callback)
	}
	later := Batch{Status: Completed, Callback: &Callback{State: Pending}}.Called("busy", false, 60_000, 10)
	if later.Callback.Next != 60_010 {
		t.Errorf("the receiver asks to wait: %d", later.Callback.Next)
	}
}

// Whether requests are made again.
func TestAgain(t *testing.T) {
	for _, c := range []struct {
		status, tries int
		after, wait   int64
		again         bool
	}{{200, 1, 0, 0, false}, {400, 1, 0, 0, false}, {429, 1, 0, 500, true}, {429, 100, 0, 30_000, true}, {429, 1, 7000, 7000, true}, {429, 1, 3_600_000, 30_000, true}, {503, 9, 0, 30_000, true},
		{500, 1, 0, 500, true}, {500, 3, 0, 0, false}, {501, 1, 0, 0, false}, {504, 2, 0, 1000, true}} {
		if wait, again := Again(c.status, c.tries, c.after); wait != c.wait || again != c.again {
			t.Errorf("%+v: %d, %v", c, wait, again)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte(`{"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"stream": true}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(bytes.TrimSpace(b)) == 0 {
			return
		}
		l, fault := ParseLine("/v1/completions", bytes.TrimSpace(b))
		if fault == nil && (l.CustomID == "" || len(l.CustomID) > MaxCustomID || !json.Valid(l.Body) || l.Body[0] != '{') {
			t.Errorf("%q passes: %+v", b, l)
		}
	})
}

func FuzzPart(f *testing.F) {
	text, _ := Part{Bytes: 7}.MarshalText()
	f.Add(text)
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Part
		if p.UnmarshalText(b) == nil && (p.Bytes < 0 || p.Bytes > blob.ChunkSize) {
			t.Errorf("%q: %d bytes", b, p.Bytes)
		}
	})
}
