package spool_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/results/spool"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

type failer interface {
	Helper()
	Fatal(...any)
}

func open(t failer, cfg spool.Config) *spool.Spool {
	t.Helper()
	s, err := spool.Open(cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// drain reads and acknowledges everything.
func drain(t failer, s *spool.Spool, n int) (out []string) {
	t.Helper()
	for {
		list, end, err := s.Next(n, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return out
		}
		for _, p := range list {
			out = append(out, string(p))
		}
		if err := s.Ack(end, len(list)); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever is done in whatever order, every record that was made safe is given, in order, until it is acknowledged, and none that was not;
// what is acknowledged is not given again by the same process; and the bound holds.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "spool-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		cfg := spool.Config{Dir: filepath.Join(dir, "s"), Max: int64(rapid.IntRange(100, 4000).Draw(t, "max")), Segment: int64(rapid.IntRange(10, 500).Draw(t, "segment"))}
		s := open(t, cfg)
		defer func() { s.Close() }()
		var waiting []string // as they should be given; the last unsafe of them are not safe yet
		unsafe, next := 0, 0
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				var batch [][]byte
				var texts []string
				for range rapid.IntRange(1, 5).Draw(t, "n") {
					text := fmt.Sprintf("%d:%s", next, strings.Repeat("x", rapid.IntRange(0, 60).Draw(t, "length")))
					next++
					batch, texts = append(batch, []byte(text)), append(texts, text)
				}
				n, err := s.Append(batch)
				waiting, unsafe = append(waiting, texts[:n]...), unsafe+n
				if st := s.Stats(); (err == nil) != (n == len(batch)) || err != nil && st.Bytes+int64(len(batch[n])+8) <= cfg.Max {
					t.Fatalf("%d of %d: %v with %d of %d bytes used", n, len(batch), err, st.Bytes, cfg.Max)
				}
			},
			"sync": func(t *rapid.T) {
				if err := s.Sync(); err != nil {
					t.Fatal(err)
				}
				unsafe = 0
			},
			"take": func(t *rapid.T) {
				n := rapid.IntRange(1, 6).Draw(t, "n")
				list, end, err := s.Next(n, int64(rapid.IntRange(1, 200).Draw(t, "bytes")))
				if err != nil {
					t.Fatal(err)
				}
				for i, p := range list {
					if string(p) != waiting[i] {
						t.Fatalf("record %d is %q, want %q", i, p, waiting[i])
					}
				}
				if len(list) == 0 && len(waiting) > unsafe {
					// A rotation makes what was before it safe, so that there may be more than is known to be.
					t.Fatalf("nothing, and %d wait", len(waiting)-unsafe)
				}
				if rapid.Bool().Draw(t, "ack") {
					if err := s.Ack(end, len(list)); err != nil {
						t.Fatal(err)
					}
					waiting = waiting[len(list):]
					unsafe = min(unsafe, len(waiting))
				}
			},
			"reopen": func(t *rapid.T) {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s, unsafe = open(t, cfg), 0
			},
			"": func(t *rapid.T) {
				if st := s.Stats(); st.Records != len(waiting) || st.Bytes > cfg.Max || st.Damaged != 0 {
					t.Fatalf("%+v, want %d records within %d bytes", st, len(waiting), cfg.Max)
				}
			},
		})
		if got := drain(t, s, 3); unsafe == 0 && !slices.Equal(got, waiting) {
			t.Fatalf("%d are left, want %d", len(got), len(waiting))
		}
	})
}

