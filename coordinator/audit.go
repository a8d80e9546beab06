package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skein-project/skein/audit"
	"github.com/skein-project/skein/audit/journal"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

const (
	auditEvery = 5 * time.Second // that missing records are looked for
	maxFill    = 64 << 20        // bytes of records that are fetched for one gap at a time
)

// AuditHead is the end of the chain of audit records, vouched for by the cluster's authority.
func (s *Server) AuditHead() (audit.Signed, []byte, error) {
	ca, err := s.authority()
	if err != nil {
		return audit.Signed{}, nil, err
	}
	signed, err := audit.Sign(s.live.Now().Audit(), int64(s.now()), ca.Signer())
	return signed, ca.Cert.Raw, err
}

// headEvery is how often a head is signed for the nodes.
const headEvery = time.Minute

// recentHead is a signed head of the last minute or so for the nodes to keep; nil if there is nothing to sign.
func (s *Server) recentHead() *audit.Signed {
	old := s.recent.Load()
	if head := s.live.Now().Audit(); head.Seq == 0 || old != nil && (old.Head == head || s.now()-cluster.Millis(old.At) < cluster.Millis(headEvery.Milliseconds())) {
		return old
	}
	signed, _, err := s.AuditHead()
	if err != nil {
		s.log.Warn("the audit log's head is not signed", "err", err)
		return old
	}
	s.recent.Store(&signed)
	return &signed
}

// AuditLines gives the audit records from one on, in pieces of whole lines. Records that are missing here are fetched first.
func (s *Server) AuditLines(ctx context.Context, from uint64, take func(lines []byte) error) error {
	if err := s.closeGaps(ctx); err != nil {
		return err
	}
	return s.machine.audit.Read(from, take)
}

// auditLines answers wire.AuditLines.
func (s *Server) auditLines(_ context.Context, r *wire.AuditRequest, send func(*wire.AuditPiece) error) error {
	err := s.machine.audit.Read(r.From, func(lines []byte) error {
		whole, last := upTo(lines, r.Until)
		if err := send(&wire.AuditPiece{Lines: whole}); err != nil {
			return err
		}
		if last {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

var errEnough = errors.New("coordinator: that was all")

// upTo cuts lines after a record; last says that it was there.
func upTo(lines []byte, until uint64) (whole []byte, last bool) {
	size := 0
	for line := range bytes.Lines(lines) {
		l, err := audit.ParseLine(bytes.TrimSuffix(line, []byte{'\n'}))
		if err != nil || l.Record.Seq > until {
			return lines[:size], true
		}
		size += len(line)
		if l.Record.Seq == until {
			return lines[:size], true
		}
	}
	return lines, false
}

// fillAudit fetches what this coordinator missed while it was away.
func (s *Server) fillAudit(ctx context.Context) {
	for s.wait(ctx, auditEvery) {
		if err := s.closeGaps(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("audit records are missing here", "err", err)
		}
	}
}

// closeGaps asks the other coordinators for the records that are missing here.
func (s *Server) closeGaps(ctx context.Context) error {
	head := s.live.Now().Audit()
	for _, gap := range s.machine.audit.Gaps(head) {
		errs := []error{fmt.Errorf("coordinator: nobody has audit records %d to %d", gap.Before.Seq+1, gap.Until)}
		for _, addr := range s.otherAddrs() {
			err := s.closeGap(ctx, gap, head, addr)
			if err == nil {
				errs = nil
				break
			}
			errs = append(errs, err)
		}
		if len(errs) > 0 {
			return errors.Join(errs...)
		}
	}
	return nil
}

func (s *Server) closeGap(ctx context.Context, gap journal.Gap, head audit.Head, addr string) error {
	var lines bytes.Buffer
	req := &wire.AuditRequest{From: gap.Before.Seq + 1, Until: gap.Until}
	err := wire.Read(ctx, s.dialer, cluster.RoleCoordinator, addr, wire.AuditLines, req, func(p *wire.AuditPiece) error {
		if lines.Len()+len(p.Lines) > maxFill {
			return fmt.Errorf("%w: more than %d bytes", journal.ErrForged, maxFill)
		}
		lines.Write(p.Lines)
		return nil
	})
	if err != nil {
		return err
	}
	return s.machine.audit.Fill(gap, lines.Bytes(), head)
}
