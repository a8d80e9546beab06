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

// A file that was damaged in the middle gives what is before the damage, and the files behind it.
func TestDamage(t *testing.T) {
	cfg := spool.Config{Dir: filepath.Join(t.TempDir(), "s"), Max: 1 << 20, Segment: 40}
	s := open(t, cfg)
	for i := range 9 { // three in a file
		if _, err := s.Append([][]byte{fmt.Appendf(nil, "r%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	name := filepath.Join(cfg.Dir, fmt.Sprintf("%016x.log", 1))
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-15] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, cfg)
	defer s.Close()
	got := drain(t, s, 100)
	if st := s.Stats(); st.Damaged != 1 || !strings.HasPrefix(strings.Join(got, " "), "r0 r1 r") || got[len(got)-1] != "r8" || slices.Contains(got, "") {
		t.Fatalf("%q, %+v", got, st)
	}
	if _, err := os.Stat(name + ".broken"); err != nil {
		t.Errorf("the damaged file is not set aside: %v", err)
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
