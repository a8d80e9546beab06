package alert

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skein-project/skein/series"
)

// Limits of what is kept and sent.
const (
	MaxIncidents = 10_000               // kept: beyond it those that ended first are forgotten
	MaxAll       = 14_000               // kept and open: beyond it none opens
	KeptFor      = 30 * 24 * time.Hour  // that an incident is kept after it ended
	MaxTold      = 64                   // receivers that an incident remembers
	MaxLinks     = series.MaxSamples    // failing requests that an incident names
	MaxGroup     = 256                  // incidents of a notification
	MaxRepeat    = 365 * 24 * time.Hour // between two notifications of the same incident
)

// Phase says whether something is wrong still.
type Phase string

// Phases.
const (
	Open     Phase = "open"
	Resolved Phase = "resolved"
)

// Millis is a point in time in Unix milliseconds; 0 = never.
type Millis int64

// At is the point in time.
func (m Millis) At() time.Time { return time.UnixMilli(int64(m)).UTC() }

func millis(t time.Time) Millis { return Millis(t.UnixMilli()) }

// Ack says that somebody has taken an incident on. It is written by people, not by the loop.
type Ack struct {
	By      string `json:"by"`
	At      Millis `json:"at"`
	Comment string `json:"comment,omitempty"`
}

// Told is the last that a receiver was told of an incident.
type Told struct {
	Receiver string `json:"receiver"`
	Phase    Phase  `json:"phase"`
	At       Millis `json:"at"`
	Times    int    `json:"times"`            // that it was told of this phase
	Failed   string `json:"failed,omitempty"` // why it was given up
}

// Deed is what an incident had done.
type Deed struct {
	Kind   ActionKind `json:"kind"`
	At     Millis     `json:"at"`
	Failed string     `json:"failed,omitempty"` // why it was not done
}

// Links lead from an incident to what explains it.
type Links struct {
	Requests []string `json:"requests,omitempty"` // ids of requests that failed, each with that of its trace where it has one: "req-1 trace=4bf9…"
	Why      string   `json:"why,omitempty"`      // a command
	Runbook  string   `json:"runbook,omitempty"`
}

// Incident is that a rule's condition holds for a subject, from its opening until its end. It is committed: whoever leads next goes on
// from it.
type Incident struct {
	ID       string        `json:"id"`
	Rule     string        `json:"rule"`
	Severity Severity      `json:"severity"`
	Labels   series.Labels `json:"labels"` // those of the rule and of the subject
	Over     Scope         `json:"over"`
	Phase    Phase         `json:"phase"`
	Opened   Millis        `json:"opened"`
	Ended    Millis        `json:"ended,omitempty"`
	Value    string        `json:"value"` // that the condition compared, when it opened
	Summary  string        `json:"summary"`
	Why      string        `json:"why,omitempty"`   // it ended, if not because the condition no longer holds
	Flaps    int           `json:"flaps,omitempty"` // times that it opened again
	Links    Links         `json:"links,omitzero"`
	Ack      *Ack          `json:"ack,omitempty"`
	Told     []Told        `json:"told,omitempty"` // by receiver
	Deed     *Deed         `json:"deed,omitempty"`
	Rev      uint64        `json:"-"` // of the document; 0 = it is not committed yet
}

