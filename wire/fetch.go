package wire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/skein-project/skein/blob"
)

// Pace of fetching.
const (
	fetchParallel = 4           // chunks of a blob that are on their way at once
	chunkWait     = time.Minute // for one chunk, or an index, from one source
)

// ErrNoSource says that no source had what was asked for.
var ErrNoSource = errors.New("wire: no source has the blob")

// BlobSink is where fetched chunks go: a store on disk.
type BlobSink interface {
	// Begin announces ranges of a blob and tells which chunks of them are missing.
	Begin(x blob.Index, refs ...blob.Ref) (missing []int, err error)
	WriteChunk(d blob.Digest, chunk int, data []byte) error
	Flush(d blob.Digest) error
}

// Sharer is a member that fetches parts of the same blobs at this time, or has them.
type Sharer struct {
	Addr  string
	Wants func(d blob.Digest, chunk int) bool
}

// Sources are where the bytes of blobs may come from.
type Sources struct {
	Self  string   // address of the member that asks, as its peers know it
	Whole []string // addresses of members that have everything, the best first
	// Peers are those who share the work now, and a channel that is closed when there are others; nil = nobody does.
	Peers func() ([]Sharer, <-chan struct{})
	// Patience is how long nothing is done but waiting for peers, beside a quarter of the time until then; default 3 s.
	Patience time.Duration
}

// Fetch brings the chunks that ranges of one blob touch into a sink, from whichever source has them. Every chunk is verified before it
// is written. progress, if not nil, is told of bytes as they come, from several goroutines. Without refs the whole blob is fetched.
func Fetch(ctx context.Context, d *Dialer, sources []string, digest blob.Digest, refs []blob.Ref, sink BlobSink, progress func(bytes int64)) error {
	return FetchAmong(ctx, d, Sources{Whole: sources}, digest, refs, sink, progress)
}

// FetchAmong is Fetch by one of several members that begin at about the same time. Each chunk is brought by the one whose turn it is (blob.Order), from
// a source that has everything, and the others take it from there: so these give each byte about once, however many fetch. A peer that fails is asked no
// more. For one that is slow nobody waits longer than Patience and a quarter of the time that its own part took.
func FetchAmong(ctx context.Context, d *Dialer, from Sources, digest blob.Digest, refs []blob.Ref, sink BlobSink, progress func(bytes int64)) error {
	x, err := FetchIndexAny(ctx, d, from.Whole, digest)
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		refs = []blob.Ref{{Digest: digest, Len: x.Size}}
	}
	missing, err := sink.Begin(x, refs...)
	if err != nil {
		return err
	}
	if err := newSwarm(d, from, x, missing, sink, progress).run(ctx); err != nil {
		return fmt.Errorf("fetch %s: %w", digest.Short(), err)
	}
	return sink.Flush(digest)
}

// ranking is the order in which sources are asked: one that failed comes last from then on.
type ranking struct {
	mu    sync.Mutex
	addrs []string
}

func (r *ranking) now() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.addrs)
}

func (r *ranking) demote(addr string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.addrs, addr); i >= 0 {
		r.addrs = append(slices.Delete(r.addrs, i, i+1), addr)
	}
}

// FetchIndexAny asks sources for the index of a blob until one has it.
func FetchIndexAny(ctx context.Context, d *Dialer, sources []string, digest blob.Digest) (blob.Index, error) {
	return anySource(sources, func(addr string) (blob.Index, error) { return FetchIndex(ctx, d, addr, digest) })
}

// ReadAny reads a range of a blob into memory from whichever source has it, verified. It is for small files: the chunks that the range
// touches are all fetched.
func ReadAny(ctx context.Context, d *Dialer, sources []string, ref blob.Ref) ([]byte, error) {
	x, err := FetchIndexAny(ctx, d, sources, ref.Digest)
	if err != nil {
		return nil, err
	}
	if ref.Off < 0 || ref.Len < 0 || ref.Off > x.Size-ref.Len {
		return nil, fmt.Errorf("%w: %d bytes at %d of %s", blob.ErrRange, ref.Len, ref.Off, ref.Digest.Short())
	}
	if ref.Len == 0 {
		return nil, nil
	}
	var out []byte
	from, to := ref.Chunks()
	for chunk := from; chunk < to; chunk++ {
		b, err := anySource(sources, func(addr string) ([]byte, error) { return FetchChunk(ctx, d, addr, x, chunk) })
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	skip := ref.Off - int64(from)*blob.ChunkSize
	return out[skip : skip+ref.Len], nil
}

// anySource asks one source after another.
func anySource[T any](sources []string, ask func(addr string) (T, error)) (v T, err error) {
	errs := []error{ErrNoSource}
	for _, addr := range sources {
		if v, err = ask(addr); err == nil {
			return v, nil
		}
		errs = append(errs, err)
	}
	return v, errors.Join(errs...)
}
