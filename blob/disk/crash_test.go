package disk

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/skein-project/skein/blob"
)

// roomy is a disk that is never full.
var roomy = vfs.DiskUsage{AvailBytes: 1 << 40}

// history is what the store has acknowledged, and so must survive.
type history struct {
	complete map[blob.Digest]bool
	deleted  map[blob.Digest]bool
	doing    blob.Digest // the blob that the running call is about: it may be either way
}

// script is a life of a store that passes through every way to write and delete.
func script(t *testing.T, s *Store, h *history, blobs map[string][]byte) {
	write := func(name string, chunks ...int) {
		x := blob.Of(blobs[name])
		h.doing = x.Digest()
		delete(h.deleted, h.doing)
		var refs []blob.Ref
		for _, i := range chunks {
			refs = append(refs, blob.Ref{Digest: h.doing, Off: int64(i) * blob.ChunkSize, Len: x.ChunkLen(i)})
		}
		_, err := s.Begin(x, refs...)
		must(t, err)
		for _, i := range chunks {
			must(t, s.WriteChunk(h.doing, i, chunk(blobs[name], i)))
		}
		if len(chunks) == len(x.Chunks) {
			h.complete[h.doing] = true
		}
	}
	remove := func(name string) {
		h.doing = blob.Of(blobs[name]).Digest()
		delete(h.complete, h.doing)
		must(t, s.Delete(h.doing))
		h.deleted[h.doing] = true
	}
	write("small", 0)
	write("big", 1, 0)
	remove("small")
	write("small", 0)
	h.doing = blob.Of(blobs["import"]).Digest()
	_, err := s.Import(context.Background(), bytes.NewReader(blobs["import"]), int64(len(blobs["import"])))
	must(t, err)
	h.complete[h.doing] = true
	h.doing = blob.Of(blobs["received"]).Digest()
	cut := errors.New("cut")
	_, err = s.Receive(context.Background(), "key", int64(len(blobs["received"])), from(blobs["received"], blob.ChunkSize+10, cut), &digestClaim{want: blobs["received"]})
	if !errors.Is(err, cut) {
		must(t, err)
	}
	_, err = s.Receive(context.Background(), "key", int64(len(blobs["received"])), from(blobs["received"], 1<<30, nil), &digestClaim{want: blobs["received"]})
	must(t, err)
	h.complete[h.doing] = true
	remove("small")
	// A flipped bit, found and written again.
	d := blob.Of(blobs["big"]).Digest()
	h.doing = d
	delete(h.complete, d)
	path, err := s.Path(d)
	must(t, err)
	must(t, s.writeAt(path, []byte{blobs["big"][5] ^ 1}, 5, true))
	if _, err := s.ReadChunk(d, 0); !errors.Is(err, blob.ErrCorrupt) {
		t.Fatal(err)
	}
	write("big", 0)
	h.complete[d] = true
	h.doing = blob.Digest{}
}

// survives opens what a crash left and checks every promise. Where finish is set, the upload goes on to its end.
func survives(t *testing.T, crashed *vfs.MemFS, h *history, blobs map[string][]byte, finish bool) {
	crashed.TestingSetDiskUsage(roomy)
	s, err := Open("/store", Options{FS: crashed, Reserve: -1})
	if err != nil {
		t.Fatalf("does not open: %v", err)
	}
	for name, data := range blobs {
		x := blob.Of(data)
		d := x.Digest()
		st, err := s.Stat(d)
		if h.complete[d] && !st.Complete {
			t.Fatalf("%s was complete, now %+v, %v", name, st, err)
		}
		if h.deleted[d] && h.doing != d && err == nil {
			t.Fatalf("%s was deleted, and is back", name)
		}
		for i := range x.Chunks {
			if !s.Have(blob.Ref{Digest: d, Off: int64(i) * blob.ChunkSize, Len: x.ChunkLen(i)}) {
				continue
			}
			if _, err := s.ReadChunk(d, i); err != nil && !(name == "big" && i == 0 && h.doing == d) {
				t.Fatalf("%s: chunk %d is shown, but %v", name, i, err)
			}
		}
	}
	if names, err := crashed.List("/store/" + incomingDir); err != nil || len(names) > 0 {
		t.Fatalf("leftovers %v, %v", names, err)
	}
	// A part that is kept can be gone on with, and is what it was.
	if names, err := crashed.List("/store/" + partialDir); err != nil || len(names) > 1 {
		t.Fatalf("parts %v, %v", names, err)
	}
	if want := blobs["received"]; finish && !h.complete[blob.Of(want).Digest()] {
		_, err := s.Receive(context.Background(), "key", int64(len(want)), from(want, len(want), nil), &digestClaim{want: want})
		must(t, err)
	}
	names, err := crashed.List("/store/" + blobsDir)
	if err != nil || len(names) != len(s.List()) {
		t.Fatalf("%d files for %d blobs, %v", len(names), len(s.List()), err)
	}
	if finish {
		missing, err := s.Begin(blob.Of(blobs["big"]))
		must(t, err)
		for _, i := range missing {
			must(t, s.WriteChunk(blob.Of(blobs["big"]).Digest(), i, chunk(blobs["big"], i)))
		}
	}
	must(t, s.Close())
}

