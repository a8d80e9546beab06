package gateway

import (
	"cmp"
	"context"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"

	"connectrpc.com/connect"

	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/cluster"
)

// entrance is a gateway as a client may call it.
type entrance struct {
	member  cluster.Member
	address string // host:port
	near    bool   // on a machine that the head of a replica is on
	rank    uint64 // differs from caller to caller, so that clients spread
}

// Route implements skein.inference.v1.
func (i inference) Route(ctx context.Context, r *connect.Request[inferencev1.RouteRequest]) (*connect.Response[inferencev1.RouteResponse], error) {
	table, _ := i.s.table()
	target, _ := table.Target(r.Msg.Model)
	if _, err := i.s.callable(ctx, r.Msg.Model, target); err != nil {
		return nil, err
	}
	routes := table.Routes(target)
	var heads []string
	for _, route := range routes {
		heads = append(heads, hostOf(route.Head()))
	}
	res := &inferencev1.RouteResponse{ModelVersion: target.String(), Ready: int32(len(routes))}
	for _, e := range entrances(i.s.live.Now(), heads, callOf(ctx).principal().String()) {
		res.Gateways = append(res.Gateways, &inferencev1.Gateway{Name: e.member.Name, Address: e.address, Near: e.near})
	}
	return connect.NewResponse(res), nil
}

// entrances lists the members that answer clients: those on the machines of heads first, then by a hash of who asks and the member (rendezvous
// hashing; Thaler and Ravishankar, IEEE/ACM ToN 6(1), 1998). Load is not in it: gateways do not tell each other theirs.
func entrances(s cluster.State, heads []string, who string) (out []entrance) {
	for m := range s.Members() {
		address := reachable(m)
		if address == "" {
			continue
		}
		h := fnv.New64a()
		h.Write([]byte(who + "\x00" + string(m.ID)))
		out = append(out, entrance{member: m, address: address, near: slices.Contains(heads, hostOf(address)), rank: h.Sum64()})
	}
	slices.SortFunc(out, func(a, b entrance) int {
		if a.near != b.near {
			if a.near {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.member.ID, b.member.ID))
	})
	return out
}

// reachable is where others reach the client API of a member: one that listens on every address is reached where its peers reach it. "" = nowhere.
func reachable(m cluster.Member) string {
	host, port, err := net.SplitHostPort(m.API)
	if err != nil {
		return ""
	}
	if open(host) {
		if host = hostOf(m.Addr); open(host) {
			return ""
		}
	}
	return net.JoinHostPort(host, port)
}

// open says that a host is every address of a machine.
func open(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "" || err == nil && a.IsUnspecified()
}

func hostOf(address string) string {
	host, _, _ := net.SplitHostPort(address) // "" where there is none
	return host
}
