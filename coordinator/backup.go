package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/skein-project/skein/audit"
	"github.com/skein-project/skein/backup"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/job"
	"github.com/skein-project/skein/wire"
)

// Backup writes all that the cluster knows, as package backup reads it and unsealed: the state as it is now, the audit log that led
// there, and, if blobs is set, the blobs of every version, of files that have not expired, and of what came out of batches so far. A version or
// a file whose blobs nobody has goes without them. That it was made is noted in the state, and who asked for it.
//
// Neither the cluster's secret nor anything sealed with it that could be opened is in a backup: a restored cluster has an authority of
// its own (see Restore), so whoever gets hold of a backup and its passphrase still cannot certify members of this one.
func (s *Server) Backup(ctx context.Context, asker cluster.Asker, blobs bool, to io.Writer) error {
	state, begun := s.live.Now(), s.now()
	if state.Cluster().ID == "" {
		return errors.New("coordinator: the cluster's state is not here yet")
	}
	w, err := backup.NewWriter(to, backup.Header{Created: int64(begun), Software: s.cfg.Software, Blobs: blobs}, state)
	if err != nil {
		return err
	}
	if err := s.backUpRecords(ctx, w, state.Audit()); err != nil {
		return err
	}
	if blobs {
		done := map[blob.Digest]bool{}
		if err := s.backUpBlobs(ctx, w, state, done); err != nil {
			return err
		}
		if err := s.backUpFiles(ctx, w, state, done); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return s.noteBackup(ctx, asker, backup.Note{At: begun, Index: state.Index(), Blobs: blobs})
}

// backUpRecords writes the audit log up to a head.
func (s *Server) backUpRecords(ctx context.Context, w *backup.Writer, head audit.Head) error {
	if head.Seq == 0 {
		return nil
	}
	err := s.AuditLines(ctx, 1, func(lines []byte) error {
		whole, last := upTo(lines, head.Seq)
		if err := w.Audit(whole); err != nil {
			return err
		}
		if last {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return err
}

// backUpBlobs writes every blob that versions name, once.
func (s *Server) backUpBlobs(ctx context.Context, w *backup.Writer, state cluster.State, done map[blob.Digest]bool) error {
	for v := range state.Versions() {
		all, err := s.versionBlobs(ctx, v)
		if err != nil {
			err = fmt.Errorf("%w: %w", errLacking, err)
		} else {
			s.pins.hold(all...) // also of a version that is deleted meanwhile
			err = s.backUpVersion(ctx, w, v.VersionID, all, done)
			s.pins.release(all...)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errLacking): // one that is lost must not keep the others from being backed up
			s.log.Warn("a version goes into the backup without its blobs", "version", v.VersionID, "err", err)
		case err != nil:
			return fmt.Errorf("back up %s: %w", v.VersionID, err)
		}
	}
	return nil
}

// errLacking says that a blob is nowhere.
var errLacking = errors.New("coordinator: nobody has a blob of it")

// backUpFiles writes every blob that files and batches consist of, once. What was deleted meanwhile, and what nobody has, is left out.
func (s *Server) backUpFiles(ctx context.Context, w *backup.Writer, state cluster.State, done map[blob.Digest]bool) error {
	for id, parts := range job.Kept(state, s.now()) {
		all := make([]blob.Digest, len(parts))
		for i, p := range parts {
			all[i] = p.Digest
		}
		s.pins.hold(all...) // also of a file that is deleted meanwhile
		err := s.backUpAll(ctx, w, all, done)
		s.pins.release(all...)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errLacking):
			s.log.Warn("a file goes into the backup without what is in it", "document", id, "err", err)
		case err != nil:
			return fmt.Errorf("back up %s: %w", id, err)
		}
	}
	return nil
}

func (s *Server) backUpVersion(ctx context.Context, w *backup.Writer, id cluster.VersionID, all []blob.Digest, done map[blob.Digest]bool) error {
	if err := s.backUpAll(ctx, w, all, done); err != nil {
		return err
	}
	return w.Version(id)
}

// backUpAll writes those blobs of a list that are not done.
func (s *Server) backUpAll(ctx context.Context, w *backup.Writer, all []blob.Digest, done map[blob.Digest]bool) error {
	indexes := make([]blob.Index, len(all))
	for i, d := range all {
		if done[d] {
			continue
		}
		var err error
		if indexes[i], err = s.BlobIndex(ctx, d); err != nil {
			return fmt.Errorf("%w: %s: %w", errLacking, d.Short(), err)
		}
	}
	for i, d := range all {
		if done[d] {
			continue
		}
		if err := w.Blob(indexes[i]); err != nil {
			return err
		}
		for n := range indexes[i].Chunks {
			chunk, err := s.chunk(ctx, indexes[i], n)
			if err == nil {
				err = w.Chunk(chunk)
			}
			if err != nil { // in the midst of a blob: there is no going on
				return fmt.Errorf("chunk %d of %s: %w", n, d.Short(), err)
			}
		}
		done[d] = true
	}
	return nil
}

// chunk reads a chunk of a blob, wherever it is, and keeps nothing of it.
func (s *Server) chunk(ctx context.Context, x blob.Index, i int) ([]byte, error) {
	b, err := s.blobs.ReadChunk(x.Digest(), i)
	if err == nil {
		return b, nil
	}
	for _, addr := range s.otherAddrs() {
		b, failed := wire.FetchChunk(ctx, s.dialer, addr, x, i)
		if failed == nil {
			return b, nil
		}
		err = errors.Join(err, failed)
	}
	if s.bucket == nil {
		return nil, err
	}
	b, failed := s.bucket.ReadChunk(ctx, x, i)
	if failed != nil {
		return nil, errors.Join(err, failed)
	}
	return b, nil
}

// noteBackup writes down that there is a backup.
func (s *Server) noteBackup(ctx context.Context, asker cluster.Asker, b backup.Note) error {
	body, err := json.Marshal(b)
	if err != nil {
		return err
	}
	for {
		state := s.live.Now()
		if state.Cluster().Feature < 2 {
			return nil
		}
		was, _ := state.Document(backup.NoteID)
		rejected, err := s.Propose(ctx, cluster.Txn{Asker: asker, Do: []cluster.Command{
			cluster.PutDocument{Document: cluster.Document{DocumentID: backup.NoteID, Body: body}, Was: was.Rev}}})
		if err != nil {
			return err
		}
		if rejected[0] == nil {
			return nil
		}
		if rejected[0].Reason != cluster.ReasonStale && rejected[0].Reason != cluster.ReasonExists {
			return rejected[0]
		}
		if !s.wait(ctx, 10*time.Millisecond) {
			return ctx.Err()
		}
	}
}
