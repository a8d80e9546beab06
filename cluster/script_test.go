package cluster

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/skein-project/skein/access"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/golden"
	"github.com/skein-project/skein/shard"
)

// TestScripts runs testdata/*.txt. A script is a list of blocks with an empty line between them: input lines, "----", output lines.
// A block of commands is one log entry: each line is a transaction, its commands are separated by " ; ". Its output is what became
// of each transaction and which records changed. Was and epochs are read from the state unless they are given. Every entry passes
// through Encode and Decode.
func TestScripts(t *testing.T) { golden.Scripts(t, runScript) }

func runScript(t *testing.T, script string) string {
	var out []string
	sc := &scripted{t: t}
	for block := range strings.SplitSeq(strings.TrimSpace(script), "\n\n") {
		in, _, _ := strings.Cut(block+"\n", "----\n")
		var comments, lines []string
		for l := range strings.Lines(in) {
			if l = strings.TrimSpace(l); strings.HasPrefix(l, "#") {
				comments = append(comments, l)
			} else if l != "" {
				lines = append(lines, l)
			}
		}
		text := strings.Join(append(comments, lines...), "\n")
		if len(lines) > 0 {
			if result := strings.TrimRight(sc.block(lines), "\n"); result != "" {
				text += "\n----\n" + result
			}
		}
		out = append(out, text)
	}
	return strings.Join(out, "\n\n") + "\n"
}

// scripted is a state that a script changes.
type scripted struct {
	t     *testing.T
	state State
	at    Millis
}

func (sc *scripted) block(lines []string) string {
	if out, ok := sc.query(strings.Fields(lines[0])); ok {
		return out
	}
	e := Envelope{V: EnvelopeFormat, At: sc.at}
	for _, l := range lines {
		var txn Txn
		for c := range strings.SplitSeq(l, " ; ") {
			txn.Do = append(txn.Do, sc.command(strings.Fields(c)))
		}
		e.Txns = append(e.Txns, txn)
	}
	b, err := Encode(e)
	if err != nil {
		sc.t.Fatalf("%v: %v", lines, err)
	}
	if e, err = Decode(b); err != nil {
		sc.t.Fatalf("%v: %v", lines, err)
	}
	before := sc.state
	next, errs := Apply(before, before.Index()+1, e)
	sc.state = next
	var out strings.Builder
	for _, err := range errs {
		if err == nil {
			fmt.Fprintln(&out, "ok")
		} else {
			fmt.Fprintln(&out, strings.TrimPrefix(err.Error(), "cluster: "))
		}
	}
	was, is := records(before), records(next)
	for _, k := range was.order {
		if _, ok := is.byKey[k]; !ok {
			fmt.Fprintf(&out, "- %s\n", k)
		}
	}
	for _, k := range is.order {
		if was.byKey[k] != is.byKey[k] {
			fmt.Fprintf(&out, "+ %s %s\n", k, is.byKey[k])
		}
	}
	return out.String()
}

func (sc *scripted) query(f []string) (string, bool) {
	var out strings.Builder
	s := sc.state
	switch f[0] {
	case "at":
		sc.at = Millis(number(sc.t, f[1]))
	case "ledger":
		for d, a := range s.Ledger().All() {
			fmt.Fprintf(&out, "%s capacity=%v reserved=%v free=%v known=%v\n", d, a.Capacity, a.Reserved, a.Free(), a.Known)
		}
	case "desired":
		var soft Endpoints
		if len(f) > 2 { // desired n2 n1:7000: what is reported for every stage 0, "-" for nothing
			soft = func(_ ReplicaID, _ Epoch, stage int) string {
				return []string{strings.TrimPrefix(f[2], "-"), "", "", ""}[stage]
			}
		}
		d := s.Desired(NodeID(f[1]), soft)
		fmt.Fprintf(&out, "index %d\n", d.Index)
		for _, a := range d.Assignments {
			fmt.Fprintf(&out, "%v epoch=%d stage=%d %s blocks=%d-%d serving=%d×%d device=%s reserve=%v chain=%q drain=%v sources=%q\n", a.Replica, a.Epoch, a.Stage,
				a.Key.Manifest.Short(), a.Key.Span.From, a.Key.Span.To, a.Key.Serving.Slots, a.Key.Serving.Context, a.Device, a.Reserve, a.Chain, a.Drain, a.Sources)
		}
	case "resolve":
		v, err := Resolve(s, f[1])
		fmt.Fprintln(&out, v, err)
	case "admit", "may":
		a := args{t: sc.t, named: map[string]string{}}
		for _, w := range f[1:] {
			if k, v, ok := strings.Cut(w, "="); ok {
				a.named[k] = v
			}
		}
		from, _ := netip.ParseAddr(a.str("from", ""))
		p, refusal := s.Admit(f[1], sc.at, from)
		if f[0] == "may" {
			fmt.Fprintln(&out, s.MayCall(p, f[2]))
		} else {
			fmt.Fprintf(&out, "%s %v %q\n", p, p.Roles, refusal)
		}
	case "replicas":
		for r := range s.Replicas() {
			fmt.Fprintf(&out, "%v epoch=%d %s routable=%v\n", r.ReplicaID, r.Epoch, r.Status, s.Routable(r))
		}
	case "restart":
		var b bytes.Buffer
		if _, err := s.WriteTo(&b); err != nil {
			sc.t.Fatal(err)
		}
		var err error
		if sc.state, err = Read(&b); err != nil {
			sc.t.Fatal(err)
		}
	default:
		return "", false
	}
	return out.String(), true
}

