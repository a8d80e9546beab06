package blob

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
)

// Order sorts members by whose turn it is to bring a chunk to all of them: by rendezvous hashing (Thaler and Ravishankar, 1998), so that whoever knows
// the same members has the same order, each member comes first for about as many chunks, and without one of them the order of the others stays.
func Order(d Digest, chunk int, members []string) []string {
	type rank struct {
		member string
		sum    [sha256.Size]byte
	}
	list := make([]rank, len(members))
	head := binary.BigEndian.AppendUint64(slices.Clone(d[:]), uint64(chunk))
	for i, m := range members {
		list[i] = rank{m, sha256.Sum256(append(slices.Clip(head), m...))}
	}
	slices.SortFunc(list, func(a, b rank) int {
		if c := bytes.Compare(a.sum[:], b.sum[:]); c != 0 {
			return c
		}
		return strings.Compare(a.member, b.member)
	})
	out := make([]string, len(list))
	for i, r := range list {
		out[i] = r.member
	}
	return out
}
