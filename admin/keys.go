package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/access"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

const (
	maxKeyLife = 10 * 365 * 24 * time.Hour
	maxOverlap = 30 * 24 * time.Hour // that a rotated key still works
)

// CreateKey implements skein.admin.v1.
func (h clusters) CreateKey(ctx context.Context, r *connect.Request[adminv1.CreateKeyRequest]) (*connect.Response[adminv1.CreateKeyResponse], error) {
	k := cluster.Key{Name: r.Msg.Name, Admin: r.Msg.Admin, Tenant: r.Msg.Tenant, App: r.Msg.Application, Models: r.Msg.Models}
	for _, role := range r.Msg.Roles {
		k.Roles = append(k.Roles, access.Role(role))
	}
	if life := time.Duration(r.Msg.TtlSeconds) * time.Second; r.Msg.TtlSeconds != 0 {
		if r.Msg.TtlSeconds < 0 || life <= 0 || life > maxKeyLife {
			return nil, invalid("a life of %d seconds, 1 to %.0f are allowed", r.Msg.TtlSeconds, maxKeyLife.Seconds())
		}
		k.Expires = h.now() + cluster.Millis(life.Milliseconds())
	}
	id, secret, err := h.createKey(ctx, k)
	return connect.NewResponse(&adminv1.CreateKeyResponse{Id: id, Key: secret}), err
}

// createKey gives a key its secret, which is shown once and kept nowhere.
func (h *Handler) createKey(ctx context.Context, k cluster.Key, more ...cluster.Command) (id, secret string, err error) {
	secret = wire.NewKey()
	k.ID, k.Hash = wire.KeyID(secret), wire.SecretHash(secret)
	return k.ID, secret, h.do(ctx, append(more, cluster.PutKey{Key: k})...)
}

// now is the time that expiry is measured against: the clock, unless the log is ahead of it.
func (h *Handler) now() cluster.Millis {
	return max(cluster.Millis(time.Now().UnixMilli()), h.c.Live().Now().At())
}

// ListKeys implements skein.admin.v1.
func (h clusters) ListKeys(context.Context, *connect.Request[adminv1.ListKeysRequest]) (*connect.Response[adminv1.ListKeysResponse], error) {
	res := &adminv1.ListKeysResponse{}
	for k := range h.c.Live().Now().Keys() {
		v := &adminv1.KeyView{Id: k.ID, Name: k.Name, Admin: k.IsAdmin(), Revoked: k.Revoked, Suspended: k.Suspended, CreatedMs: int64(k.Created), Tenant: k.Owner(), Application: k.App,
			Models: k.Models, ExpiresMs: int64(k.Expires), Replaces: k.Replaces}
		for _, role := range k.RoleSet() {
			v.Roles = append(v.Roles, string(role))
		}
		res.Keys = append(res.Keys, v)
	}
	return connect.NewResponse(res), nil
}

// RevokeKey implements skein.admin.v1.
func (h clusters) RevokeKey(ctx context.Context, r *connect.Request[adminv1.RevokeKeyRequest]) (*connect.Response[adminv1.RevokeKeyResponse], error) {
	err := h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		k, err := h.key(s, r.Msg.Id)
		if err != nil {
			return nil, err
		}
		was := k.Rev
		k.Revoked = true
		return cluster.PutKey{Key: k, Was: was}, nil
	})
	return connect.NewResponse(&adminv1.RevokeKeyResponse{}), err
}

func (h *Handler) key(s cluster.State, id string) (cluster.Key, error) {
	k, ok := s.Key(id)
	if !ok {
		return k, connect.NewError(connect.CodeNotFound, fmt.Errorf("the key %.80q does not exist", id))
	}
	return k, nil
}

// RotateKey implements skein.admin.v1. Both changes are one transaction: there is never a moment without a key.
func (h clusters) RotateKey(ctx context.Context, r *connect.Request[adminv1.RotateKeyRequest]) (*connect.Response[adminv1.RotateKeyResponse], error) {
	overlap := time.Duration(r.Msg.OverlapSeconds) * time.Second
	if r.Msg.OverlapSeconds < 0 || overlap < 0 || overlap > maxOverlap {
		return nil, invalid("an overlap of %d seconds, 0 to %.0f are allowed", r.Msg.OverlapSeconds, maxOverlap.Seconds())
	}
	old, err := h.key(h.c.Live().Now(), r.Msg.Id)
	if err != nil {
		return nil, err
	}
	if old.Revoked || old.Expires != 0 && old.Expires <= h.now() {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("the key is revoked or has expired: make a new one"))
	}
	if old.Suspended {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("the key is suspended: resume it, or make a new one"))
	}
	next := old
	next.Rev, next.Replaces = 0, old.ID
	end, was := h.now()+cluster.Millis(overlap.Milliseconds()), old.Rev
	if old.Revoked = overlap == 0; overlap > 0 && (old.Expires == 0 || old.Expires > end) {
		old.Expires = end
	}
	id, secret, err := h.createKey(ctx, next, cluster.PutKey{Key: old, Was: was})
	return connect.NewResponse(&adminv1.RotateKeyResponse{Id: id, Key: secret}), err
}
