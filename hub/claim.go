package hub

import (
	"crypto/sha1" //nolint:gosec // git names its blobs so; it is checked besides, never relied on alone
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
)

// Sum is a hash that a source claims for a file.
type Sum struct {
	Kind string // "sha256", or "git-sha1": of git's header and the content
	Hex  string // lower case
}

// parseSum reads a hash that is written as hexadecimal digits; ok is false for anything else.
func parseSum(kind, text string) (s Sum, ok bool) {
	want := map[string]int{"sha256": sha256.Size, "git-sha1": sha1.Size}[kind]
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != want {
		return Sum{}, false
	}
	return Sum{kind, hex.EncodeToString(b)}, true
}

// claim implements blob.Claim for a file of a source.
type claim struct {
	source string
	file   File
	hash   hash.Hash // nil where no hash is claimed
	seen   func(bytes int)
}

func newClaim(source string, f File, seen func(bytes int)) *claim {
	c := &claim{source: source, file: f, seen: seen}
	switch f.Sum.Kind {
	case "sha256":
		c.hash = sha256.New()
	case "git-sha1":
		c.hash = sha1.New()
		fmt.Fprintf(c.hash, "blob %d\x00", f.Size)
	}
	return c
}

// Write implements io.Writer.
func (c *claim) Write(p []byte) (int, error) {
	if c.hash != nil {
		c.hash.Write(p)
	}
	c.seen(len(p))
	return len(p), nil
}

// Check implements blob.Claim.
func (c *claim) Check() error {
	if c.hash == nil {
		return nil
	}
	if got := hex.EncodeToString(c.hash.Sum(nil)); got != c.file.Sum.Hex {
		return &Lied{c.source, c.file.Name, fmt.Sprintf("its %s is %s, and %s was announced", c.file.Sum.Kind, got, c.file.Sum.Hex)}
	}
	return nil
}
