package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
)

// parts are what a member of a test has of one blob.
type parts struct {
	x      blob.Index
	data   []byte
	mu     sync.Mutex
	have   map[int]bool
	before func(chunk int) error // asked before a chunk is given; nil = nothing happens
}

func (p *parts) Index(blob.Digest) (blob.Index, error) { return p.x, nil }

func (p *parts) ReadChunk(_ blob.Digest, i int) ([]byte, error) {
	p.mu.Lock()
	have := p.have == nil || p.have[i]
	p.mu.Unlock()
	if !have {
		return nil, blob.ErrUnknown
	}
	if p.before != nil {
		if err := p.before(i); err != nil {
			return nil, err
		}
	}
	return p.data[int64(i)*blob.ChunkSize : int64(i)*blob.ChunkSize+p.x.ChunkLen(i)], nil
}

func (p *parts) Begin(x blob.Index, _ ...blob.Ref) (missing []int, err error) {
	for i := range x.Chunks {
		missing = append(missing, i)
	}
	return missing, nil
}

func (p *parts) WriteChunk(_ blob.Digest, i int, b []byte) error {
	if !bytes.Equal(b, p.data[int64(i)*blob.ChunkSize:int64(i)*blob.ChunkSize+p.x.ChunkLen(i)]) {
		return errors.New("other bytes")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.have[i] {
		return fmt.Errorf("chunk %d came twice", i)
	}
	p.have[i] = true
	return nil
}

func (p *parts) Flush(blob.Digest) error { return nil }

// Members that begin together take each byte from the coordinator about once; one that dies, stands still, never begins or lies in the midst of it stops
// nobody, and what it should have brought is shared by the others.
func TestFetchAmong(t *testing.T) {
	const members, chunks = 4, 8
	data := make([]byte, chunks*blob.ChunkSize-77)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(data)
	x := blob.Of(data)
	for _, c := range []struct {
		name   string
		absent bool                                                                  // the last member does not fetch
		fault  func(stop func(), n *atomic.Int64, over <-chan struct{}) func() error // of the last member, when it is asked for a chunk that it has
		most   float64                                                               // that the coordinator gives, in blobs
		wait   time.Duration
	}{
		{"all is well", false, nil, 1.25, time.Minute},
		{"one dies", false, func(stop func(), n *atomic.Int64, _ <-chan struct{}) func() error {
			return func() error {
				if n.Add(1) > 2 {
					stop()
					return errors.New("dead")
				}
				return nil
			}
		}, 1.75, time.Minute},
		{"one stands still", false, func(_ func(), n *atomic.Int64, over <-chan struct{}) func() error {
			return func() error {
				if n.Add(1) > 2 {
					<-over
				}
				return nil
			}
		}, 2.5, time.Minute},
		{"one never begins", true, nil, 2.5, 100 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			ca := authority(t)
			var given atomic.Int64
			m := NewMux()
			var link sync.Mutex
			over := make(chan struct{})
			HandleBlobs(m, &parts{x: x, data: data, before: func(int) error { // a link that all share
				link.Lock()
				defer link.Unlock()
				<-time.After(10 * time.Millisecond)
				return nil
			}}, &given)
			_, source := serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), m)
			var all []*parts
			var peers []Sharer
			for i := range members {
				p := &parts{x: x, data: data, have: map[int]bool{}}
				mux := NewMux()
				HandleBlobs(mux, p, new(atomic.Int64))
				l, addr := serve(t, papers(t, ca, member(cluster.RoleNode), time.Now()), mux)
				if fault := c.fault; fault != nil && i == members-1 {
					does := fault(func() { go l.Close() }, new(atomic.Int64), over)
					p.before = func(int) error { return does() }
				}
				all = append(all, p)
				peers = append(peers, Sharer{Addr: addr, Wants: func(blob.Digest, int) bool { return true }})
			}
			began := time.Now()
			var wg sync.WaitGroup
			for i, p := range all {
				if c.absent && i == members-1 {
					continue
				}
				wg.Go(func() {
					d := NewDialer(papers(t, ca, member(cluster.RoleNode), time.Now()))
					defer d.Close()
					var came atomic.Int64
					from := Sources{Self: peers[i].Addr, Whole: []string{source}, Peers: func() ([]Sharer, <-chan struct{}) { return peers, nil }, Patience: c.wait}
					if err := FetchAmong(context.Background(), d, from, x.Digest(), nil, p, func(n int64) { came.Add(n) }); err != nil {
						t.Errorf("member %d: %v", i, err)
					}
					if len(p.have) != chunks || came.Load() != x.Size {
						t.Errorf("member %d has %d of %d chunks, %d of %d bytes", i, len(p.have), chunks, came.Load(), x.Size)
					}
				})
			}
			wg.Wait()
			close(over)
			took, share := time.Since(began), float64(given.Load())/float64(x.Size)
			t.Logf("the coordinator gave the blob %.2f times, within %v", share, took.Round(time.Millisecond))
			if share < 1 || share > c.most {
				t.Errorf("the coordinator gave the blob %.2f times, want 1 to %v", share, c.most)
			}
			if took > 6*peerWait {
				t.Errorf("it took %v", took)
			}
		})
	}
}
