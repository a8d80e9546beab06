// Package s3 keeps blobs in a bucket, and gives back nothing that was not verified.
//
// A blob is two objects: blobs/DIGEST has its bytes, index/DIGEST its chunk hashes. The index is written last and removed first, so
// what has an index is whole.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/skein-project/skein/blob"
)

// Limits of a store.
const (
	MaxRead  = 64 << 20 // bytes that Read returns at once
	retries  = 3        // of one request
	minPart  = 16 << 20 // bytes of a part of an upload
	maxParts = 10_000   // of an upload, the API's limit
	maxIndex = 8 + blob.MaxSize/blob.ChunkSize*32
)

const (
	blobsFolder = "blobs/"
	indexFolder = "index/"
)

// ErrTooLong says that a range is too long to read at once.
var ErrTooLong = errors.New("s3: range too long to read at once")

// Config says which bucket.
type Config struct {
	URL    string // of the S3 endpoint
	Region string // default "us-east-1"
	Bucket string
	Prefix string // of all names, "" or with a final slash
	Keys   string // file with keys in the format of ~/.aws/credentials
}

// Store is a bucket, or a folder in one. It is safe for concurrent use, also by several processes.
type Store struct {
	core   minio.Core
	bucket string
	prefix string
}

// Open makes a store that makes its calls by a client. Nothing is called yet.
func Open(cfg Config, client *http.Client) (*Store, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || cfg.Bucket == "" || cfg.Keys == "" || cfg.Prefix != "" && !strings.HasSuffix(cfg.Prefix, "/") {
		return nil, fmt.Errorf("s3: a URL, a bucket and keys are needed, and a prefix ends with a slash: %w", errors.Join(err))
	}
	opt := &minio.Options{Creds: credentials.NewFileAWSCredentials(cfg.Keys, "default"), Secure: u.Scheme == "https", Transport: client.Transport, Region: cfg.Region, MaxRetries: retries}
	if opt.Region == "" {
		opt.Region = "us-east-1"
	}
	core, err := minio.NewCore(u.Host, opt)
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	return &Store{*core, cfg.Bucket, cfg.Prefix}, nil
}

func (s *Store) name(folder string, d blob.Digest) string { return s.prefix + folder + d.String() }

// failed says what was done to which blob. What is not there is blob.ErrUnknown.
func failed(what string, d blob.Digest, err error) error {
	var r minio.ErrorResponse
	if errors.As(err, &r) && r.Code == minio.NoSuchKey {
		return fmt.Errorf("s3: %s %s: %w", what, d.Short(), blob.ErrUnknown)
	}
	return fmt.Errorf("s3: %s %s: %w", what, d.Short(), err)
}

// Put stores a blob whole: every chunk is verified as it is read. A blob that is there already is left alone.
func (s *Store) Put(ctx context.Context, x blob.Index, r io.ReaderAt) error {
	if err := x.Validate(); err != nil {
		return err
	}
	d := x.Digest()
	if _, err := s.Index(ctx, d); err == nil {
		return nil
	}
	part := max(minPart, (x.Size/maxParts+blob.ChunkSize)/blob.ChunkSize*blob.ChunkSize)
	opt := minio.PutObjectOptions{ContentType: "application/octet-stream", PartSize: uint64(part), NumThreads: 1}
	src := &verified{index: x, from: r}
	if _, err := s.core.Client.PutObject(ctx, s.bucket, s.name(blobsFolder, d), src, x.Size, opt); err != nil {
		if src.err != nil {
			return src.err
		}
		return failed("put", d, err)
	}
	b := x.Encode()
	if _, err := s.core.Client.PutObject(ctx, s.bucket, s.name(indexFolder, d), bytes.NewReader(b), int64(len(b)), opt); err != nil {
		return failed("put the index of", d, err)
	}
	return nil
}

// PutObject writes a small object that is no blob, whole. One of the same name is replaced.
func (s *Store) PutObject(ctx context.Context, name, kind string, b []byte) error {
	opt := minio.PutObjectOptions{ContentType: kind, DisableMultipart: true}
	if _, err := s.core.Client.PutObject(ctx, s.bucket, s.prefix+name, bytes.NewReader(b), int64(len(b)), opt); err != nil {
		return fmt.Errorf("s3: put %.200q: %w", name, err)
	}
	return nil
}

// verified reads a blob chunk by chunk, and stops at the first that is not what its hash says.
type verified struct {
	index blob.Index
	from  io.ReaderAt
	next  int // chunk
	rest  []byte
	err   error
}

// Read implements io.Reader.
func (v *verified) Read(p []byte) (int, error) {
	if len(v.rest) == 0 {
		if v.next == len(v.index.Chunks) {
			return 0, io.EOF
		}
		chunk := make([]byte, v.index.ChunkLen(v.next))
		_, v.err = v.from.ReadAt(chunk, int64(v.next)*blob.ChunkSize)
		if v.err == nil || errors.Is(v.err, io.EOF) {
			v.err = v.index.Check(v.next, chunk)
		}
		if v.err != nil {
			return 0, v.err
		}
		v.rest = chunk
		v.next++
	}
	n := copy(p, v.rest)
	v.rest = v.rest[n:]
	return n, nil
}

