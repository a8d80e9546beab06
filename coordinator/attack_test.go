package coordinator_test

import (
	"bytes"
	"compress/lzw"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/hashicorp/raft"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/wire"
)

// Kinds of memberlist's messages (its net.go).
const (
	suspectMsg  = 3
	aliveMsg    = 4
	deadMsg     = 5
	compressMsg = 9
	labelMsg    = 244
)

// message is one of memberlist's: its kind, and a map in MessagePack of fields and values in turn.
func message(kind byte, fields ...any) []byte {
	b := []byte{kind, 0x80 | byte(len(fields)/2)}
	for i, f := range fields {
		switch f := f.(type) {
		case string:
			if i%2 == 0 || len(f) < 32 {
				b = append(append(b, 0xa0|byte(len(f))), f...)
			} else {
				b = append(binary.BigEndian.AppendUint16(append(b, 0xda), uint16(len(f))), f...)
			}
		case []byte:
			b = append(binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(len(f))), f...)
		case int:
			b = binary.BigEndian.AppendUint32(append(b, 0xce), uint32(f))
		}
	}
	return b
}

// packet encrypts a message as memberlist does (its security.go, version 1), with the label in clear before it.
func packet(t *testing.T, label string, key, message []byte) []byte {
	t.Helper()
	header := append([]byte{labelMsg, byte(len(label))}, label...)
	if key == nil {
		return append(header, message...)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, gcm.NonceSize())
	rand.Read(nonce)
	return append(append(header, 1), gcm.Seal(nonce, nonce, message, []byte(label))...)
}

