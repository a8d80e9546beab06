package library

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
)

// Obeying what Spread says, every blob that somebody has is on two of those that answer, or on all; nothing is said then, and nobody copies
// what it has or from one that has it not.
func TestSpread(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var members []cluster.NodeID
		lacks := map[cluster.NodeID]map[blob.Digest]bool{}
		for i := range rapid.IntRange(1, 5).Draw(t, "members") {
			members = append(members, cluster.NodeID(fmt.Sprint("c", i)))
		}
		var blobs []blob.Digest
		for i := range rapid.IntRange(0, 8).Draw(t, "blobs") {
			blobs = append(blobs, blob.Digest{byte(i)})
		}
		for _, id := range members {
			if rapid.IntRange(0, 3).Draw(t, "answers") == 0 {
				continue
			}
			lacks[id] = map[blob.Digest]bool{}
			for _, d := range blobs {
				lacks[id][d] = rapid.Bool().Draw(t, "lacks")
			}
		}
		for _, c := range Spread(blobs, members, lacks) {
			for _, d := range c.Blobs {
				if !lacks[c.To][d] {
					t.Fatalf("%s copies what it has", c.To)
				}
				from := 0
				for _, id := range c.From {
					if !lacks[id][d] {
						from++
					}
				}
				if from == 0 {
					t.Fatalf("%s is to copy from nobody who has it", c.To)
				}
			}
			for _, d := range c.Blobs {
				lacks[c.To][d] = false
			}
		}
		for _, d := range blobs {
			n := 0
			for _, of := range lacks {
				if !of[d] {
					n++
				}
			}
			if n != 0 && n < min(Copies, len(lacks)) {
				t.Fatalf("%d copies of %s", n, d.Short())
			}
		}
		if again := Spread(blobs, members, lacks); len(again) > 0 {
			t.Fatalf("there is more to do: %+v", again)
		}
	})
}