// Fingerprint tells apart what incidents are about: the rule and the labels. Incidents of one fingerprint are not open at the same time.
func Fingerprint(rule string, l series.Labels) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00", rule)
	for _, x := range l {
		fmt.Fprintf(h, "%s\x00%s\x00", x.Name, x.Value)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// newIncident opens an incident of a rule for a subject. Its name is of when the condition began to hold, so that it is the same when it
// has to be proposed again.
func newIncident(r *Rule, subject series.Labels, value float64, since, now time.Time) Incident {
	labels := subject
	for _, l := range r.Labels {
		labels = labels.With(l.Name, l.Value)
	}
	i := Incident{
		Rule: r.ID, Severity: r.Severity, Labels: labels, Over: r.Over, Phase: Open, Opened: millis(now), Value: show(value),
		ID: Fingerprint(r.ID, labels) + "-" + strconv.FormatInt(since.Unix(), 36),
	}
	i.describe(r)
	return i
}

// describe fills in what people read.
func (i *Incident) describe(r *Rule) {
	i.Severity = r.Severity
	i.Summary = fill(r.Annotations.Summary, func(name string) string {
		if name == "value" {
			return i.Value
		}
		return i.label(name)
	})
	i.Links.Runbook = r.Annotations.Runbook
	i.Links.Why = whyCommand(i.Over, i.Labels)
}

// label is a label as matchers see it: also the rule and its severity.
func (i *Incident) label(name string) string {
	switch name {
	case "rule", "alertname":
		return i.Rule
	case "severity":
		return string(i.Severity)
	}
	return i.Labels.Get(name)
}

func (i *Incident) fits(m series.Match) bool {
	for _, x := range m {
		if !slices.Contains(x.Values, i.label(x.Name)) {
			return false
		}
	}
	return true
}

func (i *Incident) fingerprint() string {
	f, _, _ := strings.Cut(i.ID, "-")
	return f
}

// whyCommand is the command that explains a subject.
func whyCommand(over Scope, l series.Labels) string {
	switch over {
	case OverVersion, OverNode:
		return "skein why " + l.Get(string(over))
	case OverDevice:
		return "skein why " + l.Get("Hostname")
	}
	return "skein why"
}

// told finds what a receiver was told last.
func (i *Incident) told(receiver string) Told {
	for _, t := range i.Told {
		if t.Receiver == receiver {
			return t
		}
	}
	return Told{Receiver: receiver}
}

// tell remembers what a receiver was told.
func (i *Incident) tell(t Told) {
	i.Told = slices.DeleteFunc(slices.Clone(i.Told), func(o Told) bool { return o.Receiver == t.Receiver })
	if len(i.Told) == MaxTold {
		i.Told = i.Told[1:]
	}
	i.Told = append(i.Told, t)
	slices.SortFunc(i.Told, func(a, b Told) int { return cmp.Compare(a.Receiver, b.Receiver) })
}

// Silence keeps incidents that match from being told. They still open and end.
type Silence struct {
	ID      string       `json:"id"`
	Match   series.Match `json:"match"` // of the labels of incidents, and rule and severity
	From    Millis       `json:"from"`
	Until   Millis       `json:"until"`
	By      string       `json:"by"`
	Comment string       `json:"comment"`
}

// Validate says with *Invalid why a silence is refused.
func (s *Silence) Validate() error {
	what := fmt.Sprintf("silence %.64q", s.ID)
	switch why := checkMatch(s.Match); {
	case !validID(s.ID):
		return &Invalid{What: what, Why: "the id is not valid"}
	case why != "":
		return &Invalid{What: what, Why: why}
	case len(s.Match) == 0:
		return &Invalid{What: what, Why: "it would silence everything: name a rule, a severity or a label"}
	case s.From >= s.Until || s.From < 0:
		return &Invalid{What: what, Why: "it ends before it begins"}
	case s.Until-s.From > Millis(366*Day/time.Millisecond):
		return &Invalid{What: what, Why: "it is longer than a year"}
	case len(s.By) > series.MaxValue || len(s.Comment) > MaxText || !text(s.By) || !text(s.Comment):
		return &Invalid{What: what, Why: "a text is too long"}
	}
	return nil
}

func silenced(list []Silence, i *Incident, now time.Time) bool {
	return slices.ContainsFunc(list, func(s Silence) bool {
		return millis(now) >= s.From && millis(now) < s.Until && i.fits(s.Match)
	})
}

// Protocol is how a receiver is told.
type Protocol string

// Protocols.
const (
	Webhook      Protocol = "webhook"      // JSON by POST, signed
	Alertmanager Protocol = "alertmanager" // its API v2
)

// Receiver is told of incidents.
type Receiver struct {
	ID       string       `json:"id"`
	Protocol Protocol     `json:"protocol"`
	URL      string       `json:"url"`
	Match    series.Match `json:"match,omitempty"`    // of the incidents it is told of, as in a silence; default all
	GroupBy  []string     `json:"group_by,omitempty"` // labels: incidents with the same values come together; default rule
	Wait     Duration     `json:"wait,omitempty"`     // for more of a group before it is told first; default 10 s
	Repeat   Duration     `json:"repeat,omitempty"`   // after which it is told again of what is open and not acknowledged; default 4 h
	Quiet    bool         `json:"quiet,omitempty"`    // it is not told when incidents end
	Disabled bool         `json:"disabled,omitempty"`
}

const (
	defaultWait   = 10 * time.Second
	defaultRepeat = 4 * time.Hour
	// alertmanagerRepeat is how often Alertmanager is told: it takes for resolved what it has not heard of for 5 min (resolve_timeout).
	alertmanagerRepeat = time.Minute
)

func (r *Receiver) wait() time.Duration { return cmp.Or(time.Duration(r.Wait), defaultWait) }

func (r *Receiver) repeat() time.Duration {
	if r.Protocol == Alertmanager {
		return alertmanagerRepeat
	}
	return cmp.Or(time.Duration(r.Repeat), defaultRepeat)
}

// Validate says with *Invalid why a receiver is refused. Whether its URL may be called is decided when it is.
func (r *Receiver) Validate() error {
	what := fmt.Sprintf("receiver %.64q", r.ID)
	why := checkMatch(r.Match)
	switch {
	case !validID(r.ID):
		why = "the id is not valid"
	case r.Protocol != Webhook && r.Protocol != Alertmanager:
		why = fmt.Sprintf("no protocol %.32q: want webhook or alertmanager", r.Protocol)
	case !strings.HasPrefix(r.URL, "https://") && !strings.HasPrefix(r.URL, "http://") || len(r.URL) > MaxText || !text(r.URL) || strings.Contains(r.URL, " "):
		why = fmt.Sprintf("its URL begins with https:// or http:// and has at most %d bytes", MaxText)
	case len(r.GroupBy) > MaxLabels || slices.ContainsFunc(r.GroupBy, func(l string) bool { return !validLabel(l) }):
		why = "group_by names labels"
	case r.Wait < 0 || time.Duration(r.Wait) > time.Hour || r.Repeat < 0 || time.Duration(r.Repeat) > MaxRepeat:
		why = fmt.Sprintf("wait is at most 1h, repeat at most %s", Duration(MaxRepeat))
	case r.Repeat > 0 && time.Duration(r.Repeat) < time.Minute:
		why = "repeat is at least 1m"
	}
	if why != "" {
		return &Invalid{What: what, Why: why}
	}
	return nil
}

// group is the key of the group of an incident.
func (r *Receiver) group(i *Incident) string {
	if len(r.GroupBy) == 0 {
		return i.Rule
	}
	var b strings.Builder
	for _, l := range r.GroupBy {
		b.WriteString(strconv.Quote(i.label(l)))
	}
	return b.String()
}

// Notification is what a receiver is to be told, once.
type Notification struct {
	ID        string     `json:"id"` // the same for the same message, also from another leader
	Receiver  Receiver   `json:"receiver"`
	Attempt   int        `json:"attempt"` // the first is 1
	Incidents []Incident `json:"incidents"`
}

// Sent is the outcome of a notification.
type Sent struct {
	ID        string
	Failed    string        // "" = it arrived
	Permanent bool          // it would fail again
	After     time.Duration // the receiver asks to wait so long at least
}
