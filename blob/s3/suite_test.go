package s3

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/blob/disk"
	"github.com/skein-project/skein/internal/egress"
	"github.com/skein-project/skein/internal/servertest"
)

// keeper is what a bucket and a directory have in common.
type keeper interface {
	put(ctx context.Context, data []byte) error
	stat(ctx context.Context, d blob.Digest) (int64, error)
	index(ctx context.Context, d blob.Digest) (blob.Index, error)
	chunk(ctx context.Context, d blob.Digest, i int) ([]byte, error)
	read(ctx context.Context, ref blob.Ref) ([]byte, error)
	list(ctx context.Context) ([]blob.Digest, error)
	remove(ctx context.Context, d blob.Digest) error
	spoil(t *testing.T, data []byte, at int) // flips a bit of a blob that is kept
}

type onDisk struct{ s *disk.Store }

func (k onDisk) put(ctx context.Context, data []byte) error {
	_, err := k.s.Import(ctx, bytes.NewReader(data), int64(len(data)))
	return err
}

func (k onDisk) stat(_ context.Context, d blob.Digest) (int64, error) {
	st, err := k.s.Stat(d)
	return st.Size, err
}
func (k onDisk) index(_ context.Context, d blob.Digest) (blob.Index, error) { return k.s.Index(d) }
func (k onDisk) chunk(_ context.Context, d blob.Digest, i int) ([]byte, error) {
	return k.s.ReadChunk(d, i)
}
func (k onDisk) read(_ context.Context, ref blob.Ref) ([]byte, error) { return k.s.Read(ref) }
func (k onDisk) list(context.Context) (out []blob.Digest, err error) {
	for _, st := range k.s.List() {
		out = append(out, st.Digest)
	}
	return out, nil
}
func (k onDisk) remove(_ context.Context, d blob.Digest) error { return k.s.Delete(d) }
func (k onDisk) spoil(t *testing.T, data []byte, at int) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(k.s.Folder(), blob.Of(data).Digest().String()), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte{data[at] ^ 1}, int64(at))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

type inBucket struct{ s *Store }

