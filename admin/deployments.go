package admin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/access"
	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/placement"
	"github.com/skein-project/skein/scheduler"
	"github.com/skein-project/skein/shard"
)

type deployments struct{ *Handler }

var _ adminv1connect.DeploymentServiceHandler = deployments{}

const (
	deploymentsRead  = accessv1.Permission_PERMISSION_DEPLOYMENTS_READ
	deploymentsWrite = accessv1.Permission_PERMISSION_DEPLOYMENTS_WRITE
)

// What a deployment serves unless it says otherwise.
const (
	DefaultSlots   = 8    // sequences at once per replica
	DefaultContext = 4096 // tokens, or what the model supports if that is less
)

func (h deployments) Serve(ctx context.Context, r *connect.Request[adminv1.ServeRequest]) (*connect.Response[adminv1.ServeResponse], error) {
	s := h.c.Live().Now()
	d, err := wanted(ctx, s, r.Msg)
	if err == nil {
		err = would(s, cluster.PutDeployment{Deployment: d, Was: d.Rev})
	}
	if err != nil {
		return nil, err
	}
	plan, err := h.c.Preview(ctx, d)
	if err != nil {
		return nil, err
	}
	res := &adminv1.ServeResponse{Version: d.Version.String(), Refused: refusals(ctx, s, plan)}
	if res.Scaling, err = h.scaling(ctx, d); err != nil {
		return nil, err
	}
	for _, p := range plan.Placed {
		res.Replicas = append(res.Replicas, h.planned(s, p))
	}
	if r.Msg.ValidateOnly {
		return connect.NewResponse(res), nil
	}
	// Where some replicas have no place, or none at the moment, the wish stands. A new one that fits nowhere is a mistake.
	if old, ok := s.Deployment(d.Version); len(plan.Placed) == 0 && len(res.Refused) > 0 && (!ok || old.Serving != d.Serving) {
		return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("%s fits nowhere: %s", d.Version, strings.Join(res.Refused, "\n")))
	}
	return connect.NewResponse(res), h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		d, err := wanted(ctx, s, r.Msg)
		return cluster.PutDeployment{Deployment: d, Was: d.Rev}, err
	})
}

// wanted is the deployment that a request asks for; what it leaves open stays as it is.
func wanted(ctx context.Context, s cluster.State, r *adminv1.ServeRequest) (cluster.Deployment, error) {
	v, err := ownVersion(ctx, s, r.Model)
	if err == nil && r.Tenant != "" {
		err = may(ctx, deploymentsWrite, r.Tenant, connect.NewError(connect.CodeNotFound, fmt.Errorf("the tenant %.80q does not exist", r.Tenant)))
	}
	if err != nil {
		return cluster.Deployment{}, err
	}
	d, ok := s.Deployment(v.VersionID)
	if !ok {
		d = cluster.Deployment{Version: v.VersionID, Replicas: 1, Serving: shard.Serving{Slots: DefaultSlots, Context: min(DefaultContext, v.Profile.Positions)}}
	}
	if r.Replicas < 0 || r.Slots < 0 || r.Context < 0 {
		return d, invalid("replicas %d, slots %d, context %d: none may be negative", r.Replicas, r.Slots, r.Context)
	}
	if d.Owner = cmp.Or(r.Tenant, d.Owner, confined(ctx, deploymentsWrite)); r.Need != nil && r.Replicas != 0 {
		return d, invalid("replicas are either fixed or follow demand")
	}
	switch {
	case r.Need != nil:
		n := needOf(r.Need)
		if n.Priority, err = precedence(ctx, d.Need, n.Priority); err != nil {
			return d, err
		}
		d.Need = n
	case r.Replicas != 0:
		d.Need = nil
	}
	d.Replicas = cmp.Or(int(r.Replicas), d.Replicas)
	d.Serving.Slots = cmp.Or(int(r.Slots), d.Serving.Slots)
	d.Serving.Context = cmp.Or(int(r.Context), d.Serving.Context)
	return d, nil
}

