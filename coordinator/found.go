package coordinator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// AdminKeyFile is the file in the data directory of the founding coordinator that holds the first admin key.
const AdminKeyFile = "admin.key"

// Found makes a new cluster in an empty directory: its id, its authority, its secrets, the first admin key, and this coordinator's own
// membership. Start writes it to the log; should the process end before that is done, the next Start does it.
func Found(dir, name string) error {
	if _, err := wire.LoadMembership(dir); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("found a cluster in %s: a member lives there already", dir)
	}
	m, err := newCluster(name)
	if err != nil {
		return err
	}
	m.Founding = true
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("found a cluster: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, AdminKeyFile), []byte(wire.NewKey()+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the admin key: %w", err)
	}
	return m.Save(dir)
}

// adminKey is what the cluster keeps of the first key.
func adminKey(secret string) cluster.Key {
	return cluster.Key{ID: wire.KeyID(secret), Name: "first admin key", Hash: wire.SecretHash(secret), Admin: true}
}

// found writes the first entries: the cluster, this coordinator, the first admin key. It is repeated until it succeeded once.
func (s *Server) found(ctx context.Context) error {
	text, err := os.ReadFile(filepath.Join(s.cfg.Dir, AdminKeyFile))
	if err != nil {
		return fmt.Errorf("read the admin key: %w", err)
	}
	txn := cluster.Txn{Do: []cluster.Command{
		cluster.Init{ID: s.cluster(), CACert: s.creds.CA().Raw, CAKey: s.member.CAKey, Feature: cluster.Feature},
		cluster.PutMember{Member: s.self()},
		cluster.PutKey{Key: adminKey(strings.TrimSpace(string(text)))},
	}}
	for {
		rejected, err := s.Propose(ctx, txn)
		// An earlier try may have got through without an answer.
		if err == nil && (rejected[0] == nil || s.live.Now().Cluster().ID == s.cluster()) {
			return s.keep(func(m *wire.Membership) { m.Founding = false })
		}
		if err == nil {
			return fmt.Errorf("found the cluster: %w", rejected[0])
		}
		if !s.wait(ctx, enlistEvery) {
			return err
		}
	}
}

func (s *Server) self() cluster.Member {
	return cluster.Member{ID: s.member.ID, Name: s.cfg.Name, Role: cluster.RoleCoordinator, Addr: s.cfg.Listen, API: s.cfg.API}
}
