package admin

import (
	"bufio"
	"context"
	"fmt"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
	"github.com/skein-project/skein/cluster"
)

type backups struct{ *Handler }

var _ adminv1connect.BackupServiceHandler = backups{}

// backupPiece is how many bytes of a backup one message carries.
const backupPiece = 1 << 20

// begun is the newest backup that was asked for.
type begun struct {
	At    cluster.Millis `json:"at"`
	Blobs bool           `json:"blobs"`
}

// GetBackup implements skein.admin.v1.
func (h backups) GetBackup(ctx context.Context, r *connect.Request[adminv1.GetBackupRequest], out *connect.ServerStream[adminv1.GetBackupResponse]) error {
	// Written down before the first byte goes: who stops listening just before the end has everything all the same.
	if h.c.Live().Now().Cluster().Feature >= 2 {
		if err := h.put(ctx, cluster.Setting, "backup-begun", begun{At: h.now(), Blobs: !r.Msg.NoBlobs}); err != nil {
			return err
		}
	}
	w := bufio.NewWriterSize(backupPieces{out}, backupPiece)
	if err := h.c.Backup(ctx, h.asker(ctx), !r.Msg.NoBlobs, w); err != nil {
		return err
	}
	return w.Flush()
}

// backupPieces sends what is written to it.
type backupPieces struct {
	to *connect.ServerStream[adminv1.GetBackupResponse]
}

func (p backupPieces) Write(b []byte) (int, error) {
	if err := p.to.Send(&adminv1.GetBackupResponse{Piece: b}); err != nil {
		return 0, err
	}
	return len(b), nil
}

// ResumeKeys implements skein.admin.v1. It is one transaction: all of them, or none.
func (h backups) ResumeKeys(ctx context.Context, r *connect.Request[adminv1.ResumeKeysRequest]) (*connect.Response[adminv1.ResumeKeysResponse], error) {
	if len(r.Msg.Ids) == 0 || len(r.Msg.Ids) > cluster.MaxCommands {
		return nil, invalid("%d keys, 1 to %d are allowed", len(r.Msg.Ids), cluster.MaxCommands)
	}
	state := h.c.Live().Now()
	var do []cluster.Command
	for _, id := range r.Msg.Ids {
		k, err := h.key(state, id)
		if err != nil {
			return nil, err
		}
		if !k.Suspended || k.Revoked {
			return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("the key %s is not suspended", k.ID))
		}
		was := k.Rev
		k.Suspended = false
		do = append(do, cluster.PutKey{Key: k, Was: was})
	}
	return connect.NewResponse(&adminv1.ResumeKeysResponse{}), h.do(ctx, do...)
}
