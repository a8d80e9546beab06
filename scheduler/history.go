package scheduler

import (
	"slices"
	"time"
)

// maxHistory bounds the reasons that are remembered.
const maxHistory = 1024

// Dated is a reason with the time at which it was first given.
type Dated struct {
	Note
	At time.Time
}

// History remembers reasons: those that stand now, and those that stood.
type History struct {
	standing []Dated // in the order of the last list
	all      []Dated // oldest first
}

// Put takes the whole list of reasons that stand now.
func (h *History) Put(now time.Time, list []Note) {
	next := make([]Dated, 0, len(list))
	for _, n := range list {
		if i := slices.IndexFunc(h.standing, func(d Dated) bool { return d.Note == n }); i >= 0 {
			next = append(next, h.standing[i])
			continue
		}
		d := Dated{n, now}
		next = append(next, d)
		if len(h.all) == maxHistory {
			h.all = slices.Delete(h.all, 0, maxHistory/2)
		}
		h.all = append(h.all, d)
	}
	h.standing = next
}

// Standing are the reasons that stand now.
func (h *History) Standing() []Dated { return slices.Clone(h.standing) }

// All are the reasons that were given, oldest first, at most maxHistory.
func (h *History) All() []Dated { return slices.Clone(h.all) }
