package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/audit"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/shard"
)

var (
	phrase = []byte("a long passphrase")
	cheap  = cost{1, 8, 1}
)

func sealedBytes(t testing.TB, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	s, err := seal(&b, phrase, cheap)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unsealed(b, phrase []byte) ([]byte, error) {
	o, err := Unseal(bytes.NewReader(b), phrase)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(o)
}

func typed(err error) bool {
	return errors.Is(err, ErrNotBackup) || errors.Is(err, ErrPassphrase) || errors.Is(err, ErrDamaged)
}

// What was sealed comes out again, however it is cut into writes and reads.
func TestSealRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(0, 100), rapid.SampledFrom([]int{segmentSize - 1, segmentSize, segmentSize + 1, 2 * segmentSize, 3*segmentSize + 7})).Draw(t, "n")
		plain := bytes.Repeat([]byte("0123456789"), n/10+1)[:n]
		var b bytes.Buffer
		s, err := seal(&b, phrase, cheap)
		if err != nil {
			t.Fatal(err)
		}
		for rest := plain; len(rest) > 0; {
			k := min(len(rest), rapid.SampledFrom([]int{1 + n/7, segmentSize, n}).Draw(t, "write"))
			if _, err := s.Write(rest[:k]); err != nil {
				t.Fatal(err)
			}
			rest = rest[k:]
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		o, err := Unseal(iotest.HalfReader(&b), phrase)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(iotest.HalfReader(o)); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes of %d: %v", len(got), n, err)
		}
	})
}

// Whatever is done to a sealed file is refused with an error of a known kind, and nothing comes out that was not in it (attack case 43).
func TestSealedDamage(t *testing.T) {
	const segment = segmentSize + tagSize
	plain := bytes.Repeat([]byte("the state of the cluster. "), 3*segmentSize/26+5) // four segments
	whole := sealedBytes(t, plain)
	refuse := func(what string, b []byte, phrase []byte) {
		t.Helper()
		got, err := unsealed(b, phrase)
		if !typed(err) || !bytes.HasPrefix(plain, got) {
			t.Errorf("%s: %d bytes and %v", what, len(got), err)
		}
	}
	refuse("another passphrase", whole, []byte("a long passphrasf"))
	refuse("nothing", nil, phrase)
	for i := 0; i < len(whole); i += 1 + i/200 { // every byte of the beginning, some of every segment
		b := bytes.Clone(whole)
		b[i] ^= 1
		refuse(fmt.Sprint("a bit of byte ", i), b, phrase)
		refuse(fmt.Sprint("cut at ", i), whole[:i], phrase)
	}
	for i := range 4 {
		at := preamble + i*segment
		end := min(at+segment, len(whole))
		refuse(fmt.Sprint("cut before segment ", i), whole[:at], phrase)
		refuse(fmt.Sprint("without segment ", i), slices.Concat(whole[:at], whole[end:]), phrase)
		refuse(fmt.Sprint("twice segment ", i), slices.Concat(whole[:end], whole[at:]), phrase)
		for j := range i {
			b, other := bytes.Clone(whole), preamble+j*segment
			if end-at == segment {
				copy(b[at:], whole[other:other+segment])
				copy(b[other:], whole[at:end])
				refuse(fmt.Sprintf("segments %d and %d exchanged", i, j), b, phrase)
			}
		}
	}
	refuse("more behind its end", append(bytes.Clone(whole), 0), phrase)
	refuse("another file behind it", slices.Concat(whole, whole), phrase)
	other := sealedBytes(t, plain)
	refuse("a segment of another file", slices.Concat(whole[:preamble+segment], other[preamble+segment:preamble+2*segment], whole[preamble+2*segment:]), phrase)
	refuse("the beginning of another file", slices.Concat(other[:preamble], whole[preamble:]), phrase)
	if _, err := Unseal(io.MultiReader(bytes.NewReader(whole[:9]), iotest.ErrReader(io.ErrNoProgress)), phrase); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a failing disk: %v", err)
	}
	o, err := Unseal(io.MultiReader(bytes.NewReader(whole[:preamble+segment+9]), iotest.ErrReader(io.ErrNoProgress)), phrase)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(o); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a failing disk: %v", err)
	}
}

func TestPassphrase(t *testing.T) {
	if p, err := Passphrase([]byte("correct horse battery\r\n")); err != nil || string(p) != "correct horse battery" {
		t.Errorf("%q %v", p, err)
	}
	if _, err := Passphrase([]byte("short\n")); !errors.Is(err, ErrWeak) {
		t.Error(err)
	}
	if _, err := Seal(io.Discard, []byte("short")); !errors.Is(err, ErrWeak) {
		t.Error(err)
	}
	if standard[1] > maxMemory || standard[0] > maxPasses || standard[2] > maxLanes {
		t.Error("what is written could not be read")
	}
}

