package hub_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/hub"
)

// Open implements hub.Source.
func (s lyingSource) Open(_ context.Context, f hub.File, off int64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.data[f.Name][off:])), nil
}

// entry is one of an archive's.
type entry struct {
	name string
	kind byte // 0 = a regular file
	link string
	data string
	pax  map[string]string
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Size: int64(len(e.data)), Mode: 0o777, PAXRecords: e.pax}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(t testing.TB, form string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch form {
	case "tar+gzip":
		w = gzip.NewWriter(&b)
	case "tar+zstd":
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return data
	}
	_, err := w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpack(t *testing.T, form string, data []byte) (hub.Pulled, error) {
	t.Helper()
	f := hub.File{Name: "layer 0", Size: int64(len(data)), Sum: sumOf(data), Packed: form}
	s := store(t)
	got, err := hub.Pull(t.Context(), lyingSource{[]hub.File{f}, map[string][]byte{"layer 0": data}}, s, rules, func(hub.Progress) {})
	if err == nil {
		for name, d := range got.Files {
			if st, err := s.Stat(d); err != nil || !st.Complete {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	return got, err
}

// A model may come as an archive, in every packing.
func TestUnpack(t *testing.T) {
	t.Parallel()
	data := archive(t, entry{name: "./", kind: tar.TypeDir}, entry{name: "1_Pooling/", kind: tar.TypeDir}, entry{name: "./config.json", data: "{}"}, entry{name: "1_Pooling/config.json", data: "[]"},
		entry{name: "model.safetensors", data: strings.Repeat("w", 100)}, entry{name: "README.md", data: "read me"}, entry{name: "big.json", data: strings.Repeat(" ", 1000)})
	for _, form := range []string{"tar", "tar+gzip", "tar+zstd"} {
		got, err := unpack(t, form, zipped(t, form, data))
		if err != nil || len(got.Files) != 3 || got.Files["config.json"] != blob.Of([]byte("{}")).Digest() {
			t.Errorf("%s: %v, %v", form, got.Files, err)
		}
	}
}

// Archives as attackers make them: nothing of them is kept under any name, and the archive is named.
func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	file := entry{name: "config.json", data: "{}"}
	deep := strings.Repeat("a/", 10_000) + "config.json"
	many := make([]entry, 5000)
	for i := range many {
		many[i] = entry{name: fmt.Sprintf("%d.md", i)}
	}
	for name, entries := range map[string][]entry{
		"up":                  {{name: "../config.json", data: "{}"}},
		"up inside":           {{name: "a/../../config.json"}},
		"absolute":            {{name: "/etc/passwd"}},
		"drive":               {{name: "C:config.json"}},
		"backslash":           {{name: `..\config.json`}},
		"control":             {{name: "config\n.json"}},
		"deep":                {{name: deep}},
		"long":                {{name: strings.Repeat("x", 256) + ".json"}},
		"empty part":          {{name: "a//config.json"}},
		"symbolic link":       {{name: "vocab.json", kind: tar.TypeSymlink, link: "/etc/passwd"}},
		"link, then through":  {{name: "a", kind: tar.TypeSymlink, link: "/tmp"}, {name: "a/config.json", data: "{}"}},
		"hard link":           {file, {name: "vocab.json", kind: tar.TypeLink, link: "config.json"}},
		"device":              {{name: "vocab.json", kind: tar.TypeChar}},
		"block device":        {{name: "vocab.json", kind: tar.TypeBlock}},
		"pipe":                {{name: "vocab.json", kind: tar.TypeFifo}},
		"twice":               {file, file},
		"twin":                {file, {name: "Config.JSON", data: "{}"}},
		"too many":            many,
		"folder with a colon": {{name: "a:b/", kind: tar.TypeDir}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := unpack(t, "tar", archive(t, entries...)); !lied(err, "layer 0", "") {
				t.Error(err)
			}
		})
	}
	// What archive/tar does not write.
	nul := archive(t, entry{name: "config.jsonXx", data: "{}"})
	copy(nul[bytes.Index(nul, []byte("Xx")):], "\x00/")
	sparse := sparseArchive()
	for name, data := range map[string][]byte{
		"cut":          archive(t, file)[:513],
		"noise":        bytes.Repeat([]byte("noise"), 300),
		"sparse":       sparse,
		"bad checksum": append([]byte("x"), archive(t, file)[1:]...),
	} {
		if _, err := unpack(t, "tar", data); err == nil {
			t.Errorf("%s: unpacked", name)
		}
	}
	if got, err := unpack(t, "tar", nul); err == nil && got.Files["config.json"] == (blob.Digest{}) {
		t.Error("a name with a zero byte is not cut there")
	}
	for _, form := range []string{"tar+gzip", "tar+zstd"} {
		if _, err := unpack(t, form, []byte("no such packing")); !lied(err, "layer 0", "") {
			t.Errorf("%s: %v", form, err)
		}
	}
	if _, err := unpack(t, "tar", []byte{}); err != nil && !lied(err, "layer 0", "") {
		t.Errorf("nothing: %v", err)
	}
}

// sparseArchive is a file of 4 GiB in the old format of GNU tar, of which the archive has nothing.
func sparseArchive() []byte {
	h := make([]byte, 1536)
	copy(h, "model.safetensors")
	copy(h[100:], "0000644\x000000000\x000000000\x0000000000000\x0000000000000\x00")
	copy(h[148:], "        ")
	h[156] = tar.TypeGNUSparse
	copy(h[257:], "ustar  \x00")
	copy(h[386:], "40000000000\x0000000000000\x00") // at 4 GiB come 0 bytes
	copy(h[483:], "40000000000\x00")                // the real size
	sum := 0
	for _, b := range h[:512] {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// A bomb costs what its limit says and no more.
func TestBomb(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	const size = 1 << 30
	if err := w.WriteHeader(&tar.Header{Name: "model.safetensors", Typeflag: tar.TypeReg, Size: size, Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 80 { // more is never read
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := unpack(t, "tar+gzip", b.Bytes()); err == nil || !strings.Contains(err.Error(), "unpacks to too much") {
		t.Errorf("%d bytes: %v", b.Len(), err)
	}
}

// FuzzUnpack looks for an archive that makes a file of a name that may not be, or a panic.
func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, entry{name: "config.json", data: "{}"}))
	f.Add(archive(f, entry{name: "a", kind: tar.TypeSymlink, link: "b"}))
	f.Add(sparseArchive())
	f.Fuzz(func(t *testing.T, data []byte) {
		file := hub.File{Name: "layer 0", Size: int64(len(data)), Packed: "tar"}
		got, err := hub.Pull(t.Context(), lyingSource{[]hub.File{file}, map[string][]byte{"layer 0": data}}, nowhere{}, rules, func(hub.Progress) {})
		for name := range got.Files {
			if err == nil && rules.Name(name) != nil {
				t.Errorf("%q", name)
			}
		}
	})
}

// nowhere is a sink that reads and forgets.
type nowhere struct{}

func (nowhere) Receive(context.Context, string, int64, func(context.Context, int64) (io.ReadCloser, error), blob.Claim) (blob.Index, error) {
	return blob.Index{}, errors.New("not here")
}

func (nowhere) Import(_ context.Context, r io.Reader, size int64) (blob.Index, error) {
	n, err := io.Copy(io.Discard, r)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	return blob.Index{}, err
}

func (nowhere) Scratch(int64) (blob.Scratch, error) { return &memory{}, nil }

type memory struct{ bytes.Buffer }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.Bytes()).ReadAt(p, off)
}

func (m *memory) Close() error { return nil }