// Stat is the size of a blob in bytes; blob.ErrUnknown if it is not here, or not whole.
func (s *Store) Stat(ctx context.Context, d blob.Digest) (size int64, err error) {
	x, err := s.Index(ctx, d)
	if err != nil {
		return 0, err
	}
	o, err := s.core.StatObject(ctx, s.bucket, s.name(blobsFolder, d), minio.StatObjectOptions{})
	if err != nil {
		return 0, failed("stat", d, err)
	}
	if o.Size != x.Size {
		return 0, fmt.Errorf("%w: %s has %d bytes, want %d", blob.ErrCorrupt, d.Short(), o.Size, x.Size)
	}
	return x.Size, nil
}

// Index is the blob's list of chunk hashes, verified against its name.
func (s *Store) Index(ctx context.Context, d blob.Digest) (blob.Index, error) {
	body, _, _, err := s.core.GetObject(ctx, s.bucket, s.name(indexFolder, d), minio.GetObjectOptions{})
	if err != nil {
		return blob.Index{}, failed("read the index of", d, err)
	}
	defer body.Close() // opened for reading
	b, err := io.ReadAll(io.LimitReader(body, maxIndex+1))
	if err != nil {
		return blob.Index{}, failed("read the index of", d, err)
	}
	x, err := blob.DecodeIndex(b)
	if err != nil || x.Digest() != d {
		return blob.Index{}, fmt.Errorf("%w: the index of %s", blob.ErrCorrupt, d.Short())
	}
	return x, nil
}

// ReadChunk reads chunk i of a blob whose index is known, and checks it.
func (s *Store) ReadChunk(ctx context.Context, x blob.Index, i int) ([]byte, error) {
	if i < 0 || i >= len(x.Chunks) {
		return nil, fmt.Errorf("%w: chunk %d of %s", blob.ErrRange, i, x.Digest().Short())
	}
	d, off, b := x.Digest(), int64(i)*blob.ChunkSize, make([]byte, x.ChunkLen(i))
	opt := minio.GetObjectOptions{}
	if err := opt.SetRange(off, off+int64(len(b))-1); err != nil {
		return nil, failed("read", d, err)
	}
	body, _, _, err := s.core.GetObject(ctx, s.bucket, s.name(blobsFolder, d), opt)
	if err != nil {
		return nil, failed("read", d, err)
	}
	defer body.Close() // opened for reading
	if _, err := io.ReadFull(body, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("%w: chunk %d of %s ends too soon", blob.ErrCorrupt, i, d.Short())
		}
		return nil, failed("read", d, err)
	}
	return b, x.Check(i, b)
}

// Read reads a range of at most MaxRead bytes, checking every chunk it touches.
func (s *Store) Read(ctx context.Context, ref blob.Ref) ([]byte, error) {
	if ref.Len > MaxRead {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLong, ref.Len, MaxRead)
	}
	x, err := s.Index(ctx, ref.Digest)
	if err != nil {
		return nil, err
	}
	if ref.Off < 0 || ref.Len < 0 || ref.Off > x.Size || ref.Len > x.Size-ref.Off {
		return nil, fmt.Errorf("%w: %d bytes at %d of %s, which has %d", blob.ErrRange, ref.Len, ref.Off, ref.Digest.Short(), x.Size)
	}
	out := make([]byte, 0, ref.Len)
	for i, to := ref.Chunks(); i < to; i++ {
		b, err := s.ReadChunk(ctx, x, i)
		if err != nil {
			return nil, err
		}
		start := int64(i) * blob.ChunkSize
		out = append(out, b[max(ref.Off-start, 0):min(ref.Off+ref.Len-start, int64(len(b)))]...)
	}
	return out, nil
}

// List names the blobs that are here whole, sorted.
func (s *Store) List(ctx context.Context) (list []blob.Digest, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the listing where it is given up
	prefix := s.prefix + indexFolder
	for o := range s.core.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, fmt.Errorf("s3: list: %w", o.Err)
		}
		if d, err := blob.ParseDigest(strings.TrimPrefix(o.Key, prefix)); err == nil { // what else is in the bucket is not ours
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b blob.Digest) int { return bytes.Compare(a[:], b[:]) })
	return list, ctx.Err()
}

// Delete removes a blob. One that is not there is blob.ErrUnknown.
func (s *Store) Delete(ctx context.Context, d blob.Digest) error {
	if _, err := s.core.StatObject(ctx, s.bucket, s.name(indexFolder, d), minio.StatObjectOptions{}); err != nil {
		return failed("delete", d, err)
	}
	for _, folder := range []string{indexFolder, blobsFolder} {
		if err := s.core.RemoveObject(ctx, s.bucket, s.name(folder, d), minio.RemoveObjectOptions{}); err != nil {
			return failed("delete", d, err)
		}
	}
	return nil
}
