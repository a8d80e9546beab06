package shelf

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/results"
)

func name(i int) string {
	sum := sha256.Sum256(fmt.Append(nil, i))
	return hex.EncodeToString(sum[:])
}

// The shelf holds no more than it may, shows nobody what is another's, nothing for too long, nothing that was dropped, and all that it shows is
// as it was put there; all the same after a restart. Whoever has little loses nothing to whoever has much.
func TestShelf(t *testing.T) {
	dirs := 0
	base := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dirs++
		dir := filepath.Join(base, fmt.Sprint(dirs))
		open := func() *Shelf {
			s, err := Open(dir, 6000, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s, now := open(), int64(0)
		owners := []results.Owner{{Tenant: "a"}, {Tenant: "a", App: "x"}, {Tenant: "b"}, {}}
		all, dropped := map[string]results.Box{}, map[string]bool{}
		for i := range rapid.IntRange(1, 25).Draw(t, "steps") {
			now += int64(rapid.IntRange(0, 30).Draw(t, "later"))
			b := results.Box{Name: name(i), Owner: rapid.SampledFrom(owners).Draw(t, "owner"), Expires: now + 60, Sealed: bytes.Repeat([]byte{byte(i)}, rapid.IntRange(1, 7000).Draw(t, "bytes"))}
			switch err := s.Put(b, now); {
			case (err == nil) != (len(b.Sealed) <= 6000):
				t.Fatalf("%d bytes: %v", len(b.Sealed), err)
			case err == nil:
				all[b.Name] = b
				if got, err := s.Get(b.Name, b.Owner, now); err != nil || got == nil {
					t.Fatalf("what was just kept: %v", err)
				}
			}
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				s = open()
			case 1:
				at := name(rapid.IntRange(0, i).Draw(t, "drop"))
				who := rapid.SampledFrom(owners).Draw(t, "by")
				if there, err := s.Drop(at, who, now); err != nil {
					t.Fatal(err)
				} else if there {
					if all[at].Owner != who {
						t.Fatal("dropped by another")
					}
					dropped[at] = true
				}
			case 2:
				away := rapid.SampledFrom(owners).Draw(t, "gone")
				s.Sweep(now, func(o results.Owner) bool { return o != away })
				for at, b := range all {
					if b.Owner == away {
						dropped[at] = true
					}
				}
			}
			n, held := 0, int64(0)
			for at, b := range all {
				for _, who := range owners {
					got, err := s.Get(at, who, now)
					if err != nil {
						t.Fatal(err)
					}
					if got == nil {
						continue
					}
					if who != b.Owner || now >= b.Expires || dropped[at] || !bytes.Equal(got.Sealed, b.Sealed) || got.Expires != b.Expires {
						t.Fatalf("%+v is shown to %v at %d", b.Owner, who, now)
					}
				}
				if st, err := os.Stat(filepath.Join(dir, at)); err == nil {
					n++
					held += st.Size()
				}
			}
			if boxes, bytes := s.Held(); boxes != n || bytes > 6000 || held > 6000+int64(n)*maxHeader {
				t.Fatalf("%d boxes of %d bytes, on the disk %d of %d", boxes, bytes, n, held)
			}
		}
	})
	s, err := Open(t.TempDir(), 4000, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	put := func(tenant string, i, n int) {
		if err := s.Put(results.Box{Name: name(i), Owner: results.Owner{Tenant: tenant}, Expires: 100, Sealed: make([]byte, n)}, int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	put("quiet", 0, 100)
	for i := range 20 {
		put("loud", i+1, 500)
	}
	if b, _ := s.Get(name(0), results.Owner{Tenant: "quiet"}, 50); b == nil {
		t.Error("the loud pushed out the quiet")
	}
	if b, _ := s.Get(name(20), results.Owner{Tenant: "loud"}, 50); b == nil {
		t.Error("the newest is gone")
	}
}

// What is on the disk and is no whole box is dropped when the shelf is opened, and a name is never a path.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	quiet := slog.New(slog.DiscardHandler)
	s, err := Open(dir, 1<<20, quiet)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if err := s.Put(results.Box{Name: name(i), Owner: results.Owner{Tenant: "a"}, Expires: 100, Sealed: make([]byte, 300)}, 1); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []string{"../../etc/passwd", "", name(0)[:63] + "/", name(0) + "a"} {
		if err := s.Put(results.Box{Name: bad, Expires: 100, Sealed: []byte("x")}, 1); err == nil {
			t.Errorf("%q is a name", bad)
		}
	}
	cut := func(i int, change func([]byte) []byte) {
		path := filepath.Join(dir, name(i))
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, change(b), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cut(0, func(b []byte) []byte { return b[:len(b)-1] })
	cut(1, func([]byte) []byte { return nil })
	cut(2, func(b []byte) []byte { return bytes.Replace(b, []byte(name(2)), []byte(name(3)), 1) })
	if err := os.WriteFile(filepath.Join(dir, name(9)+newSuffix), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(name(0), results.Owner{Tenant: "a"}, 50); err == nil {
		t.Error("a box that was cut is whole")
	}
	if s, err = Open(dir, 1<<20, quiet); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.Held(); n != 1 {
		t.Errorf("%d boxes, want 1", n)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%d files are left: %v", len(left), err)
	}
}
