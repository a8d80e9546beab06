package coordinator

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/cluster"
)

// Whatever ends when, a tenant has no more calls under way than its share, all together no more than there may be, none twice, and nobody
// waits whose share is free while there is room.
func TestShareOfCallbacks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := callers{under: map[cluster.DocumentID]bool{}, of: map[string]int{}}
		tenants, each := rapid.IntRange(1, 40).Draw(t, "tenants"), rapid.IntRange(0, 8).Draw(t, "each")
		var due, running []dueCall
		for i := range tenants * each {
			due = append(due, dueCall{doc: cluster.Document{DocumentID: cluster.DocumentID{Kind: cluster.Batch, ID: fmt.Sprintf("t%d/b%d", i%tenants, i)}}})
		}
		for range 5 {
			running = append(running, c.take(due)...)
			of, seen := map[string]int{}, map[cluster.DocumentID]bool{}
			for _, d := range running {
				if of[d.tenant()]++; seen[d.doc.DocumentID] || of[d.tenant()] > maxCallsOf {
					t.Fatalf("%s is called twice, or its tenant has %d", d.doc.ID, of[d.tenant()])
				}
				seen[d.doc.DocumentID] = true
			}
			if len(running) > maxCalls {
				t.Fatalf("%d calls", len(running))
			}
			for _, d := range due {
				if len(running) < maxCalls && !seen[d.doc.DocumentID] && of[d.tenant()] < maxCallsOf {
					t.Fatalf("%s waits", d.doc.ID)
				}
			}
			for i := 0; i < len(running); i++ {
				if rapid.Bool().Draw(t, "ends") {
					c.done(running[i])
					running = append(running[:i:i], running[i+1:]...)
				}
			}
		}
	})
}
