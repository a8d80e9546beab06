package admin_test

import (
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/prototext"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/fleettest"
)

// An operator keeps work off a device and a node, sees who did, when and why, and lifts it; a new deployment is not placed there either.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.Machine("m1", gpu.GiB)
	r.Machine("m2", gpu.GiB)
	c := r.api(r.Leader())
	calc, other := r.publish("calc", 1), r.publish("other", 1)
	serve(t, c, "calc", 1)
	r.ready(calc, 1)
	device := func(v cluster.VersionID) (d gpu.DeviceID, node string) {
		s := r.Leader().Live().Now()
		for p := range s.ReplicasOf(v) {
			if s.Routable(p) {
				n, _ := s.Node(p.Stages[0].Node)
				return p.Stages[0].Device, n.Name
			}
		}
		return "", ""
	}
	first, _ := device(calc)
	want(t, connect.CodeNotFound, c.Nodes.Quarantine, &adminv1.QuarantineRequest{Subject: "moon"})
	want(t, connect.CodeInvalidArgument, c.Nodes.Quarantine, &adminv1.QuarantineRequest{Subject: string(first), TtlSeconds: -1})
	want(t, connect.CodeInvalidArgument, c.Nodes.Quarantine, &adminv1.QuarantineRequest{Subject: string(first), TtlSeconds: 1 << 60})
	want(t, connect.CodeNotFound, c.Nodes.Lift, &adminv1.LiftRequest{Subject: "m1"})
	want(t, 0, c.Nodes.Quarantine, &adminv1.QuarantineRequest{Subject: string(first), Why: "sparks"})
	fleettest.Within(t, "the device is empty", func() bool { d, _ := device(calc); return d != "" && d != first })
	serve(t, c, "other", 1)
	r.ready(other, 1)
	if d, _ := device(other); d == first {
		t.Errorf("placed on %s, which is under quarantine", d)
	}

	res, err := c.Nodes.ListNodes(t.Context(), connect.NewRequest(&adminv1.ListNodesRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	who, err := c.People.WhoAmI(t.Context(), connect.NewRequest(&adminv1.WhoAmIRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, n := range res.Msg.Nodes {
		for _, d := range n.Devices {
			if q := d.Quarantine; q != nil {
				if seen++; d.Id != string(first) || q.Device != d.Id || q.By != who.Msg.Name || q.Why != "sparks" || q.SinceMs == 0 || q.UntilMs != 0 {
					t.Errorf("device %s: %v", d.Id, q)
				}
			}
		}
	}
	if seen != 1 || len(res.Msg.Quarantines) != 1 {
		t.Errorf("%d devices, %v", seen, res.Msg.Quarantines)
	}
	why, err := c.Deployments.Why(t.Context(), connect.NewRequest(&adminv1.WhyRequest{Subject: "device " + string(first)}))
	if err != nil || !strings.Contains(prototext.Format(why.Msg), who.Msg.Name) || !strings.Contains(prototext.Format(why.Msg), "sparks") {
		t.Errorf("why: %v, %v", why, err)
	}

	// A node, for two seconds: nothing is lost, since nobody else has room; then it is lifted by itself, and that is in the audit log.
	_, name := device(calc)
	want(t, 0, c.Nodes.Quarantine, &adminv1.QuarantineRequest{Subject: name, TtlSeconds: 2})
	if d, _ := device(calc); d == "" {
		t.Error("the model was taken off the only node that it has")
	}
	fleettest.Within(t, "the time is over", func() bool {
		n := 0
		for range r.Leader().Live().Now().Quarantines() {
			n++
		}
		return n == 1
	})
	want(t, 0, c.Nodes.Lift, &adminv1.LiftRequest{Subject: string(first)})
	want(t, connect.CodeNotFound, c.Nodes.Lift, &adminv1.LiftRequest{Subject: string(first)})
	log := records(t, c)
	if strings.Count(log, `"put_quarantine"`) < 2 || strings.Count(log, `"delete_quarantine"`) < 2 {
		t.Errorf("the audit log has not all of it: %s", log)
	}
}

// records is the audit log as it is told.
func records(t *testing.T, c *client.Client) string {
	t.Helper()
	in, err := c.Audit.GetRecords(t.Context(), connect.NewRequest(&adminv1.GetRecordsRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var all strings.Builder
	for in.Receive() {
		all.Write(in.Msg().Lines)
	}
	if in.Err() != nil {
		t.Fatal(in.Err())
	}
	return all.String()
}
