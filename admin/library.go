package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/blob/disk"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/hub"
	"github.com/skein-project/skein/internal/egress"
	"github.com/skein-project/skein/library"
)

type libraries struct{ *Handler }

var _ adminv1connect.LibraryServiceHandler = libraries{}

// Library is what pulls and downloads need of a coordinator.
type Library interface {
	Pull(ctx context.Context, asker cluster.Asker, owner, source, name string, tell func(hub.Progress)) (id cluster.VersionID, pinned string, err error)
	Files(ctx context.Context, v cluster.Version) ([]library.File, error)
	BlobIndex(ctx context.Context, d blob.Digest) (blob.Index, error)
	ReadBlob(ctx context.Context, ref blob.Ref) ([]byte, error)
}

// Pull implements skein.admin.v1.
func (h libraries) Pull(ctx context.Context, r *connect.Request[adminv1.PullRequest], out *connect.ServerStream[adminv1.PullResponse]) error {
	id, source, err := h.c.Pull(ctx, h.asker(ctx), confined(ctx, modelsWrite), r.Msg.Source, r.Msg.Model, func(p hub.Progress) {
		_ = out.Send(&adminv1.PullResponse{Step: p.Step, File: p.File, Here: p.Here, Size: p.Size, Done: p.Done, All: p.All}) // the last word tells whether anybody listens
	})
	if err != nil {
		return foreign(err)
	}
	return out.Send(&adminv1.PullResponse{Step: "published", Version: id.String(), Source: source})
}

// foreign gives errors of other places their codes; the others are for explain.
func foreign(err error) error {
	var lied *hub.Lied
	var status *hub.Status
	var refused *egress.Refused
	var large *egress.TooLarge
	var call *url.Error
	switch {
	case errors.Is(err, hub.ErrSource), errors.Is(err, hub.ErrFolder):
		return connect.NewError(connect.CodeInvalidArgument, err)
	case errors.As(err, &refused), errors.Is(err, hub.ErrSecret), errors.As(err, &lied), errors.As(err, &large), errors.Is(err, disk.ErrSource):
		return connect.NewError(connect.CodeFailedPrecondition, err)
	case errors.As(err, &status) && status.Code == http.StatusNotFound:
		return connect.NewError(connect.CodeNotFound, err)
	case errors.As(err, &status) && status.Code < 500:
		return connect.NewError(connect.CodeFailedPrecondition, err)
	case errors.As(err, &status), errors.Is(err, egress.ErrStalled), errors.As(err, &call):
		return connect.NewError(connect.CodeUnavailable, err)
	case errors.Is(err, disk.ErrBusy):
		return connect.NewError(connect.CodeAborted, err)
	}
	return err
}

// files finds the files of a version that the caller may have.
func (h libraries) files(ctx context.Context, name string) (cluster.Version, []library.File, error) {
	s := h.c.Live().Now()
	v, err := ownVersion(ctx, s, name)
	if err != nil {
		return v, nil, err
	}
	files, err := h.c.Files(ctx, v)
	if errors.Is(err, library.ErrFolder) {
		err = connect.NewError(connect.CodeFailedPrecondition, err)
	}
	return v, files, err
}

// ListFiles implements skein.admin.v1.
func (h libraries) ListFiles(ctx context.Context, r *connect.Request[adminv1.ListFilesRequest]) (*connect.Response[adminv1.ListFilesResponse], error) {
	v, files, err := h.files(ctx, r.Msg.Model)
	if err != nil {
		return nil, err
	}
	res := &adminv1.ListFilesResponse{Version: v.VersionID.String(), Source: v.Source}
	for _, f := range files {
		res.Files = append(res.Files, &adminv1.FileView{Name: f.Name, Digest: f.Digest.String(), Size: f.Size})
	}
	return connect.NewResponse(res), nil
}

// Download implements skein.admin.v1.
func (h libraries) Download(ctx context.Context, r *connect.Request[adminv1.DownloadRequest], out *connect.ServerStream[adminv1.DownloadResponse]) error {
	v, files, err := h.files(ctx, r.Msg.Version)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.Name == r.Msg.File {
			if err := h.noteDownload(ctx, v.VersionID); err != nil {
				return err
			}
			return h.send(ctx, f, int(r.Msg.From), out)
		}
	}
	return connect.NewError(connect.CodeNotFound, fmt.Errorf("%s has no file %.128q", v.VersionID, r.Msg.File))
}

// send gives a file's hashes and its chunks.
func (h libraries) send(ctx context.Context, f library.File, from int, out *connect.ServerStream[adminv1.DownloadResponse]) error {
	x, err := h.c.BlobIndex(ctx, f.Digest)
	if err != nil {
		return err
	}
	if from < 0 || from > len(x.Chunks) {
		return invalid("chunk %d of %d", from, len(x.Chunks))
	}
	first := &adminv1.DownloadResponse{Size: x.Size}
	for _, c := range x.Chunks {
		first.Chunks = append(first.Chunks, c[:])
	}
	if err := out.Send(first); err != nil {
		return err
	}
	for i := from; i < len(x.Chunks); i++ {
		b, err := h.c.ReadBlob(ctx, blob.Ref{Digest: f.Digest, Off: int64(i) * blob.ChunkSize, Len: x.ChunkLen(i)})
		if err != nil {
			return err
		}
		if err := out.Send(&adminv1.DownloadResponse{Data: b}); err != nil {
			return err
		}
	}
	return nil
}