func (h deployments) Unserve(ctx context.Context, r *connect.Request[adminv1.UnserveRequest]) (*connect.Response[adminv1.UnserveResponse], error) {
	err := h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		d, err := deployment(ctx, s, r.Msg.Model)
		return cluster.DeleteDeployment{Version: d.Version, Was: d.Rev}, err
	})
	return connect.NewResponse(&adminv1.UnserveResponse{}), err
}

// deployment finds the deployment of the version that a name means.
func deployment(ctx context.Context, s cluster.State, name string) (cluster.Deployment, error) {
	v, err := ownVersion(ctx, s, name)
	if err != nil {
		return cluster.Deployment{}, err
	}
	d, ok := s.Deployment(v.VersionID)
	if !ok {
		return d, connect.NewError(connect.CodeNotFound, fmt.Errorf("%s is not deployed", v.VersionID))
	}
	return d, nil
}

func (h deployments) List(ctx context.Context, _ *connect.Request[adminv1.ListRequest]) (*connect.Response[adminv1.ListResponse], error) {
	s := h.c.Live().Now()
	standing, _ := h.c.Reasons()
	res := &adminv1.ListResponse{}
	seen := map[cluster.VersionID]bool{}
	add := func(d cluster.Deployment) {
		if seen[d.Version] = true; !sees(ctx, deploymentsRead, s.Model(d.Version.Model).Owner) {
			return
		}
		res.Deployments = append(res.Deployments, h.view(ctx, s, d, standing))
	}
	for d := range s.Deployments() {
		add(d)
	}
	for r := range s.Replicas() { // what is stopping after its deployment ended
		if !seen[r.Version] {
			add(cluster.Deployment{Version: r.Version, Serving: r.Serving})
		}
	}
	return connect.NewResponse(res), nil
}

func (h deployments) view(ctx context.Context, s cluster.State, d cluster.Deployment, standing []scheduler.Dated) *adminv1.DeploymentView {
	out := &adminv1.DeploymentView{Version: d.Version.String(), Wanted: int32(d.Wanted()), Slots: int32(d.Serving.Slots), Context: int32(d.Serving.Context),
		AvoidNodes: nil, Pins: pinViews(d.Pins), Need: needView(d.Need), Tenant: cmp.Or(d.Owner, cluster.DefaultTenant)}
	if d.Need != nil && d.Scale != nil {
		out.WantedWhy = d.Scale.Why
	}
	for _, id := range d.Avoid {
		out.AvoidDevices = append(out.AvoidDevices, string(id))
	}
	for _, id := range d.AvoidOn {
		out.AvoidNodes = append(out.AvoidNodes, nodeName(s, id))
	}
	for r := range s.ReplicasOf(d.Version) {
		if s.Routable(r) {
			out.Ready++
		}
		out.Replicas = append(out.Replicas, h.replica(s, r))
	}
	for _, n := range standing {
		switch {
		case n.Subject == "deployment "+d.Version.String() && d.Need != nil:
			out.WantedWhy = n.Why
		case about(s, n.Subject) == d.Version:
			out.Refused = append(out.Refused, told(ctx, n.Why))
		}
	}
	return out
}

// replica shows a placed replica with what its nodes report.
func (h deployments) replica(s cluster.State, r cluster.Replica) *adminv1.ReplicaView {
	out := &adminv1.ReplicaView{Id: r.ReplicaID.String(), Epoch: uint64(r.Epoch), Status: string(r.Status), Why: r.Why}
	for i, at := range r.Stages {
		v := stageView(s, at)
		if report, _, ok := h.c.Report(at.Node); ok {
			for _, held := range report.Held {
				if held.Replica == r.ReplicaID && held.Epoch == r.Epoch && held.Stage == i {
					v.Status, v.Fetched, v.Fetch, v.Why, v.Active = string(held.Status), held.Fetched, held.Fetch, held.Why, int32(held.Active)
				}
			}
		}
		out.Stages = append(out.Stages, v)
	}
	return out
}

