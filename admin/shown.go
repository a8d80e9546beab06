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
	maxShownSize  = 64 << 20  // bytes of memory for all tenants, about; then one of the tenant that has most of it is forgotten
	shownOverhead = 192       // bytes of memory of a blob without its chunks, about
)

// shown is what each tenant has shown to have: the chunks that its publishers sent themselves. Whoever is confined to a tenant is told
// that all others are missing, and makes versions of nothing else, so that a hash is neither a question whether somebody else has the
// bytes nor a way to get them. A leader that has forgotten asks for them again.
type shown struct {
	mu sync.Mutex
	of map[string]map[blob.Digest]*shownBlob // by tenant

	size int // bytes of memory of all of them, about
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

// add takes a blob in, and forgets what is old and what is too much. The caller holds the lock.
func (s *shown) add(now time.Time, tenant string, d blob.Digest, b *shownBlob) {
	if s.of == nil {
		s.of = map[string]map[blob.Digest]*shownBlob{}
	}
	s.drop(tenant, d)
	if s.of[tenant] == nil {
		s.of[tenant] = map[blob.Digest]*shownBlob{}
	}
	s.of[tenant][d] = b
	s.size += b.size()
	for at, other := range s.of[tenant] {
		if now.Sub(other.used) >= shownFor {
			s.drop(tenant, at)
		}
	}
	if len(s.of[tenant]) > maxShownBlobs {
		s.drop(tenant, s.oldest(tenant))
	}
	for s.size > maxShownSize {
		most := s.largest()
		s.drop(most, s.oldest(most))
	}
}

// size is the memory that a blob takes here in bytes, about.
func (b *shownBlob) size() int { return shownOverhead + len(b.chunks) }

// drop forgets a blob. The caller holds the lock.
func (s *shown) drop(tenant string, d blob.Digest) {
	b := s.of[tenant][d]
	if b == nil {
		return
	}
	s.size -= b.size()
	if delete(s.of[tenant], d); len(s.of[tenant]) == 0 {
		delete(s.of, tenant)
	}
}

// oldest is the blob of a tenant that was last used the longest ago. The caller holds the lock.
func (s *shown) oldest(tenant string) (oldest blob.Digest) {
	var since time.Time
	for at, b := range s.of[tenant] {
		if since.IsZero() || b.used.Before(since) {
			oldest, since = at, b.used
		}
	}
	return oldest
}

// largest is the tenant whose blobs take the most. The caller holds the lock.
func (s *shown) largest() (tenant string) {
	most := -1
	for t, list := range s.of {
		sum := 0
		for _, b := range list {
			sum += b.size()
		}
		if sum > most {
			tenant, most = t, sum
		}
	}
	return tenant
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
