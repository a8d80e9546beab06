package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/alert"
	"github.com/skein-project/skein/alert/defaults"
	"github.com/skein-project/skein/alert/kept"
	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/strictjson"
	"github.com/skein-project/skein/results"
	"github.com/skein-project/skein/series"
	"github.com/skein-project/skein/wire"
)

// Watcher is what measures and watches in the process that this API runs in.
type Watcher interface {
	Check(ctx context.Context, r alert.Rule) error
	Try(ctx context.Context, r alert.Rule, from, until time.Time) ([]alert.Incident, error)
	Prometheus(ctx context.Context, rules []alert.Rule) ([]byte, error)
	Range(ctx context.Context, family string, match series.Match, from, until time.Time, step time.Duration) ([]series.Curve, error)
	Test(ctx context.Context, r alert.Receiver) alert.Sent
	Notes() []alert.Note
}

type alerts struct{ *Handler }

var _ adminv1connect.AlertServiceHandler = alerts{}

// parse reads a JSON object that a client sends. It means one thing only: no key twice, nothing after it. A field that does not exist is a mistake of its author.
func parse[T any](what, text string) (v T, err error) {
	if len(text) > cluster.MaxDocument {
		return v, invalid("%s: %d bytes, at most %d are allowed", what, len(text), cluster.MaxDocument)
	}
	if err := strictjson.Check([]byte(text), strictjson.Limits{Bytes: cluster.MaxDocument, Depth: cluster.MaxDepth, Values: cluster.MaxDocument}); err != nil {
		return v, invalid("%s: %v", what, err)
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, invalid("%s: %v", what, err)
	}
	return v, nil
}

// texts writes values as JSON objects.
func texts[T any](list []T) (out []string, err error) {
	for _, v := range list {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		out = append(out, string(b))
	}
	return out, nil
}

// documents reads all documents of a kind.
func documents[T any](s cluster.State, k cluster.Kind) (list []T, err error) {
	for d := range s.Documents(k) {
		v, err := kept.Read[T](d)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// put creates or changes a document.
func (h *Handler) put(ctx context.Context, k cluster.Kind, id string, v any) error {
	doc, err := kept.Document(k, id, v)
	if err != nil {
		return err
	}
	return h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		old, _ := s.Document(doc.DocumentID)
		return cluster.PutDocument{Document: doc, Was: old.Rev}, nil
	})
}

// drop deletes a document.
func (h *Handler) drop(ctx context.Context, k cluster.Kind, id string) error {
	return h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		old, ok := s.Document(cluster.DocumentID{Kind: k, ID: id})
		if !ok {
			return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("the %s %.80q does not exist", word(k), id))
		}
		return cluster.DeleteDocument{ID: old.DocumentID, Was: old.Rev}, nil
	})
}

// word is a kind of documents for people.
func word(k cluster.Kind) string {
	switch k {
	case cluster.AlertRule:
		return "rule"
	case cluster.AlertSilence:
		return "silence"
	case cluster.Receiver, cluster.Incident:
		return string(k)
	case cluster.Provider:
		return "provider"
	case cluster.RoleBinding:
		return "grant"
	case cluster.KeepPolicy:
		return "policy"
	case cluster.AnswerView:
		return "view"
	}
	return "document"
}

// rules are the rules in force.
func (h alerts) rules() ([]alert.Rule, error) {
	own, err := documents[alert.Rule](h.c.Live().Now(), cluster.AlertRule)
	return kept.Rules(own), err
}

// ListRules implements skein.admin.v1.
func (h alerts) ListRules(context.Context, *connect.Request[adminv1.ListRulesRequest]) (*connect.Response[adminv1.ListRulesResponse], error) {
	rules, err := h.rules()
	if err != nil {
		return nil, err
	}
	res := &adminv1.ListRulesResponse{}
	if res.Rules, err = texts(rules); err != nil {
		return nil, err
	}
	for _, n := range h.watcher.Notes() {
		res.Notes = append(res.Notes, n.Subject+": "+n.Why)
	}
	return connect.NewResponse(res), nil
}

// PutRule implements skein.admin.v1.
func (h alerts) PutRule(ctx context.Context, r *connect.Request[adminv1.PutRuleRequest]) (*connect.Response[adminv1.PutRuleResponse], error) {
	rule, err := parse[alert.Rule]("rule", r.Msg.Rule)
	if err == nil {
		err = h.watcher.Check(ctx, rule)
	}
	if err == nil && !r.Msg.ValidateOnly {
		err = h.put(ctx, cluster.AlertRule, rule.ID, rule)
	}
	return connect.NewResponse(&adminv1.PutRuleResponse{}), err
}