// planned shows a placement that is not made yet.
func (h deployments) planned(s cluster.State, p placement.Placement) *adminv1.ReplicaView {
	out := &adminv1.ReplicaView{Id: p.Replica.String(), Status: "planned", Why: p.Why}
	for _, at := range p.Stages {
		out.Stages = append(out.Stages, stageView(s, at))
	}
	return out
}

func stageView(s cluster.State, at cluster.StagePlace) *adminv1.StageView {
	return &adminv1.StageView{From: int32(at.From), To: int32(at.To), Node: nodeName(s, at.Node), Device: string(at.Device), Reserve: int64(at.Reserve)}
}

func nodeName(s cluster.State, id cluster.NodeID) string {
	n, _ := s.Node(id)
	return cmp.Or(n.Name, string(id))
}

// refusals puts refusals in words: what is needed, and what each device has. Whoever is confined to a tenant is not told of devices: what
// others reserve on them is not its business.
func refusals(ctx context.Context, s cluster.State, plan placement.Solution) []string {
	var out []string
	for _, r := range plan.Refused {
		text := fmt.Sprintf("%s: %s", r.Replica, r.Why)
		if confined(ctx, deploymentsWrite) != "" {
			out = append(out, fmt.Sprintf("%s: it needs %s, and no device has room", r.Replica, r.Need))
			continue
		}
		for _, d := range r.PerDevice {
			text += fmt.Sprintf("\n  %s on %s: needs %s, has %s free: %s", d.Device, nodeName(s, d.Node), d.Need, d.Free, d.Why)
		}
		if r.Left > 0 {
			text += fmt.Sprintf("\n  and %d more devices", r.Left)
		}
		out = append(out, text)
	}
	return out
}

// told is a reason as its reader is told it.
func told(ctx context.Context, why string) string {
	if access.AllowsEverywhere(callerOf(ctx).Roles, deploymentsRead) {
		return why
	}
	return scheduler.Brief(why)
}

func (h deployments) Pin(ctx context.Context, r *connect.Request[adminv1.PinRequest]) (*connect.Response[adminv1.PinResponse], error) {
	pin := func(s cluster.State) (cluster.Deployment, error) {
		d, err := deployment(ctx, s, r.Msg.Model)
		if err != nil {
			return d, err
		}
		d.Pins = slices.DeleteFunc(slices.Clone(d.Pins), func(p cluster.Pin) bool {
			return p.Replica == int(r.Msg.Replica) && p.Stage == int(r.Msg.Stage)
		})
		if r.Msg.Device != "" {
			d.Pins = append(d.Pins, cluster.Pin{Replica: int(r.Msg.Replica), Stage: int(r.Msg.Stage), Device: gpu.DeviceID(r.Msg.Device)})
		}
		return d, nil
	}
	s := h.c.Live().Now()
	d, err := pin(s)
	if err == nil {
		err = would(s, cluster.PutDeployment{Deployment: d, Was: d.Rev})
	}
	if err == nil && r.Msg.Device != "" {
		err = h.breaks(ctx, s, d, int(r.Msg.Replica))
	}
	if err != nil {
		return nil, err
	}
	err = h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		d, err = pin(s)
		return cluster.PutDeployment{Deployment: d, Was: d.Rev}, err
	})
	return connect.NewResponse(&adminv1.PinResponse{Pins: pinViews(d.Pins)}), err
}

