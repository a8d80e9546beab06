package ort

import (
	"fmt"
	"os"

	"github.com/skein-project/skein/gpu"
	"golang.org/x/sys/unix"
)

// File is a read-only mapping of a range of a file: weights that Go itself reads, row by row.
type File struct {
	mapped []byte
	skip   int // bytes between the page boundary and the wanted range
}

// MapFile maps length bytes of the file from offset. The file must hold the whole range: a read behind the end of a file kills the
// process.
func MapFile(path string, offset, length int64) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("ort: mapping weights: %w", err)
	}
	defer f.Close() // the mapping outlives the descriptor
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("ort: mapping weights: %w", err)
	}
	if offset < 0 || length <= 0 || offset > st.Size()-length {
		return nil, fmt.Errorf("%w: %d bytes at %d of %s, which has %d", ErrBuffer, length, offset, path, st.Size())
	}
	skip := offset % int64(os.Getpagesize())
	mem, err := unix.Mmap(int(f.Fd()), offset-skip, int(length+skip), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("ort: mapping %s: %w", path, err)
	}
	return &File{mapped: mem, skip: int(skip)}, nil
}

// Bytes is the mapped range. It must not be used after Close.
func (f *File) Bytes() []byte { return f.mapped[f.skip:] }

// Resident is how much of the range is in memory now (in the page cache, shared with other processes).
func (f *File) Resident() (gpu.Bytes, error) { return resident(f.mapped) }

// Close unmaps the range.
func (f *File) Close() error {
	if f.mapped == nil {
		return nil
	}
	mem := f.mapped
	f.mapped = nil
	if err := unix.Munmap(mem); err != nil {
		return fmt.Errorf("ort: unmapping weights: %w", err)
	}
	return nil
}