func (k inBucket) put(ctx context.Context, data []byte) error {
	return k.s.Put(ctx, blob.Of(data), bytes.NewReader(data))
}
func (k inBucket) stat(ctx context.Context, d blob.Digest) (int64, error) { return k.s.Stat(ctx, d) }
func (k inBucket) index(ctx context.Context, d blob.Digest) (blob.Index, error) {
	return k.s.Index(ctx, d)
}
func (k inBucket) chunk(ctx context.Context, d blob.Digest, i int) ([]byte, error) {
	x, err := k.s.Index(ctx, d)
	if err != nil {
		return nil, err
	}
	return k.s.ReadChunk(ctx, x, i)
}
func (k inBucket) read(ctx context.Context, ref blob.Ref) ([]byte, error) { return k.s.Read(ctx, ref) }
func (k inBucket) list(ctx context.Context) ([]blob.Digest, error)        { return k.s.List(ctx) }
func (k inBucket) remove(ctx context.Context, d blob.Digest) error        { return k.s.Delete(ctx, d) }
func (k inBucket) spoil(t *testing.T, data []byte, at int) {
	t.Helper()
	other := slices.Clone(data)
	other[at] ^= 1
	if _, err := k.s.core.Client.PutObject(t.Context(), k.s.bucket, k.s.name(blobsFolder, blob.Of(data).Digest()), bytes.NewReader(other), int64(len(other)), minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
}

// bucket makes a store in a bucket of a real S3 server.
func bucket(t *testing.T) *Store {
	t.Helper()
	at := servertest.S3(t)
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	c, err := minio.New(u.Host, &minio.Options{Creds: credentials.NewStaticV4(servertest.AccessKey, servertest.SecretKey, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MakeBucket(t.Context(), "blobs", minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("[default]\naws_access_key_id = "+servertest.AccessKey+"\naws_secret_access_key = "+servertest.SecretKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{URL: at, Bucket: "blobs", Prefix: "skein/", Keys: keys}, egress.New(egress.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	return b
}

// A directory and a bucket keep blobs alike: what is there can be read in ranges, what is not is unknown, what has changed is found.
func TestKeepers(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) keeper{
		"disk": func(t *testing.T) keeper {
			s, err := disk.Open(t.TempDir(), disk.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return onDisk{s}
		},
		"bucket": func(t *testing.T) keeper { return inBucket{bucket(t)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			suite(t, open(t))
		})
	}
}

func suite(t *testing.T, k keeper) {
	ctx := t.Context()
	blobs := [][]byte{{}, []byte("small"), noise(1, blob.ChunkSize), noise(2, 5*blob.ChunkSize+7)}
	var digests []blob.Digest
	for _, data := range blobs {
		d := blob.Of(data).Digest()
		if _, err := k.stat(ctx, d); !errors.Is(err, blob.ErrUnknown) {
			t.Errorf("before it is put: %v", err)
		}
		for range 2 { // twice is once
			if err := k.put(ctx, data); err != nil {
				t.Fatal(err)
			}
		}
		digests = append(digests, d)
		if size, err := k.stat(ctx, d); err != nil || size != int64(len(data)) {
			t.Errorf("%d bytes, %v, want %d", size, err, len(data))
		}
		if x, err := k.index(ctx, d); err != nil || x.Digest() != d {
			t.Errorf("index: %v", err)
		}
		if b, err := k.read(ctx, blob.Ref{Digest: d, Len: int64(len(data))}); err != nil || !bytes.Equal(b, data) {
			t.Errorf("read %d bytes, %v", len(b), err)
		}
	}
	big, d := blobs[3], digests[3]
	for _, r := range [][2]int{{0, 1}, {blob.ChunkSize - 1, 2}, {3, 3 * blob.ChunkSize}, {len(big) - 1, 1}, {len(big), 0}} {
		if b, err := k.read(ctx, blob.Ref{Digest: d, Off: int64(r[0]), Len: int64(r[1])}); err != nil || !bytes.Equal(b, big[r[0]:r[0]+r[1]]) {
			t.Errorf("%d bytes at %d: %d, %v", r[1], r[0], len(b), err)
		}
	}
	for _, r := range []blob.Ref{{Digest: d, Off: -1, Len: 1}, {Digest: d, Off: 1, Len: int64(len(big))}, {Digest: d, Off: int64(len(big)) + 1}} {
		if _, err := k.read(ctx, r); !errors.Is(err, blob.ErrRange) {
			t.Errorf("%d bytes at %d: %v", r.Len, r.Off, err)
		}
	}
	if _, err := k.read(ctx, blob.Ref{Digest: d, Len: MaxRead + 1}); err == nil {
		t.Error("a range without end was read")
	}
	for _, i := range []int{-1, 6} {
		if _, err := k.chunk(ctx, d, i); !errors.Is(err, blob.ErrRange) {
			t.Errorf("chunk %d: %v", i, err)
		}
	}
	slices.SortFunc(digests, func(a, b blob.Digest) int { return bytes.Compare(a[:], b[:]) })
	if list, err := k.list(ctx); err != nil || !slices.Equal(list, digests) {
		t.Errorf("list %v, %v", list, err)
	}

	k.spoil(t, big, blob.ChunkSize+5)
	if _, err := k.chunk(ctx, d, 1); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("a flipped bit: %v", err)
	}
	if b, err := k.chunk(ctx, d, 0); err != nil || !bytes.Equal(b, big[:blob.ChunkSize]) {
		t.Errorf("beside it: %v", err)
	}
	if err := k.remove(ctx, d); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{"remove": k.remove(ctx, d), "stat": second(k.stat(ctx, d)), "chunk": second(k.chunk(ctx, d, 0)), "index": second(k.index(ctx, d))} {
		if !errors.Is(err, blob.ErrUnknown) {
			t.Errorf("%s after it was removed: %v", what, err)
		}
	}
	if err := k.put(ctx, big); err != nil {
		t.Error(err)
	}
	if b, err := k.chunk(ctx, d, 1); err != nil || !bytes.Equal(b, big[blob.ChunkSize:2*blob.ChunkSize]) {
		t.Errorf("put again: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// What is not what its index says is not put; what has no index does not exist; an index that was swapped is found.
func TestPutVerifies(t *testing.T) {
	t.Parallel()
	s, ctx := bucket(t), t.Context()
	data := noise(3, 2*blob.ChunkSize)
	x := blob.Of(data)
	data[blob.ChunkSize+1] ^= 1
	if err := s.Put(ctx, x, bytes.NewReader(data)); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("other bytes: %v", err)
	}
	if err := s.Put(ctx, x, bytes.NewReader(data[:10])); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("too few bytes: %v", err)
	}
	if list, err := s.List(ctx); err != nil || len(list) != 0 {
		t.Errorf("list %v, %v", list, err)
	}
	other := blob.Of([]byte("other")).Encode()
	if _, err := s.core.Client.PutObject(ctx, s.bucket, s.name(indexFolder, x.Digest()), bytes.NewReader(other), int64(len(other)), minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(ctx, x.Digest()); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("a swapped index: %v", err)
	}
	if _, err := Open(Config{URL: "x"}, nil); err == nil {
		t.Error("opened without a bucket")
	}
}