// breaks says what a pin of a replica would leave without a place: that replica, or one that has a place without it.
func (h deployments) breaks(ctx context.Context, s cluster.State, pinned cluster.Deployment, ordinal int) error {
	present, _ := s.Deployment(pinned.Version)
	without, err := h.c.Preview(ctx, present)
	if err != nil {
		return err
	}
	with, err := h.c.Preview(ctx, pinned)
	if err != nil {
		return err
	}
	with.Refused = slices.DeleteFunc(with.Refused, func(r placement.Refusal) bool {
		return r.Replica.Ordinal != ordinal && slices.ContainsFunc(without.Refused, func(o placement.Refusal) bool { return o.Replica == r.Replica })
	})
	if why := refusals(ctx, s, with); len(why) > 0 {
		return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("the pin is refused: %s", strings.Join(why, "\n")))
	}
	return nil
}

func pinViews(pins []cluster.Pin) []*adminv1.PinView {
	var out []*adminv1.PinView
	for _, p := range pins {
		out = append(out, &adminv1.PinView{Replica: int32(p.Replica), Stage: int32(p.Stage), Device: string(p.Device)})
	}
	return out
}

func (h deployments) Avoid(ctx context.Context, r *connect.Request[adminv1.AvoidRequest]) (*connect.Response[adminv1.AvoidResponse], error) {
	err := h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		d, err := deployment(ctx, s, r.Msg.Model)
		if err != nil {
			return nil, err
		}
		d.Avoid, d.AvoidOn = nil, nil
		for _, id := range r.Msg.Devices {
			d.Avoid = append(d.Avoid, gpu.DeviceID(id))
		}
		for _, name := range r.Msg.Nodes {
			n, err := node(s, name)
			if err != nil {
				return nil, err
			}
			d.AvoidOn = append(d.AvoidOn, n.ID)
		}
		return cluster.PutDeployment{Deployment: d, Was: d.Rev}, nil
	})
	return connect.NewResponse(&adminv1.AvoidResponse{}), err
}

// about is the version that a note's subject is about, the zero one if it is about something else. An alias stands for its target.
func about(s cluster.State, subject string) cluster.VersionID {
	kind, name, _ := strings.Cut(subject, " ")
	if kind == "alias" {
		a, _ := s.Alias(name)
		return a.Target
	}
	if kind == "replica" {
		name = name[:max(0, strings.LastIndexByte(name, '/'))]
	}
	v, _ := cluster.ParseVersionID(name)
	return v
}

func (h deployments) Why(ctx context.Context, r *connect.Request[adminv1.WhyRequest]) (*connect.Response[adminv1.WhyResponse], error) {
	s, res := h.c.Live().Now(), &adminv1.WhyResponse{}
	wanted := func(subject string) bool {
		return strings.Contains(subject, r.Msg.Subject) && sees(ctx, deploymentsRead, s.Model(about(s, subject).Model).Owner)
	}
	_, all := h.c.Reasons()
	for _, n := range all {
		if wanted(n.Subject) {
			res.Notes = append(res.Notes, &adminv1.Note{AtMs: n.At.UnixMilli(), Subject: n.Subject, Why: told(ctx, n.Why)})
		}
	}
	for p := range s.Replicas() {
		if subject := "replica " + p.ReplicaID.String(); p.Why != "" && wanted(subject) {
			res.Notes = append(res.Notes, &adminv1.Note{Subject: subject, Why: p.Why})
		}
	}
	return connect.NewResponse(res), nil
}

func (h deployments) GetRecording(ctx context.Context, _ *connect.Request[adminv1.GetRecordingRequest], out *connect.ServerStream[adminv1.GetRecordingResponse]) error {
	r, err := h.c.Recording(ctx)
	if err != nil {
		return err
	}
	_, err = r.WriteTo(pieces{out})
	return err
}

// pieces sends what is written to it in messages of at most pieceSize bytes.
type pieces struct {
	out *connect.ServerStream[adminv1.GetRecordingResponse]
}

const pieceSize = 1 << 20

func (p pieces) Write(b []byte) (n int, err error) {
	for part := range slices.Chunk(b, pieceSize) {
		if err := p.out.Send(&adminv1.GetRecordingResponse{Data: part}); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}
