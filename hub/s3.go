package hub

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Defaults and limits of S3.
const (
	s3URL     = "https://s3.amazonaws.com"
	s3Region  = "us-east-1"
	s3Retries = 3
)

// s3Bucket is what names of buckets look like.
var s3Bucket = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// bucket is a folder in an S3 bucket.
type bucket struct {
	core   minio.Core
	bucket string
	prefix string // "" or with a final slash
}

func (h *Hub) openS3(text string) (Source, error) {
	name, prefix, _ := strings.Cut(strings.TrimPrefix(text, "//"), "/")
	if !strings.HasPrefix(text, "//") || !s3Bucket.MatchString(name) || strings.Contains(name, "..") {
		return nil, fmt.Errorf("%w: s3:%.100q: want s3://BUCKET/PREFIX", ErrSource, text)
	}
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	at := h.cfg.S3URL
	if at == "" {
		at = s3URL
	}
	u, err := url.Parse(at)
	if err != nil {
		return nil, fmt.Errorf("hub: hub_s3_url: %w", err)
	}
	opt := &minio.Options{Creds: credentials.NewStatic("", "", "", credentials.SignatureAnonymous), Secure: u.Scheme == "https",
		Transport: h.http.Transport, Region: h.cfg.S3Region, MaxRetries: s3Retries}
	if h.cfg.S3Keys != "" {
		opt.Creds = credentials.NewFileAWSCredentials(h.cfg.S3Keys, "default")
	}
	if opt.Region == "" {
		opt.Region = s3Region
	}
	core, err := minio.NewCore(u.Host, opt)
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	return &bucket{*core, name, prefix}, nil
}

// String implements Source. A bucket has no revisions: each file is pinned by its ETag.
func (s *bucket) String() string { return "s3://" + s.bucket + "/" + strings.TrimSuffix(s.prefix, "/") }

// List implements Source.
func (s *bucket) List(ctx context.Context) (list []File, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the listing where it is given up
	seen := 0
	for o := range s.core.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix, Recursive: true}) {
		if seen++; o.Err != nil {
			return nil, s.failed(o.Err, "")
		}
		if seen > MaxFiles {
			return nil, &Lied{s.String(), "", fmt.Sprintf("has more than %d files", MaxFiles)}
		}
		name, inside := strings.CutPrefix(o.Key, s.prefix)
		if !inside {
			return nil, &Lied{s.String(), o.Key, "is not in the folder that was asked for"}
		}
		if name == "" || strings.HasSuffix(name, "/") {
			continue // a folder
		}
		f := File{Name: name, Size: o.Size, Tag: o.ETag}
		if mayMatter(name, 0) {
			if f, err = s.describe(ctx, f); err != nil {
				return nil, err
			}
		}
		list = append(list, f)
	}
	return list, ctx.Err()
}

// describe asks for the hash that the bucket may have of a whole file.
func (s *bucket) describe(ctx context.Context, f File) (File, error) {
	o, err := s.core.StatObject(ctx, s.bucket, s.prefix+f.Name, minio.StatObjectOptions{Checksum: true})
	if err != nil {
		return f, s.failed(err, f.Name)
	}
	if o.Size != f.Size || o.ETag != f.Tag {
		return f, &Lied{s.String(), f.Name, "changed while the bucket was listed"}
	}
	if b, err := base64.StdEncoding.DecodeString(o.ChecksumSHA256); err == nil && o.ChecksumMode != "COMPOSITE" {
		f.Sum, _ = parseSum("sha256", hex.EncodeToString(b)) // one of parts ("…-2") is no hash of the file
	}
	return f, nil
}

// Open implements Source: the object of the ETag that was listed, or none.
func (s *bucket) Open(ctx context.Context, f File, off int64) (io.ReadCloser, error) {
	opt := minio.GetObjectOptions{}
	if err := opt.SetMatchETag(f.Tag); err != nil {
		return nil, &Lied{s.String(), f.Name, fmt.Sprintf("has the ETag %.80q", f.Tag)}
	}
	if off > 0 {
		if err := opt.SetRange(off, 0); err != nil {
			return nil, fmt.Errorf("hub: %w", err)
		}
	}
	body, o, header, err := s.core.GetObject(ctx, s.bucket, s.prefix+f.Name, opt)
	if err != nil {
		return nil, s.failed(err, f.Name)
	}
	if header.Get("Content-Encoding") == "aws-chunked" {
		header.Del("Content-Encoding") // how it was uploaded once, which some servers keep
	}
	res := &http.Response{StatusCode: http.StatusOK, Header: header, Body: body, ContentLength: o.Size}
	if header.Get("Content-Range") != "" {
		res.StatusCode = http.StatusPartialContent
	}
	return ranged(res, s, f, off)
}

// failed turns an S3 error into one of this package.
func (s *bucket) failed(err error, file string) error {
	var r minio.ErrorResponse
	if !errors.As(err, &r) || r.StatusCode == 0 {
		return fmt.Errorf("hub: %q of %s: %w", file, s, err)
	}
	if r.StatusCode == http.StatusPreconditionFailed {
		return &Lied{s.String(), file, "changed since the bucket was listed"}
	}
	message := r.Code + ": " + r.Message
	return &Status{What: strings.TrimSpace(file + " of " + s.String()), Code: r.StatusCode, Message: message[:min(len(message), maxMessage)]}
}
