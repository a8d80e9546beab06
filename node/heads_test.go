package node

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/skein-project/skein/audit"
)

func TestHeads(t *testing.T) {
	dir := t.TempDir()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	var head audit.Head
	h := openHeads(dir)
	tell := func() {
		head = head.Next([]byte("record"))
		s, err := audit.Sign(head, 1, key)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the same again is not kept again
			if err := h.keep(&s); err != nil {
				t.Fatal(err)
			}
		}
	}
	tell()
	if err := h.keep(nil); err != nil {
		t.Fatal(err)
	}
	h = openHeads(dir)
	tell()
	read := func() (list []audit.Signed) {
		b, err := os.ReadFile(filepath.Join(dir, headsFile))
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(b) {
			var s audit.Signed
			if err := json.Unmarshal(line, &s); err != nil || audit.Check(s, public) != nil {
				t.Fatalf("%s: %v", line, err)
			}
			list = append(list, s)
		}
		return list
	}
	if list := read(); len(list) != 2 || list[1].Head != head {
		t.Fatalf("%+v", list)
	}
	b, err := os.ReadFile(filepath.Join(dir, headsFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, headsFile), bytes.Repeat(b, maxHeads/len(b)+1), 0o600); err != nil {
		t.Fatal(err)
	}
	tell()
	list := read()
	if n := maxHeads / (len(b) / 2); list[len(list)-1].Head != head || len(list) < n/3 || len(list) > 2*n/3+2 {
		t.Errorf("%d heads are left of %d", len(list), n)
	}
}
