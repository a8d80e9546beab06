package audit

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// logOf writes a log of n records, and its head after each: heads[0] is the empty chain's.
func logOf(t testing.TB, n int, by string) (lines [][]byte, heads []Head) {
	t.Helper()
	heads = []Head{{}}
	for i := range n {
		r := Record{Seq: uint64(i + 1), At: int64(1000 + i), Index: uint64(10 + 2*i), By: by, Request: fmt.Sprintf("r%d", i),
			Commands: json.RawMessage(fmt.Sprintf(`[{"t":"put_key","do":{"id":"k%d"}}]`, i)), Outcome: Applied}
		encoded, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		heads = append(heads, heads[i].Next(encoded))
		lines = append(lines, AppendLine(nil, encoded, heads[i+1]))
	}
	return lines, heads
}

func read(lines [][]byte) iter.Seq2[Line, error] {
	return Lines(bytes.NewReader(slices.Concat(lines...)))
}

func TestVerify(t *testing.T) {
	lines, heads := logOf(t, 8, "ann")
	for from := range heads {
		got, err := Verify(heads[from], read(lines[from:]), heads...)
		if err != nil || got != heads[8] {
			t.Errorf("from %d: %v, %v", from, got, err)
		}
	}
}

// Every way to alter a log is found, at the first record that is not as it was (attack case 40).
func TestAltered(t *testing.T) {
	lines, heads := logOf(t, 8, "ann")
	forged, _ := logOf(t, 8, "bob") // all hashes made anew
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := Sign(heads[6], 5000, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(kept, key.Public()); err != nil {
		t.Fatal(err)
	}
	edit := func(i int, old, new string) [][]byte {
		out := slices.Clone(lines)
		out[i] = bytes.Replace(out[i], []byte(old), []byte(new), 1)
		if bytes.Equal(out[i], lines[i]) {
			t.Fatalf("%q is not in the line", old)
		}
		return out
	}
	for name, c := range map[string]struct {
		lines [][]byte
		seq   uint64
		why   Break
	}{
		"who":               {edit(3, "ann", "bob"), 4, Edited},
		"what":              {edit(3, "k3", "k9"), 4, Edited},
		"when":              {edit(3, "1003", "1004"), 4, Edited},
		"index":             {edit(3, "16", "17"), 4, Edited},
		"outcome":           {edit(3, "applied", "refused"), 4, Edited},
		"hash":              {edit(3, heads[4].Hash.String(), heads[3].Hash.String()), 4, Edited},
		"renumbered":        {slices.Delete(edit(4, `"seq":5`, `"seq":4`), 3, 4), 4, Edited},
		"space":             {edit(3, `"by":`, `"by": `), 4, Malformed},
		"second key":        {edit(3, `"by":`, `"by":"x","by":`), 4, Malformed},
		"unknown field":     {edit(3, `"by":`, `"x":1,"by":`), 4, Malformed},
		"escape":            {edit(3, "ann", `\u0061nn`), 4, Malformed},
		"empty line":        {slices.Insert(slices.Clone(lines), 3, []byte("\n")), 4, Malformed},
		"deleted":           {slices.Delete(slices.Clone(lines), 3, 4), 4, Deleted},
		"first deleted":     {lines[1:], 1, Deleted},
		"two deleted":       {slices.Delete(slices.Clone(lines), 3, 5), 4, Deleted},
		"exchanged":         {slices.Concat(lines[:3], lines[4:5], lines[3:4], lines[5:]), 4, Reordered},
		"moved to the end":  {slices.Concat(lines[:3], lines[4:], lines[3:4]), 4, Reordered},
		"moved to the head": {slices.Concat(lines[3:4], lines[:3], lines[4:]), 1, Reordered},
		"twice":             {slices.Insert(slices.Clone(lines), 4, lines[3]), 5, Reordered},
		"deleted and torn":  {slices.Concat(lines[:3], lines[4:6], [][]byte{[]byte("{")}), 4, Deleted},
		"tail":              {lines[:5], 6, Truncated},
		"all":               {nil, 1, Truncated},
		"forged":            {forged, 6, Rewritten},
		"forged and longer": {slices.Concat(forged), 6, Rewritten},
	} {
		_, err := Verify(Head{}, read(c.lines), kept.Head)
		var b *Broken
		if !errors.As(err, &b) || b.Seq != c.seq || b.Why != c.why {
			t.Errorf("%s: %v, want record %d %s", name, err, c.seq, c.why)
		}
	}
	if got, err := Verify(Head{}, read(forged)); err != nil || Compare(got, heads[8]) == nil {
		t.Errorf("a forged log alone: %v, and against the head in the state: %v", err, Compare(got, heads[8]))
	}
	if got, err := Verify(Head{}, read(lines[:7]), kept.Head); err != nil || got != heads[7] {
		t.Errorf("records after the kept head are cut off: only a later head tells: %v", err)
	}
	if _, err := Verify(heads[7], read(lines[7:]), kept.Head); err != nil {
		t.Errorf("a head from before the beginning: %v", err)
	}
	other, _ := logOf(t, 3, "eve")
	if _, err := Verify(heads[2], read(other[2:])); err == nil {
		t.Error("the end of another chain goes on with this one")
	}
}

func TestCompare(t *testing.T) {
	_, heads := logOf(t, 3, "ann")
	_, other := logOf(t, 3, "bob")
	var b *Broken
	if err := Compare(heads[2], heads[2]); err != nil {
		t.Error(err)
	}
	if err := Compare(heads[1], heads[3]); !errors.As(err, &b) || *b != (Broken{2, Truncated, b.Is}) {
		t.Error(err)
	}
	if err := Compare(heads[3], other[3]); !errors.As(err, &b) || *b != (Broken{3, Rewritten, b.Is}) {
		t.Error(err)
	}
	if err := Compare(heads[3], heads[2]); !errors.Is(err, ErrLonger) {
		t.Error(err)
	}
}

// Any change of any byte of a log is found against its head: by whatever words.
func TestEveryByte(t *testing.T) {
	lines, heads := logOf(t, 3, "ann")
	text := slices.Concat(lines...)
	for i := range text {
		for _, flip := range []byte{1, 0x20, 0x80} {
			bad := slices.Clone(text)
			bad[i] ^= flip
			if _, err := Verify(Head{}, Lines(bytes.NewReader(bad)), heads[3]); err == nil {
				t.Fatalf("byte %d of %d, bits %#x: not found", i, len(text), flip)
			}
		}
		if _, err := Verify(Head{}, Lines(bytes.NewReader(text[:i])), heads[3]); err == nil {
			t.Fatalf("cut at byte %d of %d: not found", i, len(text))
		}
	}
}

func TestLines(t *testing.T) {
	lines, _ := logOf(t, 2, "ann")
	count := func(r io.Reader) (n int, err error) {
		for _, err := range Lines(r) {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	}
	text := slices.Concat(lines...)
	if n, err := count(iotest.OneByteReader(bytes.NewReader(text))); n != 2 || err != nil {
		t.Error(n, err)
	}
	if n, err := count(bytes.NewReader(text[:len(text)-1])); n != 1 || !errors.Is(err, ErrTorn) {
		t.Error(n, err)
	}
	if n, err := count(io.MultiReader(bytes.NewReader(text), iotest.ErrReader(io.ErrNoProgress))); n != 2 || !errors.Is(err, io.ErrNoProgress) {
		t.Error(n, err)
	}
	if n, err := count(&endless{left: 4 * maxLine}); n != 0 || !errors.Is(err, ErrMalformed) {
		t.Error(n, err)
	}
	for range Lines(bytes.NewReader(text)) {
		break
	}
}

// endless is a line that does not end. It fails a reader that takes more of it than a line may have.
type endless struct{ left int }

func (e *endless) Read(b []byte) (int, error) {
	if e.left -= len(b); e.left < 0 {
		return 0, errors.New("the reader did not stop")
	}
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

// The bytes of a record and of a head are fixed: they are in files and under signatures.
func TestFormat(t *testing.T) {
	r := Record{Seq: 7, At: 1700000000000, Index: 12, By: "key sk-\"ab\\12\" of <acme> & co\n", Request: "é\u2028\xff\x7f",
		Commands: json.RawMessage("[ {\"a\" : 1.50} ]"), Outcome: "node n1: it is lost (node_not_ready)"}
	encoded, err := r.Encode()
	const want = `{"seq":7,"at":1700000000000,"index":12,"by":"key sk-\"ab\\12\" of <acme> & co\u000a","request":"é` + "\u2028\ufffd\x7f" +
		`","commands":[{"a":1.50}],"outcome":"node n1: it is lost (node_not_ready)"}`
	if err != nil || string(encoded) != want {
		t.Fatalf("%s\n%s\n%v", encoded, want, err)
	}
	h := Head{}.Next(encoded)
	const hash = "6083e8f0af5df2dbb2c22cde7b0f2dd27a8974c4ad2a13d146a1c9eabd907e8a"
	if h.Hash.String() != hash {
		t.Errorf("hash %s, want %s", h.Hash, hash)
	}
	b, err := json.Marshal(h)
	if err != nil || string(b) != `{"seq":1,"hash":"`+hash+`"}` {
		t.Errorf("%s %v", b, err)
	}
	var again Head
	if err := json.Unmarshal(b, &again); err != nil || again != h {
		t.Error(again, err)
	}
	for _, bad := range []string{`{"seq":1}`, `{"seq":0,"hash":"` + hash + `"}`, `{"seq":1,"hash":"00"}`, `{"seq":1,"hash":"` + strings.ToUpper(hash) + `"}`, `{"seq":-1}`} {
		if err := json.Unmarshal([]byte(bad), &again); err == nil {
			t.Errorf("%s is read", bad)
		}
	}
	if b, err := json.Marshal(Head{}); err != nil || json.Unmarshal(b, &again) != nil || again != (Head{}) {
		t.Errorf("the empty chain: %s %v", b, err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, commands := range []string{"[", "1 2", "\"\xff\"", strings.Repeat("[", 1<<20)} {
		if b, err := (Record{Commands: json.RawMessage(commands)}).Encode(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.40q: %s %v", commands, b, err)
		}
	}
	big := json.RawMessage(`"` + strings.Repeat("x", MaxRecord) + `"`)
	if _, err := (Record{Commands: big}).Encode(); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}

// What Encode writes, Decode reads, and equal bytes mean equal records.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
			rapid.Just(strings.Repeat("é", MaxText)), rapid.Just(strings.Repeat("\xff", MaxText)))
		r := Record{Seq: rapid.Uint64().Draw(t, "seq"), At: rapid.Int64().Draw(t, "at"), Index: rapid.Uint64().Draw(t, "index"),
			By: text.Draw(t, "by"), Request: text.Draw(t, "request"), Outcome: text.Draw(t, "outcome"),
			Commands: json.RawMessage(rapid.SampledFrom([]string{"", "null", ` [ { "a" : "<\u0041>" } ] `, "1e400"}).Draw(t, "commands"))}
		encoded, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.By) > MaxText || len(got.Request) > MaxText || len(got.Outcome) > MaxText {
			t.Fatalf("texts of %d, %d and %d bytes", len(got.By), len(got.Request), len(got.Outcome))
		}
		again, err := got.Encode()
		if err != nil || !bytes.Equal(again, encoded) {
			t.Fatalf("%s\n%s\n%v", encoded, again, err)
		}
	})
}