// Whoever holds the key of the gossip can say of everybody that he is dead, alive, elsewhere or new; whoever does not, can say nothing. The
// leader looks where something is said, and moves nothing (attack case 4).
func TestForgedGossip(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 1, "")
	c := f.Leader()
	said, unsaid := f.Machine("said", 8*gpu.GiB), f.Machine("unsaid", 8*gpu.GiB)
	f.Publish("calc", 2)
	rogue := f.Enrol(cluster.RoleNode, "rogue")
	label := c.Live().Now().Cluster().ID
	to, err := net.Dial("udp", c.Config.Gossip)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	var all [][]byte
	send := func(label string, key, message []byte) {
		all = append(all, packet(t, label, key, message))
		if _, err := to.Write(all[len(all)-1]); err != nil {
			t.Fatal(err)
		}
	}
	alive := func(id cluster.NodeID, incarnation int, meta string) []byte {
		return message(aliveMsg, "Incarnation", incarnation, "Node", string(id), "Addr", []byte{127, 0, 0, 9}, "Port", 7946, "Meta", []byte(meta), "Vsn", []byte{1, 5, 2, 0, 0, 0})
	}
	gone := func(kind byte, id cluster.NodeID, incarnation int) []byte {
		return message(kind, "Incarnation", incarnation, "Node", string(id), "From", string(rogue.ID))
	}
	type placed struct {
		nodes    []cluster.Node
		replicas []cluster.Replica
		assigned [][]cluster.Assignment
	}
	places := func() (p placed) {
		s := c.Live().Now()
		p.nodes, p.replicas = slices.Collect(s.Nodes()), slices.Collect(s.Replicas())
		p.assigned = [][]cluster.Assignment{said.Desired().Assignments, unsaid.Desired().Assignments}
		return p
	}
	node := `{"r":"node","a":"127.0.0.9:7000","n":"x"}`
	before := places()
	if len(before.replicas) != 2 {
		t.Fatalf("%d replicas", len(before.replicas))
	}

	// Without the key, or under another label, or replayed: nothing is heard.
	wrong := bytes.Repeat([]byte{9}, len(rogue.GossipKey))
	for i, p := range []struct {
		label string
		key   []byte
	}{{label, nil}, {label, wrong}, {"other", rogue.GossipKey}, {"", rogue.GossipKey}} {
		send(p.label, p.key, alive(unsaid.ID, 10*i+1, node))
		send(p.label, p.key, gone(deadMsg, unsaid.ID, 10*i+2))
	}
	// With the key.
	var bomb bytes.Buffer
	w := lzw.NewWriter(&bomb, lzw.LSB, 8)
	w.Write(make([]byte, 60<<20))
	w.Close()
	if bomb.Len() > 60<<10 {
		t.Fatalf("a bomb of %d bytes is no packet", bomb.Len())
	}
	self := f.ID(c)
	for range 3 {
		send(label, rogue.GossipKey, message(compressMsg, "Algo", 0, "Buf", bomb.Bytes()))
	}
	for _, p := range all { // again, as somebody without the key can
		to.Write(p)
	}
	round := 0
	suspected := map[cluster.NodeID]int{}
	fleettest.Within(t, "the leader hears of it", func() bool {
		// Memberlist takes news of the living before that of the dead: one of each at a time.
		switch round++; round % 4 {
		case 1:
			send(label, rogue.GossipKey, alive(said.ID, 10*round, node))
			send(label, rogue.GossipKey, alive(self, 10*round, node))
			send(label, rogue.GossipKey, alive(wire.NewID(), 1, node))
			send(label, rogue.GossipKey, alive("../x", 1, node))
			send(label, rogue.GossipKey, alive(rogue.ID, 10*round, "{"))
			send(label, rogue.GossipKey, alive(rogue.ID, 10*round+1, `{"r":"coordinator","a":"127.0.0.9:7000","f":99}`))
		case 3:
			send(label, rogue.GossipKey, gone(deadMsg, said.ID, 10*round))
			send(label, rogue.GossipKey, gone(suspectMsg, self, 10*round))
			send(label, rogue.GossipKey, gone(deadMsg, self, 10*round+1))
		}
		r, err := c.Recording(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		clear(suspected)
		for _, s := range r.Steps {
			for _, id := range s.Input.Suspects {
				suspected[id]++
			}
		}
		return suspected[said.ID] >= 3
	})
	if suspected[unsaid.ID] > 0 {
		t.Error("what was said without the key is heard")
	}
	send(label, rogue.GossipKey, alive(said.ID, math.MaxUint32, node)) // the last word that there is
	f.Do(c, newKey("after"))                                           // it goes on
	fleettest.Within(t, "probes have ended and steps go on", func() bool {
		r, err := c.Recording(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		probes := 0
		for _, s := range r.Steps {
			for _, p := range s.Input.Probes {
				if p.Node == said.ID && !p.Alive {
					t.Errorf("a probe of a machine that answers failed: %+v", p)
				}
				probes++
			}
		}
		return probes > 0 && len(r.Steps) > 0 && len(r.Steps[len(r.Steps)-1].Input.Suspects) == 0
	})
	if after := places(); !reflect.DeepEqual(before, after) {
		t.Errorf("before: %+v\nafter: %+v", before, after)
	}
}

// What a coordinator says to Raft's share of the port is read within bounds, whatever lengths it claims (attack case 3): even a thief of a
// coordinator's certificate does not fill another one's memory.
func TestRaftLengthBombs(t *testing.T) {
	f := fleettest.New(t, 1, "")
	c := f.Leader()
	creds, err := wire.NewCredentials(f.Enrol(cluster.RoleCoordinator, "thief").Papers)
	if err != nil {
		t.Fatal(err)
	}
	own, err := wire.Listen("127.0.0.1:0", creds, fleettest.Log())
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	field := func(name string, value ...byte) []byte {
		return append(append([]byte{0x81, 0xa0 | byte(len(name))}, name...), value...)
	}
	huge := []byte{0xff, 0xff, 0xff, 0xff}
	var calls sync.WaitGroup
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for name, body := range map[string][]byte{
		"an array":           field("Entries", append([]byte{0xdd}, huge...)...),
		"a map":              append([]byte{0xdf}, huge...),
		"bytes":              field("Leader", append([]byte{0xc6}, huge...)...),
		"text":               field("Leader", append([]byte{0xdb}, huge...)...),
		"a name":             append(append([]byte{0x81, 0xdb}, huge...), "x"...),
		"an array in arrays": field("Entries", bytes.Repeat([]byte{0xdd, 0x7f, 0xff, 0xff, 0xff}, 50)...),
		"depth":              field("Nonsense", bytes.Repeat([]byte{0x91}, 4<<20)...),
		"an extension":       field("Leader", append([]byte{0xc9}, append(huge, 1)...)...),
		"a huge snapshot":    append([]byte{0x82}, append(field("Size", 0xcf, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)[1:], field("Term", 0xcf, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0)[1:]...)...),
	} {
		for kind := range byte(6) {
			if name == "a huge snapshot" && kind != 3 {
				continue
			}
			calls.Go(func() {
				conn, err := own.Raft().Dial(raft.ServerAddress(c.Config.Listen), 10*time.Second)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(time.Minute))
				conn.Write(append([]byte{kind}, body...)) // which may be refused in the middle
				conn.(interface{ CloseWrite() error }).CloseWrite()
				if n, err := io.Copy(io.Discard, conn); n > 1<<20 {
					t.Errorf("%s: %d bytes are answered, %v", name, n, err)
				}
			})
		}
	}
	calls.Wait()
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 256<<20 {
		t.Errorf("%d MiB were allocated", took>>20)
	}
	fleettest.Within(t, "it leads again, or still", func() bool { return f.Leader() != nil })
	f.Do(f.Leader(), newKey("after"))
	if !has(f.Leader(), "after") {
		t.Error("it does not go on")
	}
}

