package cluster

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// written runs the commands of a script and returns the snapshot of the state that they make.
func written(t *testing.T, script ...string) (State, string) {
	sc := &scripted{t: t, at: 1000}
	for _, entry := range script {
		sc.block(strings.Split(entry, "\n"))
	}
	var b bytes.Buffer
	if n, err := sc.state.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("%d bytes of %d: %v", n, b.Len(), err)
	}
	return sc.state, b.String()
}

var everything = []string{
	"init c1",
	"put_member m1 ; put_member m2 ; put_member g1 role=gateway\nput_node n1 gpu1=16GiB\nput_node n2 gpu2=16GiB gpu3=8GiB",
	"put_join_token h1 expires=2000\nput_key k1 name=one",
	"put_version calc@1 holders=m1,m2\nput_version calc@2 holders=m1,m2",
	"put_deployment calc@1 pin=0/0/gpu1 avoid=gpu3",
	"place_replica calc@1/0 0-2:n1/gpu1:10GiB 2-4:n2/gpu2:10GiB\nplace_replica calc@1/1 0-4:n2/gpu2:1GiB",
	"mark_replica calc@1/0 ready n1:9 n2:9\nmark_replica calc@1/1 stopping ; remove_replica calc@1/1",
	"put_alias calc calc@2 force=yes",
	"set_node_status n2 lost why=silent",
}

var rewriteSnapshot = flag.Bool("rewrite-snapshot", false, "write the golden snapshot anew; only before the first release")

// The snapshot of format 1 must keep loading, and while the format is 1, a state must be written the same way: a new field of a
// record is "omitempty". From the first release on the file is never written anew.
func TestGoldenSnapshot(t *testing.T) {
	if *rewriteSnapshot {
		_, text := written(t, everything...)
		if err := os.WriteFile("testdata/snapshot.1.jsonl", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile("testdata/snapshot.1.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Read(bytes.NewReader(golden))
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if _, err := s.WriteTo(&again); err != nil || again.String() != string(golden) {
		t.Errorf("written again (%v):\n%s", err, again.String())
	}
	if made, text := written(t, everything...); text != string(golden) || made.Hash() != s.Hash() {
		t.Errorf("the same commands make:\n%s", text)
	}
}

// sealed is a snapshot of these lines with the end that they need.
func sealed(lines ...string) string {
	text := strings.Join(lines, "")
	return text + fmt.Sprintf(`{"end":{"records":%d,"sha256":"%x"}}`, len(lines)-1, sha256.Sum256([]byte(text))) + "\n"
}

func TestReadRefuses(t *testing.T) {
	_, text := written(t, everything...)
	lines := strings.SplitAfter(text, "\n")
	lines = lines[:len(lines)-1]
	without := func(i int) string { return strings.Join(slices.Concat(lines[:i], lines[i+1:]), "") }
	rows := lines[:len(lines)-1]
	swapped := slices.Clone(rows)
	swapped[2], swapped[3] = swapped[3], swapped[2]
	late := slices.Concat(rows[:1], rows[2:], rows[1:2]) // the cluster's own record at the end
	for name, bad := range map[string]string{
		"empty":                "",
		"no header":            without(0),
		"unknown kind of line": sealed(lines[0], `{"r":[]}`+"x\n"),
		"no end":               without(len(lines) - 1),
		"a record missing":     without(4),
		"a record twice":       sealed(slices.Concat(rows[:4], rows[3:])...),
		"records swapped":      sealed(swapped...),
		"sections swapped":     sealed(late...),
		"bytes after":          text + "\n",
		"cut":                  text[:len(text)-1],
		"changed":              strings.Replace(text, `"silent"`, `"Silent"`, 1),
		"wrong checksum":       strings.Replace(text, `"sha256":"`, `"sha256":"0`, 1),
		"unknown field":        strings.Replace(text, `"why":"silent"`, `"who":"silent"`, 1),
		"second cluster":       sealed(lines[0], lines[1], lines[1]),
		"line over limit":      lines[0] + strings.Repeat("x", MaxRecord+1),
		"deep record":          lines[0] + `{"k":"node","r":` + strings.Repeat("[", 100_000) + "\n",
		"negative reserve":     sealed(lines[0], `{"k":"replica","r":{"version":{"model":"m","number":1},"ordinal":0,"epoch":1,"serving":{"slots":1,"context":1},"stages":[{"from":0,"to":1,"node":"n","device":"d","reserve":-1}],"status":"loading","rev":1}}`+"\n"),
		"no revision":          sealed(lines[0], `{"k":"cluster","r":{"id":"c","feature":1,"ca_cert":null,"ca_key":null,"rev":0}}`+"\n"),
		"record without end":   lines[0] + `{"k":"node"`,
	} {
		if s, err := Read(strings.NewReader(bad)); !errors.Is(err, ErrMalformed) || s.Index() != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, newer := range map[string]string{
		"format":  strings.Replace(text, `{"format":1,`, `{"format":2,`, 1),
		"feature": strings.Replace(text, `"feature":1,`, fmt.Sprintf(`"feature":%d,`, Feature+1), 1),
		"kind":    strings.Replace(text, `{"k":"key"`, `{"k":"moon"`, 1),
	} {
		if _, err := Read(strings.NewReader(newer)); !errors.As(err, new(*UnknownTag)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(strings.NewReader(sealed(rows...))); err != nil {
		t.Errorf("the same lines sealed again: %v", err)
	}
	broken := errors.New("disk on fire")
	if _, err := Read(io.MultiReader(strings.NewReader(text[:100]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("reader's error: %v", err)
	}
	if _, err := Read(iotest.OneByteReader(strings.NewReader(text))); err != nil {
		t.Errorf("read byte by byte: %v", err)
	}
}

type full struct{ left int }

func (f *full) Write(b []byte) (int, error) {
	n := min(f.left, len(b))
	f.left -= n
	if n < len(b) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

func TestWriteFails(t *testing.T) {
	s, text := written(t, everything...)
	for _, room := range []int{0, 10, len(text) - 1} {
		if _, err := s.WriteTo(&full{room}); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("room for %d bytes: %v", room, err)
		}
	}
}

// FuzzRead: no bytes make Read panic, and what was read is written as it was. Bytes without an end line get a right one, so that the
// checksum does not keep the fuzzer out.
func FuzzRead(f *testing.F) {
	golden, err := os.ReadFile("testdata/snapshot.1.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add(golden[:bytes.Index(golden, []byte(`{"end"`))])
	f.Add([]byte(`{"format":1,"index":9,"at":1000}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if !bytes.Contains(b, []byte(`{"end"`)) {
			b = []byte(sealed(slices.Collect(strings.Lines(strings.TrimSuffix(string(b), "\n") + "\n"))...))
		}
		s, err := Read(bytes.NewReader(b))
		if err != nil {
			if u := (*UnknownTag)(nil); !errors.As(err, &u) && !errors.Is(err, ErrMalformed) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		var again bytes.Buffer
		if _, err := s.WriteTo(&again); err != nil {
			t.Fatal(err)
		}
		if back, err := Read(&again); err != nil || back.Hash() != s.Hash() {
			t.Fatalf("what was written does not come back: %v", err)
		}
	})
}