// DeleteRule implements skein.admin.v1.
func (h alerts) DeleteRule(ctx context.Context, r *connect.Request[adminv1.DeleteRuleRequest]) (*connect.Response[adminv1.DeleteRuleResponse], error) {
	_, own := h.c.Live().Now().Document(cluster.DocumentID{Kind: cluster.AlertRule, ID: r.Msg.Id})
	if !own && slices.ContainsFunc(defaults.Rules(), func(d alert.Rule) bool { return d.ID == r.Msg.Id }) {
		return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("%s is a default rule: put it with \"disabled\": true to switch it off", r.Msg.Id))
	}
	return connect.NewResponse(&adminv1.DeleteRuleResponse{}), h.drop(ctx, cluster.AlertRule, r.Msg.Id)
}

// span reads a time that is asked about; until 0 is now.
func span(from, until int64) (a, b time.Time) {
	b = time.Now()
	if until != 0 {
		b = time.UnixMilli(until)
	}
	return time.UnixMilli(from), b
}

// TryRule implements skein.admin.v1.
func (h alerts) TryRule(ctx context.Context, r *connect.Request[adminv1.TryRuleRequest]) (*connect.Response[adminv1.TryRuleResponse], error) {
	rule, err := parse[alert.Rule]("rule", r.Msg.Rule)
	if err != nil {
		return nil, err
	}
	from, until := span(r.Msg.FromMs, r.Msg.UntilMs)
	list, err := h.watcher.Try(ctx, rule, from, until)
	if err != nil {
		return nil, err
	}
	out, err := texts(list)
	return connect.NewResponse(&adminv1.TryRuleResponse{Incidents: out}), err
}

// ExportRules implements skein.admin.v1.
func (h alerts) ExportRules(ctx context.Context, _ *connect.Request[adminv1.ExportRulesRequest]) (*connect.Response[adminv1.ExportRulesResponse], error) {
	rules, err := h.rules()
	if err != nil {
		return nil, err
	}
	file, err := h.watcher.Prometheus(ctx, rules)
	return connect.NewResponse(&adminv1.ExportRulesResponse{File: file}), err
}

// ListIncidents implements skein.admin.v1.
func (h alerts) ListIncidents(_ context.Context, r *connect.Request[adminv1.ListIncidentsRequest]) (*connect.Response[adminv1.ListIncidentsResponse], error) {
	list, err := documents[alert.Incident](h.c.Live().Now(), cluster.Incident)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(i alert.Incident) bool { return !r.Msg.All && i.Phase != alert.Open })
	slices.SortStableFunc(list, func(a, b alert.Incident) int { return cmp.Compare(b.Opened, a.Opened) })
	out, err := texts(list)
	return connect.NewResponse(&adminv1.ListIncidentsResponse{Incidents: out}), err
}

// Acknowledge implements skein.admin.v1.
func (h alerts) Acknowledge(ctx context.Context, r *connect.Request[adminv1.AcknowledgeRequest]) (*connect.Response[adminv1.AcknowledgeResponse], error) {
	if len(r.Msg.Comment) > alert.MaxText {
		return nil, invalid("a comment of %d bytes, at most %d are allowed", len(r.Msg.Comment), alert.MaxText)
	}
	err := h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		old, ok := s.Document(cluster.DocumentID{Kind: cluster.Incident, ID: r.Msg.Id})
		if !ok {
			return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("the incident %.80q does not exist", r.Msg.Id))
		}
		i, err := kept.Read[alert.Incident](old)
		if err != nil {
			return nil, err
		}
		i.Ack = &alert.Ack{By: callerOf(ctx).String(), At: alert.Millis(h.now()), Comment: r.Msg.Comment}
		doc, err := kept.Document(cluster.Incident, i.ID, i)
		return cluster.PutDocument{Document: doc, Was: old.Rev}, err
	})
	return connect.NewResponse(&adminv1.AcknowledgeResponse{}), err
}

// ListSilences implements skein.admin.v1.
func (h alerts) ListSilences(context.Context, *connect.Request[adminv1.ListSilencesRequest]) (*connect.Response[adminv1.ListSilencesResponse], error) {
	list, err := documents[alert.Silence](h.c.Live().Now(), cluster.AlertSilence)
	if err != nil {
		return nil, err
	}
	out, err := texts(list)
	return connect.NewResponse(&adminv1.ListSilencesResponse{Silences: out}), err
}

// PutSilence implements skein.admin.v1.
func (h alerts) PutSilence(ctx context.Context, r *connect.Request[adminv1.PutSilenceRequest]) (*connect.Response[adminv1.PutSilenceResponse], error) {
	s, err := parse[alert.Silence]("silence", r.Msg.Silence)
	if err != nil {
		return nil, err
	}
	if s.ID == "" {
		s.ID = "silence-" + string(wire.NewID())[:8]
	}
	if s.From == 0 {
		s.From = alert.Millis(h.now())
	}
	s.By = callerOf(ctx).String()
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return connect.NewResponse(&adminv1.PutSilenceResponse{Id: s.ID}), h.put(ctx, cluster.AlertSilence, s.ID, s)
}