func TestSigned(t *testing.T) {
	_, heads := logOf(t, 2, "ann")
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{ec, ed} {
		s, err := Sign(heads[2], 99, key)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Sign(heads[2], 99, key); err != nil || !bytes.Equal(again.Signature, s.Signature) {
			t.Errorf("%T: two signatures of one head differ: %v", key, err)
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var read Signed
		if err := json.Unmarshal(b, &read); err != nil || Check(read, key.Public()) != nil {
			t.Errorf("%T: through JSON: %v %v", key, err, Check(read, key.Public()))
		}
		for name, bad := range map[string]Signed{
			"another head": {heads[1], s.At, s.Signature},
			"another seq":  {Head{3, s.Head.Hash}, s.At, s.Signature},
			"another time": {s.Head, 98, s.Signature},
			"cut":          {s.Head, s.At, s.Signature[:len(s.Signature)-1]},
			"none":         {s.Head, s.At, nil},
		} {
			if err := Check(bad, key.Public()); !errors.Is(err, ErrSignature) {
				t.Errorf("%T: %s: %v", key, name, err)
			}
		}
		if err := Check(s, stranger.Public()); !errors.Is(err, ErrSignature) {
			t.Errorf("%T: another's key: %v", key, err)
		}
	}
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(heads[2], 99, weak); !errors.Is(err, ErrKeyKind) {
		t.Error(err)
	}
	if err := Check(Signed{}, weak.Public()); !errors.Is(err, ErrKeyKind) {
		t.Error(err)
	}
}

func FuzzLine(f *testing.F) {
	lines, _ := logOf(f, 2, "ann <\"é\n")
	f.Add(bytes.TrimSpace(lines[1]))
	f.Add([]byte(lineHead + lineMid + lineTail))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ParseLine(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if again := AppendLine(nil, l.Encoded, Head{Hash: l.Hash}); !bytes.Equal(again, append(b, '\n')) {
			t.Fatalf("%q is read as %q", b, again)
		}
		if encoded, err := l.Record.Encode(); err != nil || !bytes.Equal(encoded, l.Encoded) {
			t.Fatalf("%q has the record %q, %v", b, encoded, err)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	r := Record{Seq: 7, At: 1700000000000, Index: 12, By: "key sk-ab12 of acme", Request: "4f2c1d", Outcome: Applied,
		Commands: json.RawMessage(`[{"t":"put_key","v":2,"do":{"key":{"id":"k1","name":"portal","tenant":"acme","hash":"0123456789abcdef"},"was":3}}]`)}
	h := Head{}
	b.ReportAllocs()
	for b.Loop() {
		encoded, err := r.Encode()
		if err != nil {
			b.Fatal(err)
		}
		h = h.Next(encoded)
	}
}