// A settlement counts once, however often it comes, and for the gateway whose certificate brings it, whatever it says (attack cases 6 and 9).
func TestReplayedSettlements(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 2, "")
	leader := f.Leader()
	victim, thief := f.Enrol(cluster.RoleGateway, "victim"), f.Enrol(cluster.RoleGateway, "thief")
	for _, g := range []wire.Membership{victim, thief} {
		if _, err := wire.Call[wire.EnlistRequest, wire.Empty](t.Context(), f.Dialer(g), cluster.RoleCoordinator, leader.Config.Listen, wire.Enlist, &wire.EnlistRequest{Name: g.Name, API: "127.0.0.1:1"}); err != nil {
			t.Fatal(err)
		}
	}
	settle := func(g wire.Membership, session, seq uint64, calls int64) error {
		_, err := wire.Call[wire.SettleRequest, wire.SettleResponse](t.Context(), f.Dialer(g), cluster.RoleCoordinator, leader.Config.Listen, wire.Settle,
			&wire.SettleRequest{Session: session, Seq: seq, Usage: []cluster.Used{{Tenant: "default", Key: "k", Version: cluster.VersionID{Model: "calc", Number: 1}, Amounts: cluster.Amounts{Calls: calls}}}})
		return err
	}
	billed := func() (calls int64) {
		for u := range leader.Live().Now().Usage(cluster.Millis(time.Now().UnixMilli())) {
			calls += u.Calls
		}
		return calls
	}
	for _, s := range []struct {
		g            wire.Membership
		session, seq uint64
		calls, want  int64
	}{
		{victim, 7, 1, 5, 5}, {victim, 7, 1, 5, 5}, {victim, 7, 1, 99, 5}, // the same again, also with another content
		{victim, 7, 2, 1, 6}, {victim, 7, 1, 99, 6}, // an older one
		{victim, 6, 9, 99, 6},                        // of an older session
		{thief, 7, 1, 10, 16}, {thief, 7, 1, 10, 16}, // another gateway's own
		{victim, 7, 3, 1, 17}, // which did not move the first one's mark
	} {
		if err := settle(s.g, s.session, s.seq, s.calls); err != nil {
			t.Fatal(err)
		}
		fleettest.Within(t, fmt.Sprint("the bill after ", s), func() bool { return billed() == s.want })
	}
	for _, g := range []wire.Membership{victim, thief} {
		if last, ok := leader.Live().Now().LastSettled(g.ID); !ok || last.Session != 7 {
			t.Errorf("%s settled last %+v", g.Name, last)
		}
	}
}