// A file that ends anywhere gives the records that are whole, and takes more.
func TestCutAtEveryByte(t *testing.T) {
	cfg := spool.Config{Dir: filepath.Join(t.TempDir(), "s"), Max: 1 << 20}
	s := open(t, cfg)
	var want []string
	var ends []int64
	for i := range 7 {
		text := fmt.Sprint("record ", i, strings.Repeat("·", i))
		if _, err := s.Append([][]byte{[]byte(text)}); err != nil {
			t.Fatal(err)
		}
		want, ends = append(want, text), append(ends, s.Stats().Bytes)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(cfg.Dir, fmt.Sprintf("%016x.log", 1))
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) + 1 {
		for _, rest := range [][]byte{nil, {0}, bytes.Repeat([]byte{0}, 64), bytes.Repeat([]byte{0xFF}, 64)} { // what a file system may leave there
			dir := filepath.Join(t.TempDir(), "s")
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), slices.Concat(whole[:cut], rest), 0o600); err != nil {
				t.Fatal(err)
			}
			n := 0
			for n < len(ends) && ends[n] <= int64(cut) {
				n++
			}
			s := open(t, spool.Config{Dir: dir, Max: 1 << 20})
			if got := s.Stats().Records; got != n {
				t.Fatalf("cut at %d: %d records wait, want %d", cut, got, n)
			}
			if _, err := s.Append([][]byte{[]byte("more")}); err != nil {
				t.Fatal(err)
			}
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
			if got := drain(t, s, 5); !slices.Equal(got, append(slices.Clone(want[:n]), "more")) {
				t.Fatalf("cut at %d: %q", cut, got)
			}
			s.Close()
			if len(rest) > 1 && cut%11 != 0 {
				break // the rest for some cuts only
			}
		}
	}
}

// A file in which any byte is damaged gives every record that is whole, in the file and behind it; what is lost is counted and logged, and a copy
// of the file is kept for a time. Only what nothing follows, as a crash leaves it, is cut off.
func TestDamage(t *testing.T) {
	for _, files := range []int64{1 << 20, 40} { // all in the last file; three in a file
		cfg := spool.Config{Dir: filepath.Join(t.TempDir(), "s"), Max: 1 << 20, Segment: files}
		s := open(t, cfg)
		var want []string
		for i := range 9 {
			want = append(want, fmt.Sprint("r", i))
			if _, err := s.Append([][]byte{[]byte(want[i])}); err != nil {
				t.Fatal(err)
			}
		}
		s.Close()
		name := filepath.Join(cfg.Dir, fmt.Sprintf("%016x.log", 1))
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for at := range whole {
			if flip := []byte{1, 0x80}[at%2]; files > 40 || at%7 == 0 {
				dir := filepath.Join(t.TempDir(), "s")
				if err := os.CopyFS(dir, os.DirFS(cfg.Dir)); err != nil {
					t.Fatal(err)
				}
				b := bytes.Clone(whole)
				b[at] ^= flip
				broken := filepath.Join(dir, filepath.Base(name))
				if err := os.WriteFile(broken, b, 0o600); err != nil {
					t.Fatal(err)
				}
				lost := at / 10
				left := slices.Delete(slices.Clone(want), lost, lost+1)
				var log bytes.Buffer
				s, err := spool.Open(spool.Config{Dir: dir, Max: 1 << 20, Segment: files}, slog.New(slog.NewTextHandler(&log, nil)))
				if err != nil {
					t.Fatal(err)
				}
				waiting := s.Stats().Records
				if _, err := s.Append([][]byte{[]byte("more")}); err != nil {
					t.Fatal(err)
				}
				if err := s.Sync(); err != nil {
					t.Fatal(err)
				}
				got, st := drain(t, s, 4), s.Stats()
				s.Close()
				if torn := lost == len(want)-1; !slices.Equal(got, append(left, "more")) || waiting != len(left) || st.Damaged != map[bool]uint64{true: 0, false: 1}[torn] || st.Records != 0 ||
					!strings.Contains(log.String(), "from_byte") {
					t.Fatalf("byte %d: %q, %d waited, %+v, %s", at, got, waiting, st, log.String())
				} else if copied, err := os.ReadFile(broken + ".broken"); !torn && !bytes.Equal(copied, b) {
					t.Fatalf("byte %d: the damaged file is not set aside: %v", at, err)
				} else if torn {
					continue
				}
				old := time.Now().Add(-30 * 24 * time.Hour)
				if err := os.Chtimes(broken+".broken", old, old); err != nil {
					t.Fatal(err)
				}
				open(t, spool.Config{Dir: dir, Max: 1 << 20}).Close()
				if _, err := os.Stat(broken + ".broken"); !os.IsNotExist(err) {
					t.Fatalf("the copy of a damaged file stays for ever: %v", err)
				}
			}
		}
	}
}

