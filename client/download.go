package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert"
)

// partSuffix marks a file that is not whole yet.
const partSuffix = ".part"

// IsSource says whether a text names a place that the cluster pulls models from, rather than a folder here.
func IsSource(text string) bool {
	for _, prefix := range []string{"hf:", "s3://", "oci:", "folder:"} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}

// Pull lets the cluster fetch a model from elsewhere and publish it. tell is told what it does.
func (c *Client) Pull(ctx context.Context, source, model string, tell func(*adminv1.PullResponse)) (*adminv1.PullResponse, error) {
	stream, err := c.Library.Pull(ctx, connect.NewRequest(&adminv1.PullRequest{Source: source, Model: model}))
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var last *adminv1.PullResponse
	for stream.Receive() {
		if last = stream.Msg(); last.Version == "" {
			tell(last)
		}
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	if last == nil || last.Version == "" {
		return nil, errors.New("the cluster ended the call without a version")
	}
	return last, nil
}

// Download brings the files of a version into a folder, byte for byte as they were uploaded or pulled. Every chunk is checked. What is
// there already is not fetched again, so a download that was cut goes on where it stopped. It gives the version and the names.
func (c *Client) Download(ctx context.Context, model, dir string, progress func(file string, here, size int64)) (version string, files []string, err error) {
	res, err := c.Library.ListFiles(ctx, connect.NewRequest(&adminv1.ListFilesRequest{Model: model}))
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, fmt.Errorf("download: %w", err)
	}
	root, err := os.OpenRoot(dir) // the names come from elsewhere
	if err != nil {
		return "", nil, fmt.Errorf("download: %w", err)
	}
	defer root.Close() // nothing is written to it itself
	for _, f := range res.Msg.Files {
		if err := convert.CheckName(f.Name); err != nil {
			return "", nil, err
		}
		d, err := blob.ParseDigest(f.Digest)
		if err != nil {
			return "", nil, err
		}
		g := &getting{client: c, root: root, version: res.Msg.Version, name: f.Name, digest: d, progress: progress}
		if err := g.file(ctx); err != nil {
			return "", nil, fmt.Errorf("download %s: %w", f.Name, err)
		}
		files = append(files, f.Name)
	}
	return res.Msg.Version, files, nil
}

// getting is one file that is downloaded.
type getting struct {
	client        *Client
	root          *os.Root
	version, name string
	digest        blob.Digest
	progress      func(file string, here, size int64)
}

// file brings one file to the disk, whole or not at all under its own name.
func (g *getting) file(ctx context.Context) error {
	path := filepath.FromSlash(g.name)
	if here, err := g.scan(path); err == nil && here.Digest() == g.digest {
		g.progress(g.name, here.Size, here.Size)
		return nil
	}
	if err := g.root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	for failures, reached := 0, 0; ; {
		next, err := g.rest(ctx, path+partSuffix)
		if err == nil {
			break
		}
		if next > reached { // it moves
			failures, reached = 0, next
		}
		if failures++; !temporary(err) || failures == uploadTries {
			return err
		}
		select {
		case <-time.After(uploadPause):
		case <-ctx.Done():
			return err
		}
	}
	return g.root.Rename(path+partSuffix, path)
}

// scan makes the index of a regular file that is here.
func (g *getting) scan(path string) (blob.Index, error) {
	stat, err := g.root.Lstat(path)
	if err != nil || !stat.Mode().IsRegular() {
		return blob.Index{}, errors.Join(err, fs.ErrNotExist)
	}
	f, err := g.root.Open(path)
	if err != nil {
		return blob.Index{}, err
	}
	defer f.Close() // opened for reading
	return blob.Scan(f)
}

// rest fetches the chunks that are not in the part yet, and tells how many there are then.
func (g *getting) rest(ctx context.Context, part string) (chunks int, err error) {
	here, err := g.scan(part)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	from := int(here.Size / blob.ChunkSize)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the call where it is given up
	x, stream, err := g.open(ctx, from)
	if connect.CodeOf(err) == connect.CodeInvalidArgument && from > 0 { // the part is longer than the file
		from = 0
		x, stream, err = g.open(ctx, 0)
	}
	if err != nil {
		return 0, err
	}
	defer func() { stream.Close() }()
	for i := range from {
		if i >= len(x.Chunks) || here.Chunks[i] != x.Chunks[i] { // of another version
			stream.Close()
			from = 0
			if _, stream, err = g.open(ctx, 0); err != nil {
				return 0, err
			}
			break
		}
	}
	f, err := g.root.OpenFile(part, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	if err = f.Truncate(int64(from) * blob.ChunkSize); err == nil {
		chunks, err = g.write(f, x, from, stream)
	}
	if err == nil {
		err = f.Sync()
	}
	return chunks, errors.Join(err, f.Close())
}

// open begins to download from a chunk on, and reads the index.
func (g *getting) open(ctx context.Context, from int) (x blob.Index, stream *connect.ServerStreamForClient[adminv1.DownloadResponse], err error) {
	stream, err = g.client.Library.Download(ctx, connect.NewRequest(&adminv1.DownloadRequest{Version: g.version, File: g.name, From: int32(from)}))
	if err != nil {
		return x, nil, err
	}
	if !stream.Receive() {
		return x, nil, errors.Join(cmpErr(stream.Err()), stream.Close())
	}
	x.Size = stream.Msg().Size
	for _, c := range stream.Msg().Chunks {
		if len(c) != len(g.digest) {
			return x, nil, errors.Join(fmt.Errorf("%w: a hash of %d bytes", blob.ErrIndex, len(c)), stream.Close())
		}
		x.Chunks = append(x.Chunks, [len(g.digest)]byte(c))
	}
	if err := x.Validate(); err != nil {
		return x, nil, errors.Join(err, stream.Close())
	}
	if x.Digest() != g.digest {
		return x, nil, errors.Join(fmt.Errorf("%w: other chunk hashes than the file's name says", blob.ErrCorrupt), stream.Close())
	}
	return x, stream, nil
}

// cmpErr is an error, or that a stream ended too soon.
func cmpErr(err error) error {
	if err == nil {
		return connect.NewError(connect.CodeUnavailable, io.ErrUnexpectedEOF)
	}
	return err
}

// write takes chunks as they come, each after its check.
func (g *getting) write(f *os.File, x blob.Index, from int, stream *connect.ServerStreamForClient[adminv1.DownloadResponse]) (chunks int, err error) {
	g.progress(g.name, min(int64(from)*blob.ChunkSize, x.Size), x.Size)
	for i := from; i < len(x.Chunks); i++ {
		if !stream.Receive() {
			return i, cmpErr(stream.Err())
		}
		b := stream.Msg().Data
		if err := x.Check(i, b); err != nil {
			return i, err
		}
		if _, err := f.WriteAt(b, int64(i)*blob.ChunkSize); err != nil {
			return i, err
		}
		g.progress(g.name, int64(i)*blob.ChunkSize+int64(len(b)), x.Size)
	}
	return len(x.Chunks), nil
}
