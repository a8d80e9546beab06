package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

func testSnapshots(t *testing.T, fs vfs.FS) *snapshotStore {
	t.Helper()
	if err := fs.MkdirAll("snaps", 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := openSnapshots(fs, "snaps", &fault{log: quiet(), onFatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	s.installed = func(position) error { return nil }
	s.taken = s.installed
	return s
}

func writeSnapshot(t *testing.T, s *snapshotStore, at position, body string) error {
	t.Helper()
	conf := raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "b"}}}
	sink, err := s.Create(1, at.index, at.term, conf, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(sink, body); err != nil {
		t.Fatal(err)
	}
	return sink.Close()
}

func TestSnapshotStore(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := testSnapshots(t, fs)
	for i := uint64(1); i <= 4; i++ {
		if err := writeSnapshot(t, s, position{i * 10, i}, fmt.Sprint("state ", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeSnapshot(t, s, position{35, 4}, "late"); !errors.Is(err, errSuperseded) {
		t.Errorf("an older snapshot: %v", err)
	}
	if err := writeSnapshot(t, s, position{40, 4}, "state 4 again"); err != nil { // the leader sent it twice
		t.Fatal(err)
	}
	cancelled, err := s.Create(1, 50, 5, raft.Configuration{}, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := cancelled.Cancel(); err != nil {
		t.Fatal(err)
	}
	unfinished, err := s.Create(1, 60, 5, raft.Configuration{}, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unfinished.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	s = testSnapshots(t, fs)
	metas, err := s.List()
	if err != nil || len(metas) != snapshotsKept || metas[0].Index != 40 || metas[0].Term != 4 || metas[0].ConfigurationIndex != 2 ||
		len(metas[0].Configuration.Servers) != 1 || metas[0].Size != int64(len("state 4 again")) {
		t.Fatalf("%+v, %v", metas, err)
	}
	if names, err := fs.List("snaps"); err != nil || len(names) != snapshotsKept {
		t.Errorf("files %v, %v", names, err)
	}
	_, r, err := s.Open(metas[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || string(body) != "state 4 again" {
		t.Fatalf("%q, %v", body, err)
	}
	if _, _, err := s.Open("nothing"); err == nil {
		t.Error("opened a snapshot that is not there")
	}
}

// TestSnapshotDamage flips every bit and cuts at every byte.
func TestSnapshotDamage(t *testing.T) {
	fs := vfs.NewMem()
	if err := writeSnapshot(t, testSnapshots(t, fs), position{10, 1}, "the state"); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("snaps")
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	path := "snaps/" + names[0]
	whole := readFile(t, fs, path)
	try := func(b []byte, what string) {
		writeFile(t, fs, path, b)
		if _, err := openSnapshots(fs, "snaps", nil); err == nil {
			t.Errorf("%s: opened", what)
		}
	}
	for i := range len(whole) * 8 {
		b := bytes.Clone(whole)
		b[i/8] ^= 1 << (i % 8)
		try(b, fmt.Sprint("bit ", i))
	}
	for n := range whole {
		try(whole[:n], fmt.Sprint("length ", n))
	}
	writeFile(t, fs, path, whole)
	if _, err := openSnapshots(fs, "snaps", nil); err != nil {
		t.Errorf("the file itself: %v", err)
	}
}

func readFile(t *testing.T, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, fs vfs.FS, path string, b []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(bytes.Clone(b))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func FuzzSnapshotHead(f *testing.F) {
	f.Add([]byte(snapshotMagic + "\x00\x00\x00\x02{}"))
	f.Add([]byte(snapshotMagic + "\xff\xff\xff\xff{}"))
	f.Add([]byte("something else"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, payload, err := parseSnapshotHead(bytes.NewReader(b))
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		if err == nil && payload > int64(len(b)) {
			t.Fatalf("payload at %d of %d bytes", payload, len(b))
		}
	})
}

// TestSnapshotsAreDue: by entries, bytes, and age; and large entries leave fewer behind.
func TestSnapshotsAreDue(t *testing.T) {
	for _, c := range []struct {
		name    string
		adjust  func(*Config)
		entries int
		size    int
		wait    time.Duration
		due     bool
	}{
		{"idle", nil, 3, 10, time.Minute, false},
		{"bytes", func(c *Config) { c.SnapshotBytes = 100_000 }, 30, 5000, time.Minute, true},
		{"age", func(c *Config) { c.SnapshotAge = time.Hour }, 3, 10, time.Hour + time.Minute, true},
		{"entries", nil, snapshotEntries, 1, time.Minute, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 1, c.adjust)
				f.start(0)
				defer f.stop()
				f.leader()
				s := f.servers[0].store
				for range c.entries {
					if _, _, err := s.Propose(t.Context(), put("k", strings.Repeat("x", c.size))); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(c.wait)
				st := s.Stats()
				if (st.SnapshotIndex > 0) != c.due {
					t.Errorf("%+v", st)
				}
				if c.name == "bytes" && (st.LogBytes > 150_000 || s.entries.grown.Load() > 0) {
					t.Errorf("%d bytes left in the log, %d after the snapshot", st.LogBytes, s.entries.grown.Load())
				}
			})
		})
	}
}