// DeleteSilence implements skein.admin.v1.
func (h alerts) DeleteSilence(ctx context.Context, r *connect.Request[adminv1.DeleteSilenceRequest]) (*connect.Response[adminv1.DeleteSilenceResponse], error) {
	return connect.NewResponse(&adminv1.DeleteSilenceResponse{}), h.drop(ctx, cluster.AlertSilence, r.Msg.Id)
}

// ListReceivers implements skein.admin.v1.
func (h alerts) ListReceivers(ctx context.Context, _ *connect.Request[adminv1.ListReceiversRequest]) (*connect.Response[adminv1.ListReceiversResponse], error) {
	list, err := documents[alert.Receiver](h.c.Live().Now(), cluster.Receiver)
	if err != nil {
		return nil, err
	}
	if !callerOf(ctx).May(accessv1.Permission_PERMISSION_ALERTS_WRITE) {
		for i, r := range list {
			list[i].URL = hostOf(r.URL)
		}
	}
	out, err := texts(list)
	return connect.NewResponse(&adminv1.ListReceiversResponse{Receivers: out}), err
}

// hostOf leaves of a URL what shows where it leads: the rest may be a secret.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host + "/…"
}

// PutReceiver implements skein.admin.v1.
func (h alerts) PutReceiver(ctx context.Context, r *connect.Request[adminv1.PutReceiverRequest]) (*connect.Response[adminv1.PutReceiverResponse], error) {
	x, err := parse[alert.Receiver]("receiver", r.Msg.Receiver)
	if err == nil {
		err = x.Validate()
	}
	if err == nil {
		err = h.put(ctx, cluster.Receiver, x.ID, x)
	}
	return connect.NewResponse(&adminv1.PutReceiverResponse{}), err
}

// DeleteReceiver implements skein.admin.v1.
func (h alerts) DeleteReceiver(ctx context.Context, r *connect.Request[adminv1.DeleteReceiverRequest]) (*connect.Response[adminv1.DeleteReceiverResponse], error) {
	return connect.NewResponse(&adminv1.DeleteReceiverResponse{}), h.drop(ctx, cluster.Receiver, r.Msg.Id)
}

// TestReceiver implements skein.admin.v1.
func (h alerts) TestReceiver(ctx context.Context, r *connect.Request[adminv1.TestReceiverRequest]) (*connect.Response[adminv1.TestReceiverResponse], error) {
	d, ok := h.c.Live().Now().Document(cluster.DocumentID{Kind: cluster.Receiver, ID: r.Msg.Id})
	if !ok {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("the receiver %.80q does not exist", r.Msg.Id))
	}
	x, err := kept.Read[alert.Receiver](d)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&adminv1.TestReceiverResponse{Failed: h.watcher.Test(ctx, x).Failed}), nil
}

// GetSeries implements skein.admin.v1.
func (h alerts) GetSeries(ctx context.Context, r *connect.Request[adminv1.GetSeriesRequest]) (*connect.Response[adminv1.GetSeriesResponse], error) {
	var match series.Match
	for name, value := range r.Msg.Labels {
		match = append(match, series.Matcher{Name: name, Values: []string{value}})
	}
	from, until := span(r.Msg.FromMs, r.Msg.UntilMs)
	curves, err := h.watcher.Range(ctx, r.Msg.Family, match, from, until, time.Duration(r.Msg.StepMs)*time.Millisecond)
	if err != nil {
		return nil, err
	}
	res := &adminv1.GetSeriesResponse{}
	for _, c := range curves {
		out := &adminv1.Curve{Labels: map[string]string{}}
		for _, l := range c.Labels {
			out.Labels[l.Name] = l.Value
		}
		for _, p := range c.Points {
			out.Points = append(out.Points, &adminv1.SeriesPoint{At: p.At, Min: p.Min, Avg: p.Avg, Max: p.Max, Sum: p.Sum})
		}
		res.Curves = append(res.Curves, out)
	}
	return connect.NewResponse(res), nil
}

// wrong says that an error of alerting is about what the client sent.
func wrong(err error) bool {
	return errors.As(err, new(*alert.Invalid)) || errors.As(err, new(*results.Invalid)) || errors.Is(err, series.ErrUnknown) || errors.Is(err, series.ErrKind) || errors.Is(err, series.ErrLabels) || errors.Is(err, series.ErrRange)
}
