package raftstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

func openTestLog(t *testing.T, fs vfs.FS) *logStore {
	t.Helper()
	d := &directory{fs: fs, path: "log"}
	db, err := pebble.Open("log", pebbleOptions(d, quiet(), &fault{log: quiet(), onFatal: func(err error) { t.Error(err) }}))
	if err != nil {
		t.Fatal(err)
	}
	s, err := newLogStore(db, pebble.Sync)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLogStore(t *testing.T) {
	fs := vfs.NewMem()
	s := openTestLog(t, fs)
	bounds := func(first, last uint64) {
		t.Helper()
		a, _ := s.FirstIndex()
		b, _ := s.LastIndex()
		if a != first || b != last {
			t.Fatalf("log %d to %d, want %d to %d", a, b, first, last)
		}
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	reopen := func() {
		t.Helper()
		check(s.db.Close())
		s = openTestLog(t, fs)
		if first := s.first.Load(); first > 1 {
			check(s.reconcile(&position{first - 1, 3}))
		}
	}
	bounds(0, 0)
	var list []*raft.Log
	for i := uint64(1); i <= 100; i++ {
		list = append(list, &raft.Log{Index: i, Term: 3, Type: raft.LogCommand, Data: []byte{byte(i)}, Extensions: []byte("x"), AppendedAt: time.Unix(5, 6)})
	}
	check(s.StoreLogs(list))
	bounds(1, 100)
	check(s.DeleteRange(1, 10))
	bounds(11, 100)
	check(s.DeleteRange(91, 100))
	bounds(11, 90)
	if err := s.DeleteRange(20, 30); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("delete in the middle: %v", err)
	}
	if err := s.StoreLogs(list[95:]); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("append with a gap: %v", err)
	}
	if err := s.StoreLogs([]*raft.Log{list[90], list[92]}); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("append with a gap inside: %v", err)
	}
	reopen()
	bounds(11, 90)
	if want := int64(80 * entrySize(list[0])); s.bytes.Load() != want || s.grown.Load() != want {
		t.Fatalf("%d bytes, %d grown, want %d", s.bytes.Load(), s.grown.Load(), want)
	}
	var l raft.Log
	check(s.GetLog(50, &l))
	if l.Term != 3 || l.Index != 50 || !bytes.Equal(l.Data, []byte{50}) || string(l.Extensions) != "x" || !l.AppendedAt.Equal(time.Unix(5, 6)) {
		t.Fatalf("%+v", l)
	}
	if err := s.GetLog(5, &l); !errors.Is(err, raft.ErrLogNotFound) {
		t.Fatal(err)
	}
	check(s.DeleteRange(1, 1000))
	bounds(0, 0)
	reopen()
	bounds(0, 0)
	if _, err := s.Get([]byte("a")); err == nil || err.Error() != "not found" { // the text is the library's interface
		t.Fatal(err)
	}
	check(s.SetUint64([]byte("a"), 9))
	reopen()
	if v, err := s.GetUint64([]byte("a")); v != 9 || err != nil {
		t.Fatal(v, err)
	}
	check(s.Set([]byte("a"), []byte("text")))
	if _, err := s.GetUint64([]byte("a")); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	check(s.db.Close())
}