// world is a state with an audit log, a version in two blobs, and what is read of its backup.
type world struct {
	state  cluster.State
	lines  []byte
	blobs  [][]byte
	id     cluster.VersionID
	backup []byte
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{id: cluster.VersionID{Model: "calc", Number: 1}, blobs: [][]byte{bytes.Repeat([]byte("w"), blob.ChunkSize+5), []byte("the manifest"), {}}}
	profile := shard.Profile{Decoder: true, Hidden: 64, Vocab: 100, Positions: 512, Expand: 100, KVToken: 1024, Embed: 1, Tail: 1}
	profile.Blocks = append(profile.Blocks, 1)
	for i, do := range [][]cluster.Command{
		{cluster.Init{ID: "c1", CACert: []byte("cert"), CAKey: []byte("key"), Feature: 2}},
		{cluster.PutMember{Member: cluster.Member{ID: "m1", Role: cluster.RoleCoordinator, Addr: "a:1"}}},
		{cluster.PutKey{Key: cluster.Key{ID: "k1", Hash: "h1"}}},
		{cluster.PutVersion{Version: cluster.Version{VersionID: w.id, Manifest: blob.Of(w.blobs[1]).Digest(), Profile: profile, Tasks: []string{"generate"}, Bytes: 1, Holders: []cluster.NodeID{"m1"}}}},
	} {
		e := cluster.Envelope{V: cluster.EnvelopeFormat, At: 1000, Txns: []cluster.Txn{{Do: do}}}
		before, index := w.state, cluster.Index(i+1)
		next, errs := cluster.Apply(before, index, e)
		if errs[0] != nil {
			t.Fatal(errs[0])
		}
		at := before.Audit()
		for _, encoded := range cluster.Records(before, index, e, errs) {
			at = at.Next(encoded)
			w.lines = audit.AppendLine(w.lines, encoded, at)
		}
		w.state = next
	}
	var b bytes.Buffer
	out, err := NewWriter(&b, Header{Created: 7, Software: "test", Blobs: true}, w.state)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(out.Audit(w.lines[:40]))
	must(out.Audit(w.lines[40:]))
	for _, data := range w.blobs {
		x := blob.Of(data)
		must(out.Blob(x))
		for i := range x.Chunks {
			must(out.Chunk(data[i*blob.ChunkSize : min(len(data), (i+1)*blob.ChunkSize)]))
		}
	}
	must(out.Version(w.id))
	must(out.Close())
	w.backup = b.Bytes()
	return w
}