// args are the arguments of a command: what stands alone, and what is named.
type args struct {
	t     *testing.T
	alone []string
	named map[string]string
	order []string // of the names
}

func (a args) str(name, otherwise string) string {
	if v, ok := a.named[name]; ok {
		return v
	}
	return otherwise
}

func (a args) num(name string, otherwise int) int {
	if v, ok := a.named[name]; ok {
		return number(a.t, v)
	}
	return otherwise
}

func (a args) list(name string) (out []string) {
	for v := range strings.SplitSeq(a.named[name], ",") {
		if v != "" {
			out = append(out, v)
		}
	}
	return out
}

func (a args) was(now Index) Index { return Index(a.num("was", int(now))) }

func number(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return n
}

func size(t *testing.T, s string) gpu.Bytes {
	b, err := gpu.ParseBytes(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (sc *scripted) version(s string) VersionID {
	v, ok := ParseVersionID(s)
	if !ok {
		sc.t.Fatalf("%q is no version", s)
	}
	return v
}

func (sc *scripted) replica(s string) ReplicaID {
	v, ordinal, _ := strings.Cut(s, "/")
	return ReplicaID{sc.version(v), number(sc.t, ordinal)}
}

func nodeIDs(s string) (ids []NodeID) {
	for id := range strings.SplitSeq(s, ",") {
		if id != "" {
			ids = append(ids, NodeID(id))
		}
	}
	return ids
}

func (sc *scripted) command(f []string) Command {
	a, s := args{t: sc.t, named: map[string]string{}}, sc.state
	for _, w := range f[1:] {
		if k, v, ok := strings.Cut(w, "="); ok {
			a.named[k] = v
			a.order = append(a.order, k)
		} else {
			a.alone = append(a.alone, w)
		}
	}
	id := append(a.alone, "")[0]
	switch f[0] {
	case "init":
		return Init{ID: id, CACert: []byte("cert"), CAKey: []byte("key"), Feature: a.num("feature", 0)}
	case "set_feature":
		return SetFeature{Was: a.num("was", s.Cluster().Feature), Feature: number(sc.t, id)}
	case "put_member":
		old, _ := s.Member(NodeID(id))
		return PutMember{Member{ID: NodeID(id), Role: Role(a.str("role", "coordinator")), Addr: a.str("addr", id+":7000")}, a.was(old.Rev)}
	case "delete_member":
		old, _ := s.Member(NodeID(id))
		return DeleteMember{NodeID(id), a.was(old.Rev)}
	case "put_node":
		old, _ := s.Node(NodeID(id))
		n := Node{ID: NodeID(id), Addr: a.str("addr", id+":7000")}
		for _, k := range a.order {
			if strings.HasPrefix(k, "gpu") {
				n.Devices = append(n.Devices, gpu.Device{ID: gpu.DeviceID(k), Kind: gpu.CUDA, Memory: size(sc.t, a.named[k])})
			}
		}
		return PutNode{n, a.was(old.Rev)}
	case "set_node_status":
		old, _ := s.Node(NodeID(id))
		return SetNodeStatus{NodeID(id), NodeStatus(a.alone[1]), a.str("why", ""), a.was(old.Rev)}
	case "delete_node":
		old, _ := s.Node(NodeID(id))
		return DeleteNode{NodeID(id), a.was(old.Rev)}
	case "put_join_token":
		return PutJoinToken{JoinToken{Hash: id, Role: Role(a.str("role", "node")), Expires: Millis(a.num("expires", 0))}}
	case "use_join_token":
		return UseJoinToken{id, Role(a.str("role", "node")), NodeID(a.str("by", "n1"))}
	case "put_key":
		old, _ := s.Key(id)
		k := Key{ID: id, Name: a.str("name", ""), Hash: a.str("hash", "hash-of-"+id), Revoked: a.str("revoked", "") != "",
			Tenant: a.str("tenant", ""), App: a.str("app", ""), Models: a.list("models"), Expires: Millis(a.num("expires", 0))}
		k.Suspended = a.str("suspended", "") != ""
		for _, r := range a.list("roles") {
			k.Roles = append(k.Roles, access.Role(r))
		}
		return PutKey{k, a.was(old.Rev)}
	}
	if c := sc.platformCommand(f[0], id, a); c != nil {
		return c
	}
	return sc.modelCommand(f[0], id, a)
}

func (sc *scripted) modelCommand(verb, id string, a args) Command {
	s := sc.state
	switch verb {
	case "put_version":
		v := sc.version(id)
		p := shard.Profile{Decoder: true, Hidden: 64, Vocab: 100, Positions: 512, Expand: 100, KVToken: 1024, Embed: gpu.MiB, Tail: gpu.MiB}
		for range a.num("blocks", 4) {
			p.Blocks = append(p.Blocks, gpu.MiB)
		}
		var traits *Traits
		if a.named["context"] != "" || a.named["labels"] != "" || a.named["vector"] != "" || a.named["inputs"] != "" || a.named["template"] != "" {
			traits = &Traits{Inputs: a.list("inputs"), Labels: a.str("labels", ""), Vector: a.num("vector", 0), Context: a.num("context", 0), Template: a.str("template", "")}
		}
		var proof *Proof
		if why := a.str("unproved", ""); why != "" {
			proof = &Proof{Why: why}
		}
		return PutVersion{Owner: a.str("owner", ""), Version: Version{VersionID: v, Manifest: blob.Digest(sha256.Sum256([]byte(id))), Profile: p, Tasks: []string{"generate"},
			Bytes: 6 << 20, Holders: nodeIDs(a.str("holders", "")), Traits: traits, Bucket: a.str("bucket", "") != "", Proof: proof, Format: a.str("format", "")}}
	case "set_holders":
		old, _ := s.Version(sc.version(id))
		return SetHolders{sc.version(id), nodeIDs(a.str("holders", "")), a.was(old.Rev)}
	case "delete_version":
		old, _ := s.Version(sc.version(id))
		return DeleteVersion{sc.version(id), a.was(old.Rev)}
	case "put_alias":
		old, _ := s.Alias(id)
		return PutAlias{id, sc.version(a.alone[1]), a.str("force", "") != "", a.was(old.Rev), a.str("accept", "") != ""}
	case "rollback_alias":
		old, _ := s.Alias(id)
		return RollbackAlias{id, a.str("force", "") != "", a.was(old.Rev)}
	case "delete_alias":
		old, _ := s.Alias(id)
		return DeleteAlias{id, a.was(old.Rev)}
	case "put_deployment":
		old, _ := s.Deployment(sc.version(id))
		d := Deployment{Version: sc.version(id), Replicas: a.num("replicas", 1), AvoidOn: nodeIDs(a.str("avoid_nodes", "")),
			Serving: shard.Serving{Slots: a.num("slots", 4), Context: a.num("context", 256)}, Owner: a.str("owner", "")}
		if a.named["max"] != "" {
			d.Need = &Need{Min: a.num("min", 0), Max: a.num("max", 0), Priority: a.num("priority", 0)}
		}
		if p := a.str("pin", ""); p != "" { // pin=replica/stage/device
			w := strings.SplitN(p, "/", 3)
			d.Pins = []Pin{{number(sc.t, w[0]), number(sc.t, w[1]), gpu.DeviceID(w[2])}}
		}
		if p := a.str("avoid", ""); p != "" {
			d.Avoid = []gpu.DeviceID{gpu.DeviceID(p)}
		}
		return PutDeployment{d, a.was(old.Rev)}
	case "delete_deployment":
		old, _ := s.Deployment(sc.version(id))
		return DeleteDeployment{sc.version(id), a.was(old.Rev)}
	case "place_replica": // place_replica calc@1/0 0-2:n1/gpu1:4GiB 2-4:n2/gpu2:4GiB
		rid := sc.replica(id)
		old, _ := s.Replica(rid)
		r := Replica{ReplicaID: rid, Epoch: Epoch(a.num("epoch", int(s.LastEpoch(rid))+1)), Serving: shard.Serving{Slots: 4, Context: 256},
			Status: ReplicaStatus(a.str("status", "loading"))}
		for _, stage := range a.alone[1:] {
			w := strings.Split(stage, ":")
			from, to, _ := strings.Cut(w[0], "-")
			node, device, _ := strings.Cut(w[1], "/")
			r.Stages = append(r.Stages, StagePlace{Span: shard.Span{From: number(sc.t, from), To: number(sc.t, to)},
				Node: NodeID(node), Device: gpu.DeviceID(device), Reserve: size(sc.t, w[2])})
		}
		return PlaceReplica{r, Epoch(a.num("was", int(old.Epoch)))}
	case "mark_replica": // mark_replica calc@1/0 ready n1:9 n2:9
		old, _ := s.Replica(sc.replica(id))
		return MarkReplica{ID: sc.replica(id), Epoch: Epoch(a.num("epoch", int(old.Epoch))), Status: ReplicaStatus(a.alone[1]), Endpoints: a.alone[2:]}
	case "remove_replica":
		old, _ := s.Replica(sc.replica(id))
		return RemoveReplica{sc.replica(id), Epoch(a.num("epoch", int(old.Epoch)))}
	}
	sc.t.Fatalf("unknown command %q", verb)
	return nil
}

// recordSet is the records of a state as text, by kind and key.
type recordSet struct {
	order []string
	byKey map[string]string
}

func records(s State) recordSet {
	set := recordSet{byKey: map[string]string{}}
	for _, sec := range sections {
		for r := range sec.records(s) {
			k := sec.kind + " " + keyOf(r)
			set.order = append(set.order, k)
			set.byKey[k] = describe(r)
		}
	}
	return set
}