// TestVoteIsOneWrite: hashicorp/raft#661.
func TestVoteIsOneWrite(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := openTestLog(t, fs)
	vote := func(term uint64, who string) {
		if err := errors.Join(s.SetUint64(voteTerm, term), s.Set(voteWhom, []byte(who))); err != nil {
			t.Fatal(err)
		}
	}
	vote(1, "a")
	if err := s.SetUint64(voteTerm, 2); err != nil { // the crash comes before the candidate is written
		t.Fatal(err)
	}
	after := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTestLog(t, after)
	term, err := s.GetUint64(voteTerm)
	who, err2 := s.Get(voteWhom)
	if err := errors.Join(err, err2); err != nil || term != 1 || string(who) != "a" {
		t.Fatalf("vote %d for %s, %v", term, who, err)
	}
	vote(3, "b")
	if term, err := s.GetUint64(voteTerm); err != nil || term != 3 {
		t.Fatal(term, err)
	}
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestReconcile(t *testing.T) {
	list := func(from, to, term uint64) []*raft.Log { return entries(from, to, term, "x") }
	for _, c := range []struct {
		name        string
		log         [][]*raft.Log
		compacted   uint64 // entries deleted from the front
		missing     uint64 // entry lost from the middle
		newest      *position
		first, last uint64
		err         error
	}{
		{name: "nothing"},
		{name: "no snapshot", log: [][]*raft.Log{list(1, 5, 1)}, first: 1, last: 5},
		{name: "own snapshot", log: [][]*raft.Log{list(1, 9, 1)}, newest: &position{5, 1}, first: 1, last: 9},
		{name: "own snapshot, compacted", log: [][]*raft.Log{list(1, 9, 1)}, compacted: 5, newest: &position{5, 1}, first: 6, last: 9},
		{name: "snapshot ahead", log: [][]*raft.Log{list(1, 4, 1)}, newest: &position{5, 2}},
		{name: "conflict", log: [][]*raft.Log{list(1, 9, 1)}, newest: &position{5, 2}},
		{name: "conflict at the last", log: [][]*raft.Log{list(1, 5, 1)}, newest: &position{5, 2}},
		{name: "snapshot lost", log: [][]*raft.Log{list(1, 9, 1)}, compacted: 5, err: ErrCorrupt},
		{name: "snapshot too old", log: [][]*raft.Log{list(1, 9, 1)}, compacted: 5, newest: &position{3, 1}, err: ErrCorrupt},
		{name: "term goes back", log: [][]*raft.Log{list(1, 4, 2), list(5, 9, 1)}, err: ErrCorrupt},
		{name: "gap", log: [][]*raft.Log{list(1, 9, 1)}, missing: 4, err: ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openTestLog(t, vfs.NewMem())
			for _, l := range c.log {
				if err := s.StoreLogs(l); err != nil {
					t.Fatal(err)
				}
			}
			err := errors.Join(s.DeleteRange(1, c.compacted), s.db.Delete(logKey(nil, c.missing), pebble.Sync))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.reconcile(c.newest); !errors.Is(err, c.err) {
				t.Fatalf("%v, want %v", err, c.err)
			}
			if c.err == nil && (s.first.Load() != c.first || s.last.Load() != c.last) {
				t.Errorf("log %d to %d, want %d to %d", s.first.Load(), s.last.Load(), c.first, c.last)
			}
			if err := s.db.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestLogKeysSortByIndex(t *testing.T) {
	if bytes.Compare(logKey(nil, 255), logKey(nil, 256)) >= 0 || binary.BigEndian.Uint64(logKey(nil, 77)[1:]) != 77 {
		t.Error("they do not")
	}
}

func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := raft.Log{
			Index: rapid.Uint64().Draw(t, "index"), Term: rapid.Uint64().Draw(t, "term"),
			Type: raft.LogType(rapid.Byte().Draw(t, "type")), Data: rapid.SliceOf(rapid.Byte()).Draw(t, "data"),
		}
		if ext := rapid.SliceOf(rapid.Byte()).Draw(t, "ext"); len(ext) > 0 {
			l.Extensions = ext
		}
		if at := rapid.Int64().Draw(t, "at"); at != 0 {
			l.AppendedAt = time.Unix(0, at)
		}
		v := make([]byte, entrySize(&l))
		putEntry(v, &l)
		var got raft.Log
		if err := getEntry(v, l.Index, &got); err != nil {
			t.Fatal(err)
		}
		if got.Index != l.Index || got.Term != l.Term || got.Type != l.Type || !bytes.Equal(got.Data, l.Data) ||
			!bytes.Equal(got.Extensions, l.Extensions) || !got.AppendedAt.Equal(l.AppendedAt) {
			t.Fatalf("%+v, want %+v", got, l)
		}
	})
}

func FuzzEntry(f *testing.F) {
	v := make([]byte, entryHeader+3)
	putEntry(v, &raft.Log{Term: 1, Data: []byte("abc")})
	f.Add(v)
	f.Add(v[:entryHeader-1])
	f.Add(bytes.Repeat([]byte{0xff}, entryHeader))
	f.Fuzz(func(t *testing.T, v []byte) {
		var l raft.Log
		if err := getEntry(v, 7, &l); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again := make([]byte, entrySize(&l))
		putEntry(again, &l)
		if !bytes.Equal(v, again) {
			t.Fatalf("%x became %x", v, again)
		}
	})
}