func TestRead(t *testing.T) {
	w := newWorld(t)
	var lines []byte
	var state cluster.State
	got, versions := map[blob.Digest][]byte{}, []cluster.VersionID(nil)
	h, err := Read(iotest.HalfReader(bytes.NewReader(w.backup)), Into{
		State: func(s cluster.State) error { state = s; return nil },
		Record: func(before audit.Head, encoded []byte) error {
			lines = audit.AppendLine(lines, encoded, before.Next(encoded))
			return nil
		},
		Blob: func(x blob.Index) error { got[x.Digest()] = []byte{}; return nil },
		Chunk: func(x blob.Index, _ int, data []byte) error {
			got[x.Digest()] = append(got[x.Digest()], data...)
			return nil
		},
		Version: func(v cluster.VersionID) error { versions = append(versions, v); return nil },
	})
	if err != nil || h.Cluster != "c1" || h.Index != 4 || h.Feature != 2 || !h.Blobs || h.Software != "test" || h.Audit != w.state.Audit() {
		t.Fatalf("%+v %v", h, err)
	}
	if state.Hash() != w.state.Hash() || !bytes.Equal(lines, w.lines) || !slices.Equal(versions, []cluster.VersionID{w.id}) {
		t.Errorf("another state, audit log or version: %v", versions)
	}
	for _, data := range w.blobs {
		if b, ok := got[blob.Of(data).Digest()]; !ok || !bytes.Equal(b, data) {
			t.Errorf("blob of %d bytes: %d, %v", len(data), len(b), ok)
		}
	}
	stop := errors.New("stop")
	for name, into := range map[string]Into{
		"header":  {Header: func(Header) error { return stop }},
		"state":   {State: func(cluster.State) error { return stop }},
		"record":  {Record: func(audit.Head, []byte) error { return stop }},
		"blob":    {Blob: func(blob.Index) error { return stop }},
		"chunk":   {Chunk: func(blob.Index, int, []byte) error { return stop }},
		"version": {Version: func(cluster.VersionID) error { return stop }},
	} {
		if _, err := Read(bytes.NewReader(w.backup), into); !errors.Is(err, stop) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A backup that was made wrongly is refused, also where every byte is authentic.
func TestReadRefuses(t *testing.T) {
	w := newWorld(t)
	for n := 0; n < len(w.backup); n += 1 + n/50 {
		if _, err := Read(bytes.NewReader(w.backup[:n]), Into{}); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	if _, err := Read(bytes.NewReader(append(bytes.Clone(w.backup), 0)), Into{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("more at the end: %v", err)
	}
	build := func(h Header, state cluster.State, more func(*Writer)) []byte {
		var b bytes.Buffer
		out, err := NewWriter(&b, h, state)
		if err != nil {
			t.Fatal(err)
		}
		more(out)
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for name, c := range map[string]struct {
		bytes []byte
		want  error
	}{
		"no audit log":     {build(Header{}, w.state, func(*Writer) {}), ErrInconsistent},
		"torn audit log":   {build(Header{}, w.state, func(o *Writer) { o.Audit(w.lines[:len(w.lines)-3]) }), ErrInconsistent},
		"edited audit log": {build(Header{}, w.state, func(o *Writer) { o.Audit(bytes.Replace(w.lines, []byte("k1"), []byte("k2"), 1)) }), ErrInconsistent},
		"longer audit log": {build(Header{}, w.state, func(o *Writer) { o.Audit(w.lines); o.Audit(w.lines) }), ErrInconsistent},
		"version first":    {build(Header{}, w.state, func(o *Writer) { o.Audit(w.lines); o.Version(w.id) }), ErrInconsistent},
		"unknown version":  {build(Header{}, w.state, func(o *Writer) { o.Audit(w.lines); o.Version(cluster.VersionID{Model: "x", Number: 1}) }), ErrInconsistent},
		"blob twice":       {build(Header{}, w.state, func(o *Writer) { o.Audit(w.lines); o.Blob(blob.Of(nil)); o.Blob(blob.Of(nil)) }), ErrInconsistent},
		"blob unfinished":  {build(Header{}, w.state, func(o *Writer) { o.Audit(w.lines); o.Blob(blob.Of([]byte("x"))) }), ErrDamaged},
		"chunk alone":      {build(Header{}, w.state, func(o *Writer) { o.Audit(w.lines); o.record(kindChunk, []byte("x")) }), ErrDamaged},
		"another chunk":    {build(Header{}, w.state, func(o *Writer) { o.Audit(w.lines); o.Blob(blob.Of([]byte("x"))); o.record(kindChunk, []byte("y")) }), ErrInconsistent},
		"no index":         {build(Header{}, w.state, func(o *Writer) { o.Audit(w.lines); o.record(kindIndex, []byte("x")) }), ErrInconsistent},
		"audit log late":   {build(Header{}, w.state, func(o *Writer) { o.Audit(w.lines); o.Blob(blob.Of(nil)); o.Audit(w.lines) }), ErrDamaged},
		"no state":         {build(Header{}, cluster.State{}, func(*Writer) {}), ErrInconsistent},
		"unknown kind":     {build(Header{}, w.state, func(o *Writer) { o.Audit(w.lines); o.record(kindEnd+1, nil) }), ErrDamaged},
		"huge record":      {[]byte{0, 0xff, 0xff, 0xff, 0xff}, ErrDamaged},
		"another format":   {append([]byte{0, 0, 0, 0, 12}, `{"format":2}`...), ErrNotBackup},
		"another header": {func() []byte {
			h := Header{Format: Format, Cluster: "c2", Index: 4, Audit: w.state.Audit()}
			j, _ := json.Marshal(h)
			var b bytes.Buffer
			o := &Writer{to: &b}
			o.record(kindHeader, j)
			w.state.WriteTo(pieces{o})
			o.Audit(w.lines)
			o.Close()
			return b.Bytes()
		}(), ErrInconsistent},
	} {
		if _, err := Read(bytes.NewReader(c.bytes), Into{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var out bytes.Buffer
	o, err := NewWriter(&out, Header{}, w.state)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(o.Blob(blob.Of([]byte("x"))), o.Chunk([]byte("y"))); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("a chunk that is not the blob's is written: %v", err)
	}
	if _, err := NewWriter(failing{}, Header{}, w.state); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a full disk: %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// FuzzRead: no bytes make a reader panic, or take them for a backup that no writer made.
func FuzzRead(f *testing.F) {
	w := newWorld(f)
	small := w.backup[:bytes.Index(w.backup, w.blobs[0][:64])-5]
	f.Add(small)
	f.Add([]byte{0, 0, 0, 0, 2, '{', '}'})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := Read(bytes.NewReader(b), Into{})
		var unknown *cluster.UnknownTag
		if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrInconsistent) && !errors.Is(err, ErrNotBackup) && !errors.As(err, &unknown) {
			t.Errorf("untyped error %v", err)
		}
	})
}

// FuzzUnseal: no bytes make an opener panic, nor do they come out.
func FuzzUnseal(f *testing.F) {
	f.Add(sealedBytes(f, []byte("plain")))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= preamble && !bytes.Equal(b[len(magic):len(magic)+12], sealedBytes(t, nil)[len(magic):][:12]) {
			t.Skip("the cost is bounded, and too much for fuzzing")
		}
		if got, err := unsealed(b, []byte("not the passphrase")); !typed(err) || len(got) > 0 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}
