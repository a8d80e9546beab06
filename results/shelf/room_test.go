package shelf

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/skein-project/skein/results"
)

func small(t *testing.T, bytes int64, boxes int) *Shelf {
	t.Helper()
	s, err := Open(t.TempDir(), bytes, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.boxes = boxes
	return s
}

func boxOf(i int, who results.Owner, n int) results.Box {
	return results.Box{Name: name(i), Owner: who, Expires: 1 << 40, Sealed: make([]byte, n)}
}

// Whoever has the most boxes makes room where boxes are short, and applications of a tenant have one share.
func TestFullOfBoxes(t *testing.T) {
	s, few := small(t, 1<<20, 40), results.Owner{Tenant: "few"}
	for i := range 2 {
		if err := s.Put(boxOf(i, few, 1000), 1); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 200 {
		if err := s.Put(boxOf(100+i, results.Owner{Tenant: "many", App: name(i % 50)}, 1), 2); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 {
		if !s.Has(name(i), few, 3) {
			t.Errorf("large box %d was pushed out by small ones", i)
		}
	}
	if n, _ := s.Held(); n != 40 {
		t.Errorf("%d boxes, want 40", n)
	}
	s, few = small(t, 2000, 1000), results.Owner{Tenant: "few"}
	if err := s.Put(boxOf(0, few, 100), 1); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := s.Put(boxOf(100+i, results.Owner{Tenant: "many", App: name(i)}, 50), 2); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Has(name(0), few, 3) {
		t.Error("many applications pushed out another tenant")
	}
}

// What was dropped does not come back with a copy that comes later, even where nothing was found; nobody closes another's name, and only for a time.
func TestDropped(t *testing.T) {
	s, a, b := small(t, 1<<20, 10), results.Owner{Tenant: "a"}, results.Owner{Tenant: "b"}
	if there, err := s.Drop(name(1), a, 5); there || err != nil {
		t.Fatal(there, err)
	}
	if err := s.Put(boxOf(1, a, 10), 6); !errors.Is(err, ErrDropped) || s.Has(name(1), a, 6) {
		t.Fatalf("a late copy is kept: %v", err)
	}
	if err := s.Put(boxOf(1, b, 10), 6); err != nil {
		t.Errorf("another's name is closed: %v", err)
	}
	if there, err := s.Drop(name(1), b, 7); !there || err != nil {
		t.Fatal(there, err)
	}
	if err := s.Put(boxOf(1, b, 10), 7); !errors.Is(err, ErrDropped) {
		t.Errorf("what was dropped is taken: %v", err)
	}
	if err := s.Put(boxOf(1, a, 10), 5+DroppedFor); err != nil {
		t.Errorf("a name stays closed: %v", err)
	}
	for i := range MaxDropped + 10 {
		s.dropped.add(grave{name(i % 100), results.Owner{Tenant: name(i)}}, 9)
	}
	if len(s.dropped.until) > MaxDropped || len(s.dropped.queue) > MaxDropped {
		t.Errorf("%d graves", len(s.dropped.until))
	}
}

// Boxes that come, are read, go and are swept at once leave on the disk what the shelf knows, and nothing that was dropped.
func TestAtOnce(t *testing.T) {
	s, who := small(t, 1<<16, 30), results.Owner{Tenant: "a"}
	var all sync.WaitGroup
	for i := range 60 {
		b := boxOf(i, who, 3000)
		all.Go(func() { _ = s.Put(b, 1) }) // it may be dropped before
		all.Go(func() {
			if got, err := s.Get(b.Name, who, 2); err != nil || got != nil && len(got.Sealed) != 3000 {
				t.Errorf("half a box: %v", err)
			}
		})
		if i%3 == 0 {
			all.Go(func() {
				if _, err := s.Drop(b.Name, who, 2); err != nil {
					t.Error(err)
				}
			})
		}
		if i%20 == 0 {
			all.Go(func() { s.Sweep(3, func(results.Owner) bool { return i == 0 }) })
		}
	}
	all.Wait()
	files, err := os.ReadDir(s.dir)
	if n, _ := s.Held(); err != nil || n != len(files) || len(s.leaving) != 0 {
		t.Fatalf("%d boxes, %d files, %d leaving: %v", n, len(files), len(s.leaving), err)
	}
	for i := 0; i < 60; i += 3 {
		if _, err := os.Stat(filepath.Join(s.dir, name(i))); s.Has(name(i), who, 4) || err == nil {
			t.Errorf("box %d is there", i)
		}
	}
}
