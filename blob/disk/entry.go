package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"time"

	"github.com/skein-project/skein/blob"
)

const (
	maxIndexFile = 8 + blob.MaxSize/blob.ChunkSize*32
	maxHaveFile  = 32 + blob.MaxSize/blob.ChunkSize/8 + 4
)

// castagnoli is the polynomial of the checksum of the bitmap's file.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entry is what the store has of one blob.
type entry struct {
	index  blob.Index
	digest blob.Digest

	io     sync.RWMutex // held for reading while chunks and bitmap are written, for writing while the files are replaced or removed
	commit sync.Mutex   // one commit at a time

	mu       sync.Mutex // guards what follows
	have     bitmap     // chunks that were verified and written
	saved    bitmap     // those of them that the disk knows of
	promised bitmap     // chunks that somebody was promised space for
	dirty    int64      // bytes written since the last commit
	gone     bool       // the blob was deleted
	touched  time.Time  // when a writer was here last
}

func newEntry(x blob.Index) *entry {
	n := len(x.Chunks)
	return &entry{index: x, digest: x.Digest(), have: newBitmap(n), saved: newBitmap(n), promised: newBitmap(n)}
}

func (e *entry) stat() Stat {
	e.mu.Lock()
	defer e.mu.Unlock()
	st := Stat{Digest: e.digest, Size: e.index.Size, Touched: e.touched, Complete: e.saved.count() == len(e.index.Chunks) && e.have.count() == len(e.index.Chunks)}
	for i := range e.index.Chunks {
		if e.have.has(i) {
			st.Present += e.index.ChunkLen(i)
		}
	}
	return st
}

// touch notes that a writer was here.
func (e *entry) touch() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.touched = time.Now()
}

// retire marks the blob as deleted and gives back the bytes it was promised.
func (e *entry) retire() (promised int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = true
	for i := range e.index.Chunks {
		if e.promised.has(i) {
			promised += e.index.ChunkLen(i)
		}
	}
	return promised
}

// retired says whether the blob was deleted.
func (e *entry) retired() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.gone
}

// has says whether chunk i was verified and written.
func (e *entry) has(i int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.have.has(i)
}

// missing lists the chunks of a range that are not there.
func (e *entry) missing(ref blob.Ref) ([]int, error) {
	if ref.Off < 0 || ref.Len < 0 || ref.Off > e.index.Size || ref.Len > e.index.Size-ref.Off {
		return nil, fmt.Errorf("%w: %d bytes at %d of %s, which has %d", blob.ErrRange, ref.Len, ref.Off, e.digest.Short(), e.index.Size)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []int
	for i, to := ref.Chunks(); i < to; i++ {
		if !e.have.has(i) {
			list = append(list, i)
		}
	}
	return list, nil
}

// noted is what follows from a chunk that was written.
type noted struct {
	released int64 // bytes that were promised and are now used
	due      bool  // what is verified should be made durable now
}

// note records that chunk i is verified and written.
func (e *entry) note(i int, flush int64) noted {
	e.mu.Lock()
	defer e.mu.Unlock()
	var n noted
	e.touched = time.Now()
	if e.promised.has(i) {
		e.promised.clear(i)
		n.released = e.index.ChunkLen(i)
	}
	if !e.have.has(i) {
		e.have.set(i)
		e.dirty += e.index.ChunkLen(i)
	}
	complete := e.have.count() == len(e.index.Chunks) && e.saved.count() != len(e.index.Chunks)
	n.due = e.dirty >= flush || complete
	return n
}

// save makes durable which chunks are verified. Should the data not reach the disk, the chunks since the last time count as missing:
// after a failed sync nothing is known of them.
func (s *Store) save(e *entry) error {
	e.io.RLock()
	defer e.io.RUnlock()
	e.commit.Lock()
	defer e.commit.Unlock()
	e.mu.Lock()
	have, dirty, same := slices.Clone(e.have), e.dirty, slices.Equal(e.have, e.saved)
	gone := e.gone
	e.mu.Unlock()
	if same || gone {
		return nil
	}
	err := s.syncData(e)
	if err == nil {
		err = s.writeFile(s.path(metaDir), e.digest.String()+haveSuffix, encodeHave(e.digest, have))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.have, e.dirty = slices.Clone(e.saved), 0
		return fmt.Errorf("disk: commit %s: %w", e.digest.Short(), err)
	}
	e.saved = have
	e.dirty -= dirty
	return nil
}

// syncData makes the blob's bytes durable.
func (s *Store) syncData(e *entry) error {
	f, err := s.fs.OpenReadWrite(s.path(blobsDir, e.digest.String()), category)
	if err != nil {
		return err
	}
	return errors.Join(f.SyncData(), f.Close())
}

// drop forgets chunks that turned out to be corrupt.
func (s *Store) drop(e *entry, chunks []int) error {
	e.io.RLock()
	defer e.io.RUnlock()
	e.commit.Lock()
	defer e.commit.Unlock()
	e.mu.Lock()
	for _, i := range chunks {
		e.have.clear(i)
		e.saved.clear(i)
	}
	saved, gone := slices.Clone(e.saved), e.gone
	e.mu.Unlock()
	if gone {
		return nil
	}
	return s.writeFile(s.path(metaDir), e.digest.String()+haveSuffix, encodeHave(e.digest, saved))
}

// encodeHave is the content of a bitmap's file: the digest, the bitmap, and their CRC-32C.
func encodeHave(d blob.Digest, b bitmap) []byte {
	out := append(append(make([]byte, 0, len(d)+len(b)+4), d[:]...), b...)
	return binary.BigEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
}

// decodeHave reads a bitmap of n chunks; ok is false for anything but what encodeHave wrote.
func decodeHave(d blob.Digest, raw []byte, n int) (b bitmap, ok bool) {
	b = newBitmap(n)
	if len(raw) != len(d)+len(b)+4 {
		return nil, false
	}
	body := raw[:len(raw)-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(raw[len(body):]) || blob.Digest(body[:len(d)]) != d {
		return nil, false
	}
	copy(b, body[len(d):])
	if n%8 != 0 && b[len(b)-1]>>(n%8) != 0 {
		return nil, false
	}
	return b, true
}
