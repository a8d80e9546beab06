package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert"
)

// Pace of uploads.
const (
	uploaders   = 4 // chunks under way at once
	uploadTries = 20
	uploadPause = 500 * time.Millisecond
)

// maxWalk bounds the files that are looked at in a folder.
const maxWalk = 100_000

// File is one file of a model's folder.
type File struct {
	Name  string // in the folder, with slashes
	Path  string
	Index blob.Index
}

// Folder lists the files of a folder that a cluster needs to make a version, with the hashes of their chunks. step is told what is read. Where the folder
// cannot be used, the error is a convert.Refused.
func Folder(dir string, step func(name string)) ([]File, error) {
	var names []string
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if seen++; seen > maxWalk {
			return fmt.Errorf("%s has more than %d files: is it a model's folder?", dir, maxWalk)
		}
		name, err := filepath.Rel(dir, path)
		if err == nil && !d.IsDir() {
			names = append(names, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the folder: %w", err)
	}
	if names, err = convert.Select(names); err != nil {
		return nil, err
	}
	var out []File
	for _, name := range names {
		step(name)
		f := File{Name: name, Path: filepath.Join(dir, filepath.FromSlash(name))}
		if f.Index, err = scan(f.Path); err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

func scan(path string) (blob.Index, error) {
	f, err := os.Open(path)
	if err != nil {
		return blob.Index{}, err
	}
	defer f.Close()
	return blob.Scan(f)
}

// Progress is told how far the upload of a file is, in bytes. Its calls do not overlap.
type Progress func(f File, here, size int64)

// Upload brings files to the cluster, and gives the blob of each by its name. Chunks that are there already are not sent: an upload that
// was cut goes on where it stopped. While the cluster has no leader it waits.
func (c *Client) Upload(ctx context.Context, files []File, progress Progress) (map[string]string, error) {
	blobs := map[string]string{}
	for _, f := range files {
		digest, err := c.uploadFile(ctx, f, progress)
		if err != nil {
			return nil, fmt.Errorf("upload %s: %w", f.Name, err)
		}
		blobs[f.Name] = digest
	}
	return blobs, nil
}

// uploadFile asks what is missing and sends it, until nothing is.
func (c *Client) uploadFile(ctx context.Context, f File, progress Progress) (string, error) {
	begin := &adminv1.BeginBlobRequest{Size: f.Index.Size}
	for _, sum := range f.Index.Chunks {
		begin.Chunks = append(begin.Chunks, sum[:])
	}
	failures, missing := 0, len(f.Index.Chunks)+1
	for {
		res, err := c.Models.BeginBlob(ctx, connect.NewRequest(begin))
		if err == nil {
			if res.Msg.Digest != f.Index.Digest().String() {
				return "", fmt.Errorf("%w: the cluster calls it %.80q", blob.ErrCorrupt, res.Msg.Digest)
			}
			if len(res.Msg.Missing) == 0 {
				progress(f, f.Index.Size, f.Index.Size)
				return res.Msg.Digest, nil
			}
			if len(res.Msg.Missing) < missing { // it moves
				failures, missing = 0, len(res.Msg.Missing)
			}
			err = c.send(ctx, f, res.Msg.Missing, progress)
		}
		if err == nil {
			continue // asked again: the cluster says when it has all
		}
		if failures++; !temporary(err) || failures == uploadTries {
			return "", err
		}
		select {
		case <-time.After(uploadPause):
		case <-ctx.Done():
			return "", err
		}
	}
}

// temporary says that the same call may succeed later.
func temporary(err error) bool {
	code := connect.CodeOf(err)
	return code == connect.CodeUnavailable || code == connect.CodeNotFound || code == connect.CodeAborted
}

// send uploads chunks, a few at a time. After the first error no more are begun; those under way may end, so that each try gets further.
func (c *Client) send(ctx context.Context, f File, missing []int32, progress Progress) error {
	file, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	here := f.Index.Size
	for _, i := range missing {
		if i < 0 || int(i) >= len(f.Index.Chunks) {
			return fmt.Errorf("%w: the cluster misses chunk %d of %d", blob.ErrIndex, i, len(f.Index.Chunks))
		}
		here -= f.Index.ChunkLen(int(i))
	}
	progress(f, here, f.Index.Size)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	next := func() (chunk int32, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if failed != nil || len(missing) == 0 {
			return 0, false
		}
		chunk, missing = missing[0], missing[1:]
		return chunk, true
	}
	for range uploaders {
		wg.Go(func() {
			for i, ok := next(); ok; i, ok = next() {
				n, err := c.sendChunk(ctx, file, f, int(i))
				mu.Lock()
				if err != nil {
					failed = err
				} else {
					here += n
					progress(f, here, f.Index.Size)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return failed
}

func (c *Client) sendChunk(ctx context.Context, file io.ReaderAt, f File, i int) (int64, error) {
	data := make([]byte, f.Index.ChunkLen(i))
	if _, err := file.ReadAt(data, int64(i)*blob.ChunkSize); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if err := f.Index.Check(i, data); err != nil {
		return 0, fmt.Errorf("the file changed while it was read: %w", err)
	}
	_, err := c.Models.WriteChunk(ctx, connect.NewRequest(&adminv1.WriteChunkRequest{Digest: f.Index.Digest().String(), Chunk: int32(i), Data: data}))
	return int64(len(data)), err
}

// Publish makes a version of uploaded files, with accept also one whose trial fails. step is told what the cluster does.
func (c *Client) Publish(ctx context.Context, model string, blobs map[string]string, accept bool, step func(string)) (version string, err error) {
	stream, err := c.Models.Publish(ctx, connect.NewRequest(&adminv1.PublishRequest{Model: model, Files: blobs, Accept: accept}))
	if err != nil {
		return "", err
	}
	defer stream.Close()
	for stream.Receive() {
		m := stream.Msg()
		if version = m.Version; version == "" {
			step(m.Step)
		}
	}
	if err := stream.Err(); err != nil {
		return "", err
	}
	if version == "" {
		return "", errors.New("the cluster ended the call without a version")
	}
	return version, nil
}
