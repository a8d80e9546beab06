package hub_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/skein-project/skein/hub"
	"github.com/skein-project/skein/internal/servertest"
)

// s3 starts an S3 server, and gives a client of it and what an operator would configure.
func s3(t *testing.T) (*minio.Client, hub.Config) {
	t.Helper()
	at := servertest.S3(t)
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	c, err := minio.New(u.Host, &minio.Options{Creds: credentials.NewStaticV4(servertest.AccessKey, servertest.SecretKey, ""), Region: "us-east-1", TrailingHeaders: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MakeBucket(t.Context(), "models", minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "keys")
	text := "[default]\naws_access_key_id = " + servertest.AccessKey + "\naws_secret_access_key = " + servertest.SecretKey + "\n"
	if err := os.WriteFile(keys, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return c, hub.Config{S3URL: at, S3Keys: keys}
}

// A model comes from a bucket of a real S3 server, with the hashes that the server keeps where it keeps them.
func TestPullFromS3(t *testing.T) {
	t.Parallel()
	c, cfg := s3(t)
	err := fs.WalkDir(os.DirFS(example), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		opt := minio.PutObjectOptions{}
		if name == "config.json" {
			data, err := os.ReadFile(filepath.Join(example, name))
			if err != nil {
				return err
			}
			sum := sha256.Sum256(data)
			opt.UserMetadata = map[string]string{"x-amz-checksum-sha256": base64.StdEncoding.EncodeToString(sum[:])}
		}
		_, err = c.FPutObject(t.Context(), "models", "team/calc/"+name, filepath.Join(example, name), opt)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutObject(t.Context(), "models", "team/calc-other/config.json", bytes.NewReader(nil), 0, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	s := store(t)
	got, err := pull(t, cfg, "s3://models/team/calc/", s)
	if err != nil {
		t.Fatal(err)
	}
	same(t, s, got, example)
	src, err := hub.New(cfg, client()).Open(t.Context(), "s3://models/team/calc")
	if err != nil {
		t.Fatal(err)
	}
	list, err := src.List(t.Context())
	if at := slices.IndexFunc(list, func(f hub.File) bool { return f.Name == "config.json" }); at < 0 || list[at].Sum.Kind != "sha256" {
		t.Errorf("files %+v, %v", list, err)
	}
	var status *hub.Status
	if _, err := pull(t, cfg, "s3://nothing/here", s); !errors.As(err, &status) || status.Code != 404 {
		t.Errorf("no such bucket: %v", err)
	}
	if _, err := pull(t, hub.Config{S3URL: cfg.S3URL}, "s3://models/team/calc", s); !errors.As(err, &status) || status.Code != 403 {
		t.Errorf("without keys: %v", err)
	}

	// What is replaced between listing and reading is noticed.
	swapped := swapping{src, func(ctx context.Context) error {
		_, err := c.PutObject(ctx, "models", "team/calc/config.json", bytes.NewReader([]byte("{}")), 2, minio.PutObjectOptions{})
		return err
	}}
	if _, err := hub.Pull(t.Context(), swapped, store(t), rules, func(hub.Progress) {}); !lied(err, "config.json", "changed since") {
		t.Errorf("a file was swapped: %v", err)
	}
}

// swapping changes a source between its list and its files.
type swapping struct {
	hub.Source
	swap func(context.Context) error
}

func (s swapping) List(ctx context.Context) ([]hub.File, error) {
	list, err := s.Source.List(ctx)
	return list, errors.Join(err, s.swap(ctx))
}

// A model comes from a folder: regular files in it, whatever links lead out, and what is swapped meanwhile is noticed.
func TestPullFromFolder(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.CopyFS(filepath.Join(top, "calc"), os.DirFS(example)))
	cfg := hub.Config{Folder: top}
	s := store(t)
	got, err := pull(t, cfg, "folder:calc", s)
	must(err)
	same(t, s, got, example)

	for _, name := range []string{"..", "../x", "/etc", "calc/../..", "calc/..", "none", ""} {
		if _, err := pull(t, cfg, "folder:"+name, s); !errors.Is(err, hub.ErrFolder) {
			t.Errorf("%q: %v", name, err)
		}
	}
	outside := t.TempDir()
	must(os.WriteFile(filepath.Join(outside, "secret"), []byte("{}"), 0o600))
	must(os.Symlink(outside, filepath.Join(top, "out")))
	if _, err := pull(t, cfg, "folder:out", s); !errors.Is(err, hub.ErrFolder) {
		t.Errorf("a link out: %v", err)
	}
	must(os.Symlink(filepath.Join(outside, "secret"), filepath.Join(top, "calc", "vocab.json")))
	if got, err = pull(t, cfg, "folder:calc", s); err != nil || len(got.Files) != 5 {
		t.Errorf("with a link to a file: %v, %v", got.Files, err)
	}
	src, err := hub.New(cfg, client()).Open(t.Context(), "folder:calc")
	must(err)
	config := filepath.Join(top, "calc", "config.json")
	for what, swap := range map[string]func() error{
		"other bytes": func() error { return os.WriteFile(config, []byte("{}"), 0o600) },
		"a link": func() error {
			return errors.Join(os.Remove(config), os.Symlink(filepath.Join(outside, "secret"), config))
		},
	} {
		_, err := hub.Pull(t.Context(), swapping{src, func(context.Context) error { return swap() }}, store(t), rules, func(hub.Progress) {})
		if err == nil {
			t.Errorf("swapped for %s: pulled", what)
		}
		must(os.RemoveAll(config))
		must(os.CopyFS(filepath.Join(top, "again"), os.DirFS(example)))
		must(os.Rename(filepath.Join(top, "again", "config.json"), config))
		must(os.RemoveAll(filepath.Join(top, "again")))
	}
}