// A join token lives for fifteen minutes at the most, whatever life it is asked for, and is worth nothing after its end (attack case 5).
func TestTokensEnd(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 1, "")
	c := f.Leader()
	for asked, want := range map[time.Duration]time.Duration{time.Minute: time.Minute, 24 * time.Hour: wire.JoinTokenLife, math.MaxInt64: wire.JoinTokenLife} {
		before := max(cluster.Millis(time.Now().UnixMilli()), c.Live().Now().At())
		_, record := c.NewJoinToken(cluster.RoleNode, asked)
		if life := time.Duration(record.Expires-before) * time.Millisecond; life < want || life > want+10*time.Second || wire.JoinTokenLife > 15*time.Minute {
			t.Errorf("asked for %v: it lives for %v", asked, life)
		}
	}
	text, record := c.NewJoinToken(cluster.RoleNode, time.Second)
	record.Expires = max(cluster.Millis(time.Now().UnixMilli()), c.Live().Now().At()) + 1500
	f.Do(c, cluster.PutJoinToken{Token: record})
	token, err := wire.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	fleettest.Within(t, "its end", func() bool { return cluster.Millis(time.Now().UnixMilli()) > record.Expires })
	if _, err := wire.JoinCluster(t.Context(), c.Config.Listen, token, wire.NewID(), "late"); !refusedAs(err, connect.CodePermissionDenied) {
		t.Errorf("a token after its end: %v", err)
	}
}

// The feature level rises with what coordinators say themselves, not with what gossip says of them: it would stop those that do not
// understand it (attack case 4).
func TestFeatureIsAsked(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, 2, "")
	leader, follower := f.Leader(), f.Follower()
	if !leader.Understood(t.Context(), cluster.Feature) || leader.Understood(t.Context(), cluster.Feature+1) {
		t.Error("not what all understand")
	}
	liar := f.Enrol(cluster.RoleCoordinator, "liar")
	creds, err := wire.NewCredentials(liar.Papers)
	if err != nil {
		t.Fatal(err)
	}
	l, err := wire.Listen("127.0.0.1:0", creds, fleettest.Log())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	answer := atomic.Pointer[wire.Pong]{}
	mux := wire.NewMux()
	wire.Handle(mux, wire.Ping, func(context.Context, *wire.Empty) (*wire.Pong, error) { return answer.Load(), nil })
	go l.Serve(ctx, mux)
	defer l.Close()
	f.Do(leader, cluster.PutMember{Member: cluster.Member{ID: liar.ID, Role: cluster.RoleCoordinator, Name: "liar", Addr: l.Addr().String()}})
	for name, c := range map[string]struct {
		pong wire.Pong
		want bool
	}{
		"as new":       {wire.Pong{ID: liar.ID, Feature: cluster.Feature}, true},
		"older":        {wire.Pong{ID: liar.ID, Feature: cluster.Feature - 1}, false},
		"from before":  {wire.Pong{ID: liar.ID}, false},
		"another's id": {wire.Pong{ID: f.ID(follower), Feature: cluster.Feature}, false},
	} {
		answer.Store(&c.pong)
		if got := leader.Understood(t.Context(), cluster.Feature); got != c.want {
			t.Errorf("a coordinator that is %s: %v", name, got)
		}
	}
	answer.Store(&wire.Pong{ID: liar.ID, Feature: cluster.Feature})
	f.Stop(follower)
	if leader.Understood(t.Context(), cluster.Feature) {
		t.Error("one that does not answer is taken to understand")
	}
}
