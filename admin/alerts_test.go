package admin_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/alert"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/fleettest"
)

// inbox is a webhook's receiver.
type inbox struct {
	mu    sync.Mutex
	tells map[string]int // notifications by id
	texts []string
}

func newInbox(t *testing.T) (*inbox, string) {
	in := &inbox{tells: map[string]int{}}
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		in.tells[r.Header.Get("Skein-Notification")]++
		in.texts = append(in.texts, string(b))
	}))
	t.Cleanup(s.Close)
	return in, s.URL
}

func (in *inbox) count(containing string) (n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, text := range in.texts {
		if strings.Contains(text, containing) {
			n++
		}
	}
	return n
}

// incidents lists those of a rule.
func incidents(t *testing.T, c *client.Client, rule string, all bool) (list []alert.Incident) {
	t.Helper()
	res, err := c.Alerts.ListIncidents(t.Context(), connect.NewRequest(&adminv1.ListIncidentsRequest{All: all}))
	if err != nil {
		if code := connect.CodeOf(err); code == connect.CodeUnavailable {
			return nil // between two leaders
		}
		t.Fatal(err)
	}
	for _, text := range res.Msg.Incidents {
		var i alert.Incident
		if err := json.Unmarshal([]byte(text), &i); err != nil {
			t.Fatal(err)
		}
		if i.Rule == rule {
			list = append(list, i)
		}
	}
	return list
}

const voters = `{"id":"voters","expr":"last(\"skein_raft_voters\", \"1m\") > 1.0","over":"cluster","keep":"1s","severity":"warning","annotations":{"summary":"{value} voters"}}`

// A rule that is put is evaluated, its incident committed and told once, also by the next leader; it can be taken on, silenced and switched off.
func TestAlerts(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3)
	c := r.api(r.Leader())
	in, url := newInbox(t)
	want(t, 0, c.Alerts.PutReceiver, &adminv1.PutReceiverRequest{Receiver: `{"id":"hook","protocol":"webhook","url":"` + url + `","wait":"1s"}`})
	res, err := c.Alerts.TestReceiver(t.Context(), connect.NewRequest(&adminv1.TestReceiverRequest{Id: "hook"}))
	if err != nil || res.Msg.Failed != "" || in.count("This is a test") != 1 {
		t.Errorf("a test: %v %v", res, err)
	}
	want(t, 0, c.Alerts.PutRule, &adminv1.PutRuleRequest{Rule: voters, ValidateOnly: true})
	if got := rules(t, c); strings.Contains(got, "voters\"") && !strings.Contains(got, "quorum-at-risk") {
		t.Errorf("what was only checked: %s", got)
	}
	want(t, 0, c.Alerts.PutRule, &adminv1.PutRuleRequest{Rule: voters})
	fleettest.Within(t, "the incident opens and is told", func() bool {
		list := incidents(t, c, "voters", false)
		return len(list) == 1 && len(list[0].Told) == 1 && in.count(`"voters"`) == 1
	})
	id := incidents(t, c, "voters", false)[0].ID
	want(t, 0, c.Alerts.Acknowledge, &adminv1.AcknowledgeRequest{Id: id, Comment: "mine"})
	want(t, connect.CodeNotFound, c.Alerts.Acknowledge, &adminv1.AcknowledgeRequest{Id: "none"})
	if got := incidents(t, c, "voters", false)[0]; got.Ack == nil || !strings.HasPrefix(got.Ack.By, "key sk-") || got.Ack.Comment != "mine" {
		t.Errorf("%+v", got.Ack)
	}

	r.Stop(r.Leader())
	c = r.api(r.Leader())
	fleettest.Within(t, "the next leader measures", func() bool {
		curves, err := c.Alerts.GetSeries(t.Context(), connect.NewRequest(&adminv1.GetSeriesRequest{Family: "skein_raft_voters", FromMs: time.Now().Add(-10 * time.Minute).UnixMilli(), StepMs: 15_000}))
		return err == nil && len(curves.Msg.Curves) == 1
	})
	want(t, 0, c.Alerts.PutRule, &adminv1.PutRuleRequest{Rule: strings.Replace(voters, `"over"`, `"disabled":true,"over"`, 1)})
	fleettest.Within(t, "the incident ends", func() bool {
		list := incidents(t, c, "voters", true)
		return len(list) == 1 && list[0].Phase == alert.Resolved && list[0].ID == id
	})
	fleettest.Within(t, "its end is told", func() bool { return in.count(`"resolved"`) > 0 })
	in.mu.Lock()
	defer in.mu.Unlock()
	for n, times := range in.tells {
		if times != 1 {
			t.Errorf("notification %s came %d times", n, times)
		}
	}
}

