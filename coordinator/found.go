package coordinator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// Founding is what the first coordinator needs to write the first entry; it is forgotten once the cluster is there.
type Founding struct {
	authority *wire.Authority
}

// ErrMember says that a member lives in the directory already.
var ErrMember = errors.New("coordinator: a member lives there already")

// Found makes a new cluster in an empty directory: its id, its authority, its secrets, and this coordinator's own membership. What is left
// of a founding that never came to its log (a port in use, say) is made anew. Errors: ErrMember.
func Found(dir, name string) (*Founding, error) {
	m, err := wire.LoadMembership(dir)
	_, noLog := os.Stat(filepath.Join(dir, raftDir))
	begun := err == nil && len(m.Coordinators) == 0 && errors.Is(noLog, os.ErrNotExist)
	if !errors.Is(err, os.ErrNotExist) && !begun {
		return nil, fmt.Errorf("found a cluster in %s: %w", dir, ErrMember)
	}
	id := string(wire.NewID())
	ca, err := wire.NewAuthority(id, time.Now())
	if err != nil {
		return nil, err
	}
	key, csr, err := wire.Request()
	if err != nil {
		return nil, err
	}
	who := wire.Identity{Cluster: id, Role: cluster.RoleCoordinator, ID: wire.NewID()}
	cert, err := ca.Sign(csr, who, time.Now())
	if err != nil {
		return nil, err
	}
	papers, err := wire.NewPapers(cert, key, ca.Cert)
	if err != nil {
		return nil, err
	}
	gossipKey := make([]byte, 32)
	rand.Read(gossipKey)
	m = wire.Membership{ID: who.ID, Role: who.Role, Name: name, Papers: papers, GossipKey: gossipKey, Secret: wire.NewSecret()}
	return &Founding{authority: ca}, m.Save(dir)
}

// AdminKeyFile is the file in the data directory of the founding coordinator that holds the first admin key.
const AdminKeyFile = "admin.key"

// CreateKey makes an API key. The secret is shown once and kept nowhere.
func (s *Server) CreateKey(ctx context.Context, name string, admin bool) (id, secret string, err error) {
	secret, key := newKey(name, admin, s.now())
	rejected, err := s.Propose(ctx, cluster.Txn{Do: []cluster.Command{cluster.PutKey{Key: key}}})
	if err == nil && rejected[0] != nil {
		err = rejected[0]
	}
	return key.ID, secret, err
}

// newKey makes an API key: the whole key, and what the cluster keeps of it.
func newKey(name string, admin bool, now cluster.Millis) (secret string, key cluster.Key) {
	var b [28]byte
	rand.Read(b[:])
	text := hex.EncodeToString(b[:])
	id := "sk-" + text[:8]
	secret = id + "-" + text[8:]
	return secret, cluster.Key{ID: id, Name: name, Hash: wire.SecretHash(secret), Admin: admin, Created: now}
}

// found writes the first entries: the cluster, this coordinator, the first admin key. It is repeated until it succeeded once.
func (s *Server) found(ctx context.Context, f *Founding) error {
	caKey, err := f.authority.Key()
	if err != nil {
		return err
	}
	sealed, err := wire.Seal(s.member.Secret, caKey)
	if err != nil {
		return err
	}
	secret, key := newKey("first admin key", true, s.now())
	if err := os.WriteFile(filepath.Join(s.cfg.Dir, AdminKeyFile), []byte(secret+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the admin key: %w", err)
	}
	for {
		rejected, err := s.Propose(ctx, cluster.Txn{Do: []cluster.Command{
			cluster.Init{ID: s.cluster(), CACert: f.authority.Cert.Raw, CAKey: sealed},
			cluster.PutMember{Member: s.self()},
			cluster.PutKey{Key: key},
		}})
		switch {
		case err == nil && rejected[0] != nil:
			return fmt.Errorf("found the cluster: %w", rejected[0])
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

func (s *Server) self() cluster.Member {
	return cluster.Member{ID: s.member.ID, Name: s.cfg.Name, Role: cluster.RoleCoordinator, Addr: s.cfg.Listen, API: s.cfg.API}
}
