package coordinator

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/job"
	"github.com/skein-project/skein/library"
	"github.com/skein-project/skein/wire"
)

const retireEvery = 5 * time.Second // that files and batches whose time is over are looked for

// deposit answers wire.Deposit.
func (s *Server) deposit(ctx context.Context, r *wire.DepositRequest) (*wire.DepositResponse, error) {
	d, err := s.Deposit(ctx, r.Data)
	return &wire.DepositResponse{Digest: d}, err
}

// Deposit keeps the bytes of a small blob here. Unless a document soon names it, it goes again.
func (s *Server) Deposit(_ context.Context, data []byte) (blob.Digest, error) {
	if len(data) > blob.ChunkSize {
		return blob.Digest{}, &wire.Refused{Code: connect.CodeInvalidArgument, Why: fmt.Sprintf("%d bytes, at most %d", len(data), blob.ChunkSize)}
	}
	d, err := s.blobs.Put(data)
	if err == nil {
		err = s.blobs.Touch(d)
	}
	if isFull(err) {
		return d, &wire.Refused{Code: connect.CodeResourceExhausted, Why: err.Error()}
	}
	return d, err
}

// Commit answers wire.Commit. It changes documents of files and batches, once the blobs that they name anew are on two coordinators.
func (s *Server) Commit(ctx context.Context, r *wire.CommitRequest) (*wire.CommitResponse, error) {
	txn, err := transaction(r)
	if err != nil {
		return nil, err
	}
	if s.live.Now().Cluster().Feature < 3 {
		return nil, &wire.Refused{Code: connect.CodeFailedPrecondition, Why: "files and batches need feature level 3: upgrade all coordinators first"}
	}
	if len(r.Blobs) > 0 {
		s.pins.hold(r.Blobs...)
		defer s.pins.release(r.Blobs...)
		for _, d := range r.Blobs {
			if st, err := s.blobs.Stat(d); err == nil && st.Complete {
				if err := s.blobs.Touch(d); err != nil {
					return nil, err
				}
			} else if err := s.bring(ctx, s.otherAddrs(), d); err != nil {
				return nil, &wire.Refused{Code: connect.CodeUnavailable, Why: err.Error()}
			}
		}
		if _, err := s.replicate(ctx, r.Blobs); err != nil {
			return nil, err
		}
	}
	rejected, err := s.Propose(ctx, txn)
	if err != nil {
		return nil, &wire.Refused{Code: connect.CodeUnavailable, Why: err.Error()}
	}
	res := &wire.CommitResponse{Index: s.live.Now().Index(), Rejected: rejected[0]}
	if r.Secret != "" && (res.Rejected == nil || res.Rejected.Reason == cluster.ReasonExists) { // it may have been committed before
		res.Secret = string(s.callbackSecret(r.Secret))
	}
	return res, nil
}

// transaction reads what a gateway wants to change: nothing but files and batches.
func transaction(r *wire.CommitRequest) (t cluster.Txn, err error) {
	refuse := func(why string) error { return &wire.Refused{Code: connect.CodeInvalidArgument, Why: why} }
	if n := len(r.Put) + len(r.Delete); n == 0 || n > cluster.MaxCommands || len(r.Blobs) > wire.MaxCommit {
		return t, refuse(fmt.Sprintf("%d documents and %d blobs", n, len(r.Blobs)))
	}
	work := func(k cluster.Kind) bool { return k == cluster.File || k == cluster.Batch }
	for _, c := range r.Put {
		if !work(c.Document.Kind) {
			return t, refuse(fmt.Sprintf("a gateway does not change documents of kind %.40q", c.Document.Kind))
		}
		switch c.Document.Kind {
		case cluster.File:
			_, err = job.DecodeFile(c.Document)
		default:
			_, err = job.DecodeBatch(c.Document)
		}
		if err != nil {
			return t, refuse(err.Error())
		}
		t.Do = append(t.Do, c)
	}
	for _, c := range r.Delete {
		if !work(c.ID.Kind) {
			return t, refuse(fmt.Sprintf("a gateway does not delete documents of kind %.40q", c.ID.Kind))
		}
		t.Do = append(t.Do, c)
	}
	return t, nil
}

// callbackSecret is what callbacks of a batch are signed with: it follows from the cluster's secret, so it is kept nowhere.
func (s *Server) callbackSecret(id string) []byte {
	h := hmac.New(sha256.New, s.member.Secret)
	h.Write([]byte("callback of batch " + id))
	return []byte("whsec_" + hex.EncodeToString(h.Sum(nil)))
}

// retire deletes files and batches whose time is over. It runs on all coordinators; only the leader decides.
func (s *Server) retire(ctx context.Context) {
	s.every(ctx, retireEvery, func(ctx context.Context) {
		if !s.store.IsLeader() {
			return
		}
		for _, c := range job.Outdated(s.live.Now(), s.now()) {
			rejected, err := s.Propose(ctx, cluster.Txn{Do: []cluster.Command{c}})
			switch {
			case err != nil:
				s.log.Warn("what is out of date is not deleted", "document", c.ID, "err", err)
				return
			case rejected[0] == nil:
				s.log.Info("deleted what is out of date", "document", c.ID)
			}
		}
	})
}

// spreadFiles keeps what files and batches consist of on two coordinators. It runs on all of them; only the leader asks and decides.
func (s *Server) spreadFiles(ctx context.Context) {
	s.every(ctx, min(spreadEvery, or(s.cfg.Absent, defaultAbsent)/4), func(ctx context.Context) {
		if !s.store.IsLeader() {
			return
		}
		var all []blob.Digest
		job.Blobs(s.live.Now(), func(d blob.Digest) { all = append(all, d) })
		if len(all) == 0 {
			return
		}
		all = unique(all)
		var members []cluster.NodeID
		lacks := map[cluster.NodeID]map[blob.Digest]bool{}
		for _, m := range s.coordinators() {
			members = append(members, m.ID)
			if gone, err := s.lackedBy(ctx, m, all); err == nil {
				lacks[m.ID] = gone
			}
		}
		for _, c := range library.Spread(all, members, lacks) {
			if err := s.copyTo(ctx, c); err != nil {
				s.log.Warn("files are held by too few", "to", c.To, "blobs", len(c.Blobs), "err", err)
			}
		}
	})
}
