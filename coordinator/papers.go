package coordinator

import (
	"context"
	"fmt"
	"time"

	"github.com/skein-project/skein/wire"
)

// sealedKey is the authority's key as the cluster keeps it; this coordinator's own copy serves before the state is here.
func (s *Server) sealedKey() []byte {
	if key := s.live.Now().Cluster().CAKey; len(key) > 0 {
		return key
	}
	return s.member.CAKey
}

// authority opens the cluster's authority.
func (s *Server) authority() (*wire.Authority, error) {
	key, err := wire.Open(s.member.Secret, s.sealedKey())
	if err != nil {
		return nil, fmt.Errorf("open the authority's key: %w", err)
	}
	return wire.OpenAuthority(s.creds.CA().Raw, key)
}

// renewRetry is the pause after a certificate could not be replaced.
const renewRetry = time.Minute

// renewPapers replaces the certificate at half its life.
func (s *Server) renewPapers(ctx context.Context) {
	for s.wait(ctx, max(time.Until(s.creds.RenewAt()), renewRetry)) {
		if err := s.certifyItself(); err != nil {
			s.log.Warn("certificate not renewed", "err", err)
		}
	}
}

// certifyItself replaces this coordinator's certificate. It asks nobody, so that coordinators that were all off for longer than a
// certificate lives find together again.
func (s *Server) certifyItself() error {
	ca, err := s.authority()
	if err != nil {
		return err
	}
	key, csr, err := wire.Request()
	if err != nil {
		return err
	}
	cert, err := ca.Sign(csr, s.creds.Identity(), time.Now())
	if err != nil {
		return err
	}
	papers, err := wire.NewPapers(cert, key, ca.Cert)
	if err != nil {
		return err
	}
	if err := s.creds.Replace(papers); err != nil {
		return err
	}
	sealed := s.sealedKey()
	return s.keep(func(m *wire.Membership) { m.Papers, m.CAKey = papers, sealed })
}

// keep changes what this member keeps on its disk.
func (s *Server) keep(change func(*wire.Membership)) error {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	change(&s.kept)
	return s.kept.Save(s.cfg.Dir)
}