func rules(t *testing.T, c *client.Client) string {
	t.Helper()
	res, err := c.Alerts.ListRules(t.Context(), connect.NewRequest(&adminv1.ListRulesRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(res.Msg.Rules, "\n")
}

// What alerting refuses says what is wrong with it, and changes nothing.
func TestAlertsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	c := r.api(r.Leader())
	before := rules(t, c)
	if !strings.Contains(before, `"high-error-rate"`) {
		t.Error("no default rules")
	}
	deep := strings.Repeat("(", 200) + "1.0" + strings.Repeat(")", 200)
	for name, rule := range map[string]string{
		"no JSON":         `nonsense`,
		"unknown field":   strings.Replace(voters, `"over"`, `"ovre":1,"over"`, 1),
		"two objects":     voters + voters,
		"no CEL":          strings.Replace(voters, "> 1.0", "> ", 1),
		"unknown family":  strings.Replace(voters, "skein_raft_voters", "skein_moons", 1),
		"a loop":          strings.Replace(voters, `last(\"skein_raft_voters\", \"1m\") > 1.0`, `[1,2].all(x, x > 0)`, 1),
		"deep":            strings.Replace(voters, "1.0", deep, 1),
		"long":            strings.Replace(voters, "1.0", strings.Repeat("1.0 + ", 1000)+"1.0", 1),
		"no severity":     strings.Replace(voters, `"warning"`, `"bad"`, 1),
		"rollback of all": strings.Replace(voters, `"keep"`, `"action":{"kind":"rollback"},"keep"`, 1),
	} {
		if code, err := call(t, c.Alerts.PutRule, &adminv1.PutRuleRequest{Rule: rule}); code != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	want(t, connect.CodeInvalidArgument, c.Alerts.PutReceiver, &adminv1.PutReceiverRequest{Receiver: `{"id":"x","protocol":"pigeon","url":"https://example.com"}`})
	want(t, connect.CodeInvalidArgument, c.Alerts.PutReceiver, &adminv1.PutReceiverRequest{Receiver: `{"id":"x","protocol":"webhook","url":"file:///etc/passwd"}`})
	want(t, connect.CodeInvalidArgument, c.Alerts.PutSilence, &adminv1.PutSilenceRequest{Silence: `{"match":[]}`})
	want(t, connect.CodeNotFound, c.Alerts.DeleteRule, &adminv1.DeleteRuleRequest{Id: "none"})
	want(t, connect.CodeFailedPrecondition, c.Alerts.DeleteRule, &adminv1.DeleteRuleRequest{Id: "node-lost"})
	want(t, connect.CodeNotFound, c.Alerts.TestReceiver, &adminv1.TestReceiverRequest{Id: "none"})
	want(t, connect.CodeInvalidArgument, c.Alerts.GetSeries, &adminv1.GetSeriesRequest{Family: "skein_moons", StepMs: 15000})
	if rules(t, c) != before {
		t.Error("something changed")
	}
	// A default rule that is changed, and is again what it was.
	changed := `{"id":"node-lost","expr":"last(\"skein_node_lost\", \"1m\") > 0.0","over":"node","severity":"info","annotations":{"summary":"gone"}}`
	want(t, 0, c.Alerts.PutRule, &adminv1.PutRuleRequest{Rule: changed})
	if !strings.Contains(rules(t, c), `"summary":"gone"`) {
		t.Error("the change is not in force")
	}
	want(t, 0, c.Alerts.DeleteRule, &adminv1.DeleteRuleRequest{Id: "node-lost"})
	if rules(t, c) != before {
		t.Error("the default rule is not back")
	}
	// A receiver that leads inside is refused when it is called, whatever its URL looked like.
	want(t, 0, c.Alerts.PutReceiver, &adminv1.PutReceiverRequest{Receiver: `{"id":"inside","protocol":"webhook","url":"http://169.254.169.254/latest"}`})
	res, err := c.Alerts.TestReceiver(t.Context(), connect.NewRequest(&adminv1.TestReceiverRequest{Id: "inside"}))
	if err != nil || !strings.Contains(res.Msg.Failed, "169.254.169.254") {
		t.Errorf("%v %v", res, err)
	}
	file, err := c.Alerts.ExportRules(t.Context(), connect.NewRequest(&adminv1.ExportRulesRequest{}))
	if err != nil || !strings.Contains(string(file.Msg.File), "alert: high-error-rate") {
		t.Errorf("%v %v", file, err)
	}
}

// What nodes tell the leader is measured by the others too: whoever leads next knows what was before.
func TestMeasuredEverywhere(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.Machine("one", gpu.GiB)
	r.Gateway("gate", gateway.Config{})
	for _, c := range r.Running() {
		fleettest.Within(t, "the node is measured at "+c.Config.Name, func() bool {
			now := time.Now()
			curves, err := c.Monitor().Range(t.Context(), "skein_node_silent_seconds", nil, now.Add(-time.Minute), now, 15*time.Second)
			return err == nil && len(curves) == 1 && curves[0].Labels.Get("node") == "one"
		})
		for family, want := range map[string][]string{
			"skein_certificate_left_seconds": {"c1", "c2", "gate", "one"},
			"skein_disk_free_ratio":          {"c1", "c2", "gate", "one"},
			"skein_raft_apply_lag_entries":   {"c1", "c2"},

			"skein_gateway_results_spool_ratio": {"gate"},
		} {
			fleettest.Within(t, family+" of every member is measured at "+c.Config.Name, func() bool {
				now := time.Now()
				curves, err := c.Monitor().Range(t.Context(), family, nil, now.Add(-time.Minute), now, 15*time.Second)
				var got []string
				for _, curve := range curves {
					got = append(got, curve.Labels[0].Value)
				}
				slices.Sort(got)
				return err == nil && slices.Equal(got, want)
			})
		}
	}
}
