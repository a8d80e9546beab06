package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// joinWithin bounds how long a program tries to join before it gives up.
const joinWithin = time.Minute

// Joining is how a program becomes a member the first time.
type Joining struct {
	Join  string `yaml:"join" help:"host:port of a coordinator's internal listener, to join it the first time"`
	Token string `yaml:"token" help:"one-time join token; \"skein join\" makes one" secret:"true"`
}

// Joined says whether a member of a role lives in a directory. Another role's member is an error.
func Joined(dir string, role cluster.Role) (bool, error) {
	m, err := wire.LoadMembership(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case m.Role != role:
		return false, fmt.Errorf("%s belongs to a %s, not to a %s: name another --dir", dir, m.Role, role)
	}
	return true, nil
}

// Ensure makes sure that a member of the role lives in dir: it joins if none does. Only a coordinator that cannot be reached, or that knows
// no leader, is asked again: what else it answers is final.
func (j Joining) Ensure(ctx context.Context, dir, name string, role cluster.Role) error {
	if there, err := Joined(dir, role); there || err != nil {
		return err
	}
	if j.Join == "" || j.Token == "" {
		return fmt.Errorf("no member lives in %s: name a coordinator with --join and a token with --token (\"skein join --role %s\" prints both)", dir, role)
	}
	token, err := wire.ParseToken(j.Token)
	if err != nil {
		return err
	}
	if token.Role != role {
		return fmt.Errorf("the token admits a %s, this is a %s", token.Role, role)
	}
	ctx, cancel := context.WithTimeout(ctx, joinWithin)
	defer cancel()
	id := wire.NewID() // the same in every try, so that the refusal of a token that was spent by a lost answer names this member
	for {
		m, err := wire.JoinCluster(ctx, j.Join, token, id, name)
		if err == nil {
			return m.Save(dir)
		}
		var refused *wire.Refused
		if errors.As(err, &refused) && refused.Code != connect.CodeUnavailable || errors.Is(err, wire.ErrIdentity) {
			return err
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// HostName is a name for people: the given one, or that of the machine.
func HostName(name string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unnamed"
	}
	return cmp.Or(name, host)
}