// The power is cut before every operation on the file system. Of what was not synced, nothing survives or a random half, in turn.
func TestPowerCutAtEveryStep(t *testing.T) {
	blobs := map[string][]byte{
		"small": noise(1, 10), "big": noise(2, blob.ChunkSize+5), "import": noise(4, 4000), "received": noise(6, blob.ChunkSize+20),
	}
	mem := vfs.NewCrashableMem()
	mem.TestingSetDiskUsage(roomy)
	h := &history{complete: map[blob.Digest]bool{}, deleted: map[blob.Digest]bool{}}
	cuts := 0
	rng := rand.New(rand.NewPCG(1, 2))
	cut := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			percent := 50 * (cuts % 2)
			survives(t, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}), h, blobs, cuts%5 == 0)
			cuts++
		}
		return nil
	})
	s, err := Open("/store", Options{FS: errorfs.Wrap(mem, cut), Flush: 1})
	must(t, err)
	script(t, s, h, blobs)
	must(t, s.Close())
	if cuts < 80 {
		t.Fatalf("only %d cuts", cuts)
	}
	t.Logf("%d power cuts", cuts)
}

// Every write operation fails once: the call says so, nothing wrong becomes visible, and the next attempt succeeds.
func TestFailureOfEveryOperation(t *testing.T) {
	data := noise(5, 100)
	x := blob.Of(data)
	d := x.Digest()
	attempt := func(s *Store) error {
		missing, err := s.Begin(x)
		for i := 0; err == nil && i < len(missing); i++ {
			err = s.WriteChunk(d, missing[i], chunk(data, missing[i]))
		}
		return err
	}
	for n := 0; ; n++ {
		at, failed := 0, false
		armed := false
		fail := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if !armed || op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
				return nil
			}
			if at++; at-1 == n {
				failed = true
				return errorfs.ErrInjected
			}
			return nil
		})
		mem := vfs.NewMem()
		mem.TestingSetDiskUsage(roomy)
		s, err := Open("/store", Options{FS: errorfs.Wrap(mem, fail), Flush: 1, Reserve: -1})
		must(t, err)
		armed = true
		err = attempt(s)
		armed = false
		if !failed {
			must(t, err)
			must(t, s.Close())
			if n < 10 {
				t.Fatalf("only %d operations", n)
			}
			return
		}
		if err == nil {
			if st, _ := s.Stat(d); !st.Complete {
				t.Fatalf("operation %d failed, the call did not, and the blob is incomplete", n)
			}
		}
		if err := attempt(s); err != nil {
			t.Fatalf("after failure of operation %d: %v", n, err)
		}
		if st, err := s.Stat(d); err != nil || !st.Complete || s.promised != 0 {
			t.Fatalf("after failure of operation %d: %+v, %v, promised %d", n, st, err, s.promised)
		}
		must(t, s.Verify(context.Background(), blob.Ref{Digest: d, Len: x.Size}))
		must(t, s.Close())
	}
}
