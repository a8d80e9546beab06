package hub

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/skein-project/skein/blob"
)

// Limits of an archive.
const (
	maxEntries   = MaxFiles  // of all kinds
	maxRatio     = 100       // unpacked bytes per packed byte, above minUnpacked
	minUnpacked  = 64 << 20  // unpacked bytes that any archive may have
	maxZstdSpace = 128 << 20 // bytes of memory that a zstd stream may ask for
)

// unpack fetches an archive, checks it against its claim, and only then looks inside. No path of it is ever made on a disk: each
// file becomes a blob.
func (p *pull) unpack(ctx context.Context, f File) error {
	scratch, err := p.sink.Scratch(f.Size)
	if err != nil {
		return p.named(f, err)
	}
	defer scratch.Close() // it is gone either way
	c := newClaim(p.src.String(), f, p.count(f))
	body, err := steadily(ctx, p.src, f, 0)
	if err != nil {
		return p.named(f, err)
	}
	defer body.Close() // opened for reading
	n, err := io.Copy(io.MultiWriter(scratch, c), io.LimitReader(body, f.Size))
	if err == nil && n < f.Size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = c.Check()
	}
	if err != nil {
		return p.named(f, err)
	}
	r, end, err := open(f.Packed, io.NewSectionReader(scratch, 0, f.Size))
	if err != nil {
		return p.named(f, &Lied{p.src.String(), f.Name, "is no " + f.Packed + ": " + err.Error()})
	}
	defer end()
	limit := max(minUnpacked, min(f.Size, blob.MaxSize/maxRatio)*maxRatio)
	return p.named(f, p.entries(ctx, f, tar.NewReader(&bounded{r, limit, limit})))
}

// open undoes an archive's compression.
func open(form string, r io.Reader) (io.Reader, func(), error) {
	switch form {
	case "tar+gzip":
		z, err := gzip.NewReader(r)
		return z, func() {}, err
	case "tar+zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(maxZstdSpace), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return r, func() {}, nil
}

// bounded fails when more comes out than what went in can mean.
type bounded struct {
	r           io.Reader
	left, limit int64
}

// errBomb says that an archive is larger inside than it may be.
var errBomb = errors.New("unpacks to too much")

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, fmt.Errorf("%w: limit %d bytes", errBomb, b.limit)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// entries reads an archive: regular files and the folders they are in, each name once.
func (p *pull) entries(ctx context.Context, f File, r *tar.Reader) error {
	lied := func(format string, args ...any) error {
		return &Lied{p.src.String(), f.Name, fmt.Sprintf(format, args...)}
	}
	folded := map[string]string{}
	for n := 0; ; n++ {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return lied("is no archive: %v", err)
		case n == maxEntries:
			return lied("has more than %d entries", maxEntries)
		case ctx.Err() != nil:
			return ctx.Err()
		}
		name := strings.TrimPrefix(h.Name, "./")
		if h.Typeflag == tar.TypeXGlobalHeader || h.Typeflag == tar.TypeDir && name == "" {
			continue
		}
		if err := p.rules.Name(strings.TrimSuffix(name, "/")); err != nil {
			return lied("has an entry that may not be: %v", err)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		if h.Typeflag != tar.TypeReg || isSparse(h) {
			return lied("has the entry %.100q of type %q: only regular files are unpacked", name, h.Typeflag)
		}
		if twin, ok := folded[strings.ToLower(name)]; ok {
			return lied("has the entries %.100q and %.100q", twin, name)
		}
		folded[strings.ToLower(name)] = name
		if !mayMatter(name, h.Size) {
			continue
		}
		if _, twice := p.files[name]; twice {
			return lied("has the entry %.100q, which another archive has too", name)
		}
		x, err := p.sink.Import(ctx, r, h.Size)
		if err != nil {
			return fmt.Errorf("entry %q: %w", name, err)
		}
		p.files[name] = x.Digest()
	}
}

// isSparse says that an entry is longer than what the archive has of it.
func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}