// What is written after somebody emptied the folder by hand is not taken for what was acknowledged before.
func TestEmptied(t *testing.T) {
	cfg := spool.Config{Dir: filepath.Join(t.TempDir(), "s"), Max: 1 << 20}
	s := open(t, cfg)
	add := func(n int) {
		for i := range n {
			if _, err := s.Append([][]byte{fmt.Appendf(nil, "record %d", i)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	add(10)
	drain(t, s, 100)
	s.Close()
	list, err := filepath.Glob(filepath.Join(cfg.Dir, "*.log"))
	if err != nil || len(list) != 1 || os.Remove(list[0]) != nil {
		t.Fatal(list, err)
	}
	s = open(t, cfg)
	add(20)
	s.Close()
	s = open(t, cfg)
	defer s.Close()
	if got := drain(t, s, 100); len(got) != 20 {
		t.Fatalf("%d records of 20: %q", len(got), got)
	}
}

// A process that is killed while it writes has kept all that it said was safe.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("SPOOL_KILLED"); dir != "" {
		s := open(t, spool.Config{Dir: dir, Max: 1 << 30, Segment: 4096})
		for i := 0; ; i++ {
			if _, err := s.Append([][]byte{fmt.Appendf(nil, "%d", 2*i), fmt.Appendf(nil, "%d", 2*i+1)}); err != nil {
				t.Fatal(err)
			}
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
			fmt.Printf("safe %d\n", 2*i+1)
		}
	}
	rounds := 3
	if os.Getenv("SKEIN_FULL") != "" {
		rounds = 50
	}
	for round := range rounds {
		dir := filepath.Join(t.TempDir(), "s")
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
		c.Env = append(os.Environ(), "SPOOL_KILLED="+dir)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		last := -1
		for want := 20 + 37*round; last < want; {
			if _, err := fmt.Fscanf(out, "safe %d\n", &last); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		rest, _ := io.ReadAll(out)
		for _, line := range strings.Fields(string(rest)) {
			fmt.Sscanf(line, "%d", &last)
		}
		_ = c.Wait()
		s := open(t, spool.Config{Dir: dir, Max: 1 << 30})
		got := drain(t, s, 100)
		s.Close()
		if len(got) <= last {
			t.Fatalf("%d records, and %d were safe", len(got), last+1)
		}
		for i, text := range got {
			if text != fmt.Sprint(i) {
				t.Fatalf("record %d is %q", i, text)
			}
		}
	}
}

// A spool that is full says so, and has room again when something is acknowledged.
func TestFull(t *testing.T) {
	s := open(t, spool.Config{Dir: filepath.Join(t.TempDir(), "s"), Max: 100, Segment: 50})
	defer s.Close()
	n := 0
	for {
		took, err := s.Append([][]byte{[]byte("0123456789"), []byte("0123456789")})
		if n += took; err != nil {
			break
		}
	}
	if n != 5 {
		t.Errorf("%d records of 18 bytes in 100", n)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, s, 2); len(got) != 5 {
		t.Errorf("%d records", len(got))
	}
	if _, err := s.Append([][]byte{[]byte("0123456789")}); err != nil {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x12\x34\x56\x78ab"), []byte("1 0\n"))
	f.Add([]byte("\xff\xff\xff\xff\x12\x34\x56\x78ab"), []byte("9 -4\n"))
	f.Fuzz(func(t *testing.T, segment, acked []byte) {
		dir := filepath.Join(t.TempDir(), "s")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		_ = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%016x.log", 1)), segment, 0o600)
		_ = os.WriteFile(filepath.Join(dir, "acked"), acked, 0o600)
		s := open(t, spool.Config{Dir: dir, Max: 1 << 20})
		defer s.Close()
		drain(t, s, 10)
		if _, err := s.Append([][]byte{[]byte("x")}); err != nil {
			t.Fatal(err)
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		if got := drain(t, s, 10); !slices.Equal(got, []string{"x"}) {
			t.Fatalf("%q", got)
		}
	})
}
