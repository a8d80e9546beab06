package job

import (
	"cmp"
	"slices"
	"strings"

	"github.com/skein-project/skein/cluster"
)

// Held is a batch as a state has it.
type Held struct {
	Doc   cluster.Document
	Batch Batch
}

// Pick says which batches without an owner somebody takes who has room for some: always one of the tenant of which the fewest are worked,
// wherever, and of that tenant the oldest.
func Pick(all []Held, room int, now Millis) (taken []Held) {
	worked := map[string]int{}
	var free []Held
	for _, h := range all {
		switch {
		case h.Batch.Free(now):
			free = append(free, h)
		case !h.Batch.Status.Over():
			worked[tenantOf(h)]++
		}
	}
	for len(taken) < room && len(free) > 0 {
		i := 0
		for k := range free {
			if before(free[k], free[i], worked) {
				i = k
			}
		}
		worked[tenantOf(free[i])]++
		taken = append(taken, free[i])
		free = slices.Delete(free, i, i+1)
	}
	return taken
}

func before(a, b Held, worked map[string]int) bool {
	return cmp.Or(cmp.Compare(worked[tenantOf(a)], worked[tenantOf(b)]), cmp.Compare(a.Batch.Since[Validating], b.Batch.Since[Validating]), strings.Compare(a.Doc.ID, b.Doc.ID)) < 0
}

func tenantOf(h Held) string {
	tenant, _, _ := strings.Cut(h.Doc.ID, "/")
	return tenant
}
