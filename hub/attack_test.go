package hub_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// paxSparse is a file of 4 GiB in the newer format of GNU tar, where it looks like a regular one: what it is stands in a header before it.
func paxSparse(t *testing.T, version string) []byte {
	t.Helper()
	records := map[string][]string{
		"0.1": {"GNU.sparse.size=4294967296", "GNU.sparse.numblocks=1", "GNU.sparse.map=4294967296,0"},
		"1.0": {"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=model.safetensors", "GNU.sparse.realsize=4294967296"},
	}[version]
	var text string
	for _, r := range records { // each with its own length in front
		n := len(r) + 3
		if n += len(fmt.Sprint(n)) - 1; len(fmt.Sprintf("%d %s\n", n, r)) != n {
			n = len(fmt.Sprintf("%d %s\n", n, r))
		}
		text += fmt.Sprintf("%d %s\n", n, r)
	}
	head := archive(t, entry{name: "PaxHeaders", data: text})[:1024]
	head[156] = tar.TypeXHeader
	copy(head[148:], "        ")
	sum := 0
	for _, b := range head[:512] {
		sum += int(b)
	}
	copy(head[148:], fmt.Sprintf("%06o\x00 ", sum))
	return append(head, archive(t, entry{name: "model.safetensors", data: "1\n4294967296\n0\n" + strings.Repeat("\x00", 497)})...)
}

// A file that an archive has nothing of is refused in every format in which one can say so, also where it is a regular file by its kind, and
// an archive in an archive stays one: it is no file of a model (attack case 11).
func TestSparseAndNested(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"0.1", "1.0"} {
		data := paxSparse(t, version)
		h, err := tar.NewReader(bytes.NewReader(data)).Next()
		if err != nil || h.Typeflag != tar.TypeReg || h.Size != 4<<30 {
			t.Fatalf("%s: this is no sparse file: %+v, %v", version, h, err)
		}
		if got, err := unpack(t, "tar", data); !lied(err, "layer 0", "only regular files") {
			t.Errorf("%s: %v, %v", version, got.Files, err)
		}
	}
	inner := archive(t, entry{name: "../config.json", data: "{}"})
	got, err := unpack(t, "tar", archive(t, entry{name: "config.json", data: "{}"}, entry{name: "model.safetensors", data: "x"}, entry{name: "tokenizer.json", data: "{}"},
		entry{name: "more.tar", data: string(inner)}, entry{name: "more.zip", data: "PK\x03\x04"}))
	if _, there := got.Files["more.tar"]; err != nil || there || len(got.Files) == 0 {
		t.Errorf("%v, %v", got.Files, err)
	}
}
