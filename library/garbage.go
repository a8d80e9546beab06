// Package library decides which blobs a member removes, and which coordinators hold a version.
package library

import (
	"bytes"
	"slices"
	"time"

	"github.com/skein-project/skein/blob"
)

// Blob is what a member has of a blob.
type Blob struct {
	Digest  blob.Digest
	Bytes   int64     // on the disk
	Touched time.Time // when a writer was last there
}

// Needs is what a step of Garbage looks at.
type Needs struct {
	Blobs []Blob               // all that there are
	Named map[blob.Digest]bool // by versions, uploads under way, stages that are held: these stay
	Sure  bool                 // that Named is complete; if not, nothing is removed
	Short int64                // bytes that are missing for something that is wanted now; 0 = none
}

// Garbage is what a member knows of blobs that nothing names. It counts the time itself, so that a member that starts with an old
// view of the cluster removes nothing before that view has long been replaced.
type Garbage struct {
	Keep time.Duration // that a blob stays though nothing names it
	Tidy time.Duration // the same where space is short; at most Keep

	since map[blob.Digest]time.Time // when it was first seen that nothing names it
}

// Step lists the blobs to remove, those that were not named for longest first. What was touched within Keep (or Tidy) stays: somebody may be about to name it.
func (g *Garbage) Step(now time.Time, in Needs) []blob.Digest {
	if g.since == nil {
		g.since = map[blob.Digest]time.Time{}
	}
	if !in.Sure {
		return nil
	}
	var free []Blob
	next := map[blob.Digest]time.Time{}
	for _, b := range in.Blobs {
		if in.Named[b.Digest] {
			continue
		}
		since, known := g.since[b.Digest]
		if !known {
			since = now
		}
		if b.Touched.After(since) {
			since = b.Touched
		}
		next[b.Digest] = since
		free = append(free, b)
	}
	g.since = next
	slices.SortFunc(free, func(a, b Blob) int {
		if c := next[a.Digest].Compare(next[b.Digest]); c != 0 {
			return c
		}
		return bytes.Compare(a.Digest[:], b.Digest[:])
	})
	var out []blob.Digest
	for _, b := range free {
		age := now.Sub(next[b.Digest])
		if age >= g.Keep || in.Short > 0 && age >= g.Tidy {
			out = append(out, b.Digest)
			in.Short -= b.Bytes
		}
	}
	return out
}
