package gateway

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"

	"github.com/skein-project/skein/cluster"
)

// sessionHeader names a client's session in any protocol: while a canary runs, all requests of a session are answered by one version.
const sessionHeader = "Skein-Session"

// maxTalk bounds what a session is told from others by, in bytes; what is beyond is not looked at.
const maxTalk = 4096

// sessionOf is the session that a request names; "" = none.
func sessionOf(h http.Header) string {
	s := h.Get(sessionHeader)
	return s[:min(len(s), maxTalk)]
}

// opening is what tells one conversation from another where the client names no session: everything up to the first turn of its user,
// which later turns repeat. The system's words alone would not do: an application says the same to all of its users.
func opening(messages []Message) string {
	var head string
	for _, m := range messages {
		head += m.Role + "\x00" + m.Content + "\x00"
		if m.Role == "user" || len(head) > maxTalk {
			break
		}
	}
	return head[:min(len(head), maxTalk)]
}

// draw is the number by which a version is chosen. It is the same at every gateway for all requests of a key's session, so that no client hops
// between two versions within a conversation. A request that belongs to none draws by chance: there is nothing that it could hop out of.
func draw(who cluster.Principal, talk string) uint64 {
	if talk == "" {
		return rand.Uint64()
	}
	h := fnv.New64a()
	var size [4]byte
	for _, part := range []string{who.Tenant, who.App, who.Key, talk} {
		binary.BigEndian.PutUint32(size[:], uint32(len(part)))
		_, _ = h.Write(size[:]) // a hash takes everything
		_, _ = h.Write([]byte(part))
	}
	return h.Sum64()
}

// chosen is what answers a request.
type chosen struct {
	version cluster.Version
	shadow  *cluster.VersionID // gets a copy; nil = no copy
	model   cluster.Model      // what is written about the version's model
}

// choose finds what answers a request for a name, once and for all of it. What whoever asks may not call is not there: the same work is
// done, and the same said. talk tells the request's conversation from others where its session has no name; "" = it is in none.
func (s *Server) choose(ctx context.Context, name, talk string) (chosen, error) {
	c, state := callOf(ctx), s.live.Now()
	table, _ := s.table()
	who := c.principal()
	id, shadow, _ := table.Choose(name, who.Tenant, draw(who, cmp.Or(c.sessionName(), talk)))
	v, err := s.callable(ctx, name, id)
	return chosen{v, shadow, state.Model(id.Model)}, err
}

// callable finds a version that a name means, if whoever asks may call that name.
func (s *Server) callable(ctx context.Context, name string, id cluster.VersionID) (cluster.Version, error) {
	state := s.live.Now()
	v, there := state.Version(id) // no version has the zero id
	if may := state.MayCall(callOf(ctx).principal(), name); !may || !there {
		return v, &Error{Fault: FaultModel, Param: "model", Why: fmt.Sprintf("the model %.128q does not exist", name)}
	}
	return v, nil
}
