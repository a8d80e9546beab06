package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/audit"
)

// chain is n encoded records and the head after each (heads[0] is the empty chain).
func chain(n int) (records [][]byte, heads []audit.Head) {
	heads = []audit.Head{{}}
	for i := range n {
		b, err := audit.Record{Seq: uint64(i + 1), At: int64(i), By: fmt.Sprint("somebody ", i), Outcome: audit.Applied}.Encode()
		if err != nil {
			panic(err)
		}
		records = append(records, b)
		heads = append(heads, heads[i].Next(b))
	}
	return records, heads
}

func read(t interface{ Fatal(...any) }, j *Journal, from uint64) []byte {
	var out []byte
	if err := j.Read(from, func(b []byte) error { out = append(out, b...); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// whole fails unless the journal holds the chain from its beginning to a head.
func whole(t interface{ Fatal(...any) }, j *Journal, head audit.Head) {
	got, err := audit.Verify(audit.Head{}, audit.Lines(bytes.NewReader(read(t, j, 0))))
	if err != nil || got != head || len(j.Gaps(head)) != 0 {
		t.Fatal("the chain ends at", got, "and should at", head, err, j.Gaps(head))
	}
}

// A coordinator that restarts anywhere, sees entries again, is given a state without its records, and fills gaps, ends with the whole chain.
func TestLife(t *testing.T) {
	const n = 60
	records, heads := chain(n)
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		j, err := Open(dir)
		if err != nil {
			rt.Fatal(err)
		}
		at := 0
		for at < n {
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0: // restart; some entries come again
				if err := j.Close(); err != nil {
					rt.Fatal(err)
				}
				if j, err = Open(dir); err != nil {
					rt.Fatal(err)
				}
				at = max(0, at-rapid.IntRange(0, 3).Draw(rt, "again"))
			case 1: // killed in the middle of a line
				if j.file == nil {
					continue
				}
				if _, err := j.file.WriteString(`{"record":{"seq"`); err != nil {
					rt.Fatal(err)
				}
				if err := j.Close(); err != nil {
					rt.Fatal(err)
				}
				if j, err = Open(dir); err != nil {
					rt.Fatal(err)
				}
			case 2: // a snapshot from the leader
				at = min(n-1, at+rapid.IntRange(1, 8).Draw(rt, "ahead"))
			case 3:
				fill(rt, j, records, heads, at)
			default:
				to := min(n, at+rapid.IntRange(1, 4).Draw(rt, "records"))
				if err := j.Append(heads[at], records[at:to]); err != nil {
					rt.Fatal(err)
				}
				at = to
			}
		}
		fill(rt, j, records, heads, n)
		whole(rt, j, heads[n])
		if got := read(rt, j, n-1); bytes.Count(got, []byte("\n")) != 2 {
			rt.Fatal("the last two lines:", string(got))
		}
		if err := j.Close(); err != nil {
			rt.Fatal(err)
		}
		if j, err = Open(dir); err != nil {
			rt.Fatal(err)
		}
		whole(rt, j, heads[n])
		if err := j.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

func lines(records [][]byte, heads []audit.Head, from, until uint64) (out []byte) {
	for i := from; i <= until; i++ {
		out = audit.AppendLine(out, records[i-1], heads[i])
	}
	return out
}

func fill(t *rapid.T, j *Journal, records [][]byte, heads []audit.Head, at int) {
	for _, g := range j.Gaps(heads[at]) {
		if err := j.Fill(g, lines(records, heads, g.Before.Seq+1, g.Until), heads[at]); err != nil {
			t.Fatal(err)
		}
	}
}

// Records that somebody made up are not taken.
func TestFillRefuses(t *testing.T) {
	records, heads := chain(10)
	j, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.Append(heads[0], records[:2]), j.Append(heads[6], records[6:8])); err != nil {
		t.Fatal(err)
	}
	gaps := j.Gaps(heads[10])
	if len(gaps) != 2 || gaps[0] != (Gap{heads[2], 6}) || gaps[1] != (Gap{heads[8], 10}) {
		t.Fatalf("%+v", gaps)
	}
	forged := func(from, until uint64) (out []byte) { // with right hashes
		at := heads[from-1]
		for i := from; i <= until; i++ {
			b, err := audit.Record{Seq: i, By: "nobody", Outcome: audit.Applied}.Encode()
			if err != nil {
				t.Fatal(err)
			}
			at = at.Next(b)
			out = audit.AppendLine(out, b, at)
		}
		return out
	}
	good := lines(records, heads, 3, 6)
	for name, bad := range map[string]struct {
		gap   Gap
		lines []byte
	}{
		"forged in the middle": {gaps[0], forged(3, 6)},
		"forged at the end":    {gaps[1], forged(9, 10)},
		"short":                {gaps[0], lines(records, heads, 3, 5)},
		"long":                 {gaps[0], lines(records, heads, 3, 7)},
		"torn":                 {gaps[0], good[:len(good)-1]},
		"edited":               {gaps[0], bytes.Replace(good, []byte("somebody"), []byte("Somebody"), 1)},
		"nothing":              {gaps[0], nil},
	} {
		if err := j.Fill(bad.gap, bad.lines, heads[10]); !errors.Is(err, ErrForged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(j.Gaps(heads[10])) != 2 {
		t.Error("something was kept")
	}
}

// Damage in a file is an error, not a shorter log.
func TestDamage(t *testing.T) {
	records, heads := chain(5)
	dir := t.TempDir()
	j, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.Append(heads[0], records), j.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name(1))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(b, []byte(`"seq":2`), []byte(`"seq":x`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if j, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	if err := j.Read(0, func([]byte) error { return nil }); !errors.Is(err, audit.ErrMalformed) {
		t.Errorf("damage in the middle: %v", err)
	}
	if err := os.WriteFile(path, append(b[:len(b)-2], "}x\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); !errors.Is(err, audit.ErrMalformed) {
		t.Errorf("damage at the end: %v", err)
	}
}
