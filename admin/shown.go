package admin

import (
	"sync"
	"time"

	"github.com/skein-project/skein/blob"
)

// What is remembered of the uploads of those who are confined to a tenant.
const (
	shownFor      = time.Hour // since the upload was last used; a blob that nothing names is kept for longer
	maxShownBlobs = 4096      // of a tenant; then the one that was last used the longest ago is forgotten
)

// shown is what each tenant has shown to have: the chunks that its publishers sent themselves. Whoever is confined to a tenant is told
// that all others are missing, and makes versions of nothing else, so that a hash is neither a question whether somebody else has the
// bytes nor a way to get them. A leader that has forgotten asks for them again.
type shown struct {
	mu sync.Mutex
	of map[string]map[blob.Digest]*shownBlob // by tenant
}

type shownBlob struct {
	chunks []bool // that were sent
	used   time.Time
}

// find finds what a tenant has announced. The caller holds the lock.
func (s *shown) find(now time.Time, tenant string, d blob.Digest) *shownBlob {
	b := s.of[tenant][d]
	if b == nil || now.Sub(b.used) >= shownFor {
		return nil
	}
	b.used = now
	return b
}

// begin notes that a tenant announced a blob, of which missing chunks are nowhere, and gives those that it has to send, in order.
func (s *shown) begin(now time.Time, tenant string, x blob.Index, missing []int) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.find(now, tenant, x.Digest())
	if b == nil {
		b = &shownBlob{chunks: make([]bool, len(x.Chunks)), used: now}
		s.add(now, tenant, x.Digest(), b)
	}
	for _, i := range missing {
		b.chunks[i] = false
	}
	var out []int
	for i, sent := range b.chunks {
		if !sent {
			out = append(out, i)
		}
	}
	return out
}

// add takes a blob in, and forgets what is old. The caller holds the lock.
func (s *shown) add(now time.Time, tenant string, d blob.Digest, b *shownBlob) {
	if s.of == nil {
		s.of = map[string]map[blob.Digest]*shownBlob{}
	}
	list := s.of[tenant]
	if list == nil {
		list = map[blob.Digest]*shownBlob{}
		s.of[tenant] = list
	}
	list[d] = b
	var oldest blob.Digest
	for at, other := range list {
		if now.Sub(other.used) >= shownFor {
			delete(list, at)
		} else if o, ok := list[oldest]; !ok || other.used.Before(o.used) {
			oldest = at
		}
	}
	if len(list) > maxShownBlobs {
		delete(list, oldest)
	}
}

// begun says whether a tenant announced a blob.
func (s *shown) begun(now time.Time, tenant string, d blob.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(now, tenant, d) != nil
}

// sent notes that a tenant sent a chunk, and that its hash is right.
func (s *shown) sent(now time.Time, tenant string, d blob.Digest, chunk int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.find(now, tenant, d); b != nil && chunk >= 0 && chunk < len(b.chunks) {
		b.chunks[chunk] = true
	}
}

// whole says whether a tenant sent all of a blob.
func (s *shown) whole(now time.Time, tenant string, d blob.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.find(now, tenant, d)
	if b == nil {
		return false
	}
	for _, sent := range b.chunks {
		if !sent {
			return false
		}
	}
	return true
}
