package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skein-project/skein/alert"
)

const (
	idHeader        = "Skein-Notification"
	signatureHeader = "Skein-Signature"
	alertsPath      = "/api/v2/alerts"
)

// stays is how long Alertmanager takes an alert for open that it does not hear of again: a few of the loop's reminders.
const stays = 5 * time.Minute

// webhookMessage is the body of a webhook: version 4 of Alertmanager's.
type webhookMessage struct {
	Version           string            `json:"version"`
	ID                string            `json:"id"`
	Attempt           int               `json:"attempt"`
	GroupKey          string            `json:"groupKey"`
	TruncatedAlerts   int               `json:"truncatedAlerts"`
	Status            string            `json:"status"`
	Receiver          string            `json:"receiver"`
	GroupLabels       map[string]string `json:"groupLabels"`
	CommonLabels      map[string]string `json:"commonLabels"`
	CommonAnnotations map[string]string `json:"commonAnnotations"`
	ExternalURL       string            `json:"externalURL"`
	Alerts            []webhookAlert    `json:"alerts"`
}

type webhookAlert struct {
	Status string `json:"status"`
	postedAlert
	Fingerprint string `json:"fingerprint"`
}

// postedAlert is an alert of Alertmanager's API v2 (postableAlert).
type postedAlert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
}

// message is where a notification goes, and its body.
func (s *Sender) message(n alert.Notification, now time.Time) (target string, body []byte, err error) {
	u, err := url.Parse(n.Receiver.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", nil, errors.New("its URL is not valid")
	}
	if n.Receiver.Protocol == alert.Alertmanager {
		if !strings.HasSuffix(u.Path, alertsPath) {
			u = u.JoinPath(alertsPath)
		}
		list := make([]postedAlert, len(n.Incidents))
		for i := range n.Incidents {
			list[i] = s.posted(&n.Incidents[i], now)
		}
		body, err = json.Marshal(list)
		return u.String(), body, err
	}
	body, err = json.Marshal(s.webhook(n, now))
	return u.String(), body, err
}

func (s *Sender) webhook(n alert.Notification, now time.Time) webhookMessage {
	m := webhookMessage{
		Version: "4", ID: n.ID, Attempt: n.Attempt, Status: "resolved", Receiver: n.Receiver.ID, ExternalURL: s.External,
		Alerts: []webhookAlert{}, GroupLabels: map[string]string{},
	}
	for i := range n.Incidents {
		x := &n.Incidents[i]
		a := webhookAlert{Status: "resolved", postedAlert: s.posted(x, now), Fingerprint: alert.Fingerprint(x.Rule, x.Labels)}
		if x.Phase == alert.Open {
			a.Status, m.Status, a.EndsAt = "firing", "firing", time.Time{}
		}
		m.Alerts = append(m.Alerts, a)
		if i == 0 {
			m.CommonLabels, m.CommonAnnotations = maps.Clone(a.Labels), maps.Clone(a.Annotations)
		}
		common(m.CommonLabels, a.Labels)
		common(m.CommonAnnotations, a.Annotations)
	}
	by := n.Receiver.GroupBy
	if len(by) == 0 {
		by = []string{"alertname"}
	}
	for _, l := range by {
		if v, ok := m.CommonLabels[l]; ok {
			m.GroupLabels[l] = v
		}
	}
	m.GroupKey = fmt.Sprintf("{}:%s", labelText(m.GroupLabels))
	return m
}

// common drops what differs.
func common(all, one map[string]string) {
	maps.DeleteFunc(all, func(k, v string) bool { o, ok := one[k]; return !ok || o != v })
}

func labelText(m map[string]string) string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, k+"="+strconv.Quote(m[k]))
	}
	return "{" + strings.Join(list, ", ") + "}"
}

// posted is an incident as Alertmanager knows alerts.
func (s *Sender) posted(x *alert.Incident, now time.Time) postedAlert {
	a := postedAlert{
		Labels:      map[string]string{"alertname": x.Rule, "severity": string(x.Severity)},
		Annotations: map[string]string{"summary": x.Summary, "value": x.Value, "incident": x.ID},
		StartsAt:    x.Opened.At(), EndsAt: now.Add(stays), GeneratorURL: s.External,
	}
	if x.Phase != alert.Open {
		a.EndsAt = x.Ended.At()
	}
	for _, l := range x.Labels {
		a.Labels[l.Name] = l.Value
	}
	for name, v := range map[string]string{"runbook_url": x.Links.Runbook, "why": x.Links.Why, "requests": strings.Join(x.Links.Requests, " ")} {
		if v != "" {
			a.Annotations[name] = v
		}
	}
	return a
}

// sign proves to the receiver who sends.
func (s *Sender) sign(req *http.Request, r alert.Receiver, body []byte) {
	secret := s.Secret(r.ID)
	switch {
	case len(secret) == 0:
	case r.Protocol == alert.Alertmanager:
		req.Header.Set("Authorization", "Bearer "+string(secret))
	default:
		seconds := strconv.FormatInt(time.Now().Unix(), 10)
		req.Header.Set(signatureHeader, "t="+seconds+",v1="+hex.EncodeToString(mac(secret, seconds, body)))
	}
}

func mac(secret []byte, seconds string, body []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(seconds))
	h.Write([]byte{'.'})
	h.Write(body)
	return h.Sum(nil)
}

// ErrSignature says that a webhook was not signed with the secret, or too long ago.
var ErrSignature = errors.New("notify: the signature is not valid")

// Verify checks the signature of a webhook as a receiver does: within so much time before or after now. It fails with ErrSignature.
func Verify(header http.Header, body, secret []byte, now time.Time, within time.Duration) error {
	t, v, ok := strings.Cut(header.Get(signatureHeader), ",v1=")
	seconds, tok := strings.CutPrefix(t, "t=")
	at, err := strconv.ParseInt(seconds, 10, 64)
	got, hexErr := hex.DecodeString(v)
	if !ok || !tok || err != nil || hexErr != nil || len(secret) == 0 || now.Sub(time.Unix(at, 0)).Abs() > within || !hmac.Equal(got, mac(secret, seconds, body)) {
		return ErrSignature
	}
	return nil
}
