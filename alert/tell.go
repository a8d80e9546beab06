package alert

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// answers takes in the outcomes of notifications.
func (s *step) answers() {
	for _, sent := range s.in.Sent {
		if x := s.sends[sent.ID]; x != nil && (x.again.IsZero() || sent.Failed == "") {
			s.answer(sent.ID, x, sent)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.sends)) {
		if x := s.sends[id]; x.again.IsZero() && s.now.Sub(x.at) >= s.config.SendFor {
			s.answer(id, x, Sent{ID: id, Failed: "no outcome within " + Duration(s.config.SendFor).String()})
		}
	}
}

// answer settles a notification, or has it tried again later.
func (s *step) answer(id string, x *sending, sent Sent) {
	if sent.Failed != "" && !sent.Permanent && x.attempt < s.config.Attempts {
		wait := s.config.Backoff << min(x.attempt-1, 10)
		wait = max(min(wait, s.config.MaxSilent), min(sent.After, s.config.MaxSilent))
		x.again, x.why = s.now.Add(wait), sent.Failed
		return
	}
	delete(s.sends, id)
	failed := sent.Failed
	if len(failed) > MaxText {
		failed = strings.ToValidUTF8(failed[:MaxText], "")
	}
	for _, it := range x.items {
		if it.times > 1 && x.reminds {
			s.fresh[toldTo{x.receiver, it.incident}] = s.now
			continue
		}
		s.told[it.incident] = append(s.told[it.incident], Told{Receiver: x.receiver, Phase: it.phase, At: millis(s.now), Times: it.times, Failed: failed})
	}
}

// record has outcomes committed.
func (s *step) record() {
	for _, id := range slices.Sorted(maps.Keys(s.told)) {
		x := s.by[id]
		if x == nil {
			delete(s.told, id)
			continue
		}
		next := *x
		for _, t := range s.told[id] {
			if t.after(next.told(t.Receiver)) {
				next.tell(t)
			}
		}
		if slices.Equal(next.Told, x.Told) {
			delete(s.told, id)
			continue
		}
		s.change(next, "told", nil)
	}
}

// after says that an outcome is newer than what is committed. Times are not compared: clocks are set back.
func (t Told) after(o Told) bool { return t.Phase != o.Phase || t.Times > o.Times }

// send says what receivers are to be told now.
func (s *step) send() {
	for i := range s.in.Receivers {
		if r := &s.in.Receivers[i]; !r.Disabled {
			s.receiver(r)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.sends)) {
		x := s.sends[id]
		if !slices.ContainsFunc(s.in.Receivers, func(r Receiver) bool { return r.ID == x.receiver && !r.Disabled }) {
			delete(s.sends, id)
		} else if x.again.IsZero() {
			s.wakeAt(x.at.Add(s.config.SendFor))
		}
	}
}

// receiver sends what one receiver is to be told: a notification for each group that has something due.
func (s *step) receiver(r *Receiver) {
	groups := map[string][]item{}
	due := map[string]time.Time{}
	for i := range s.in.Incidents {
		x := &s.in.Incidents[i]
		it, at, ok := s.item(r, x)
		if !ok {
			continue
		}
		key := r.group(x)
		groups[key] = append(groups[key], it)
		if first, ok := due[key]; !ok || at.Before(first) {
			due[key] = at
		}
	}
	busy := map[string]*sending{}
	for _, id := range slices.Sorted(maps.Keys(s.sends)) {
		if x := s.sends[id]; x.receiver == r.ID {
			busy[x.group] = x
		}
	}
	for _, key := range slices.Sorted(maps.Keys(busy)) {
		if len(groups[key]) == 0 && !busy[key].again.IsZero() {
			s.drop(busy[key]) // there is nothing to say any more
		}
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		switch x := busy[key]; {
		case x != nil && x.again.IsZero(): // one at a time
		case x != nil && s.now.Before(x.again):
			s.wakeAt(x.again)
		case x == nil && s.now.Before(due[key]):
			s.wakeAt(due[key])
		default:
			s.notify(r, key, groups[key], x)
		}
	}
}

func (s *step) drop(x *sending) {
	maps.DeleteFunc(s.sends, func(_ string, o *sending) bool { return o == x })
}

// item is what a receiver is to be told of an incident, and when.
func (s *step) item(r *Receiver, x *Incident) (item, time.Time, bool) {
	if !x.fits(r.Match) || silenced(s.in.Silences, x, s.now) || len(s.told[x.ID]) > 0 && s.toldLately(r, x) {
		return item{}, time.Time{}, false
	}
	t := x.told(r.ID)
	switch {
	case x.Phase == Open && t.Phase != Open:
		if x.Ack != nil {
			return item{}, time.Time{}, false
		}
		return item{x.ID, Open, 1, x.Flaps}, s.past(x.Opened).Add(r.wait()), true
	case x.Phase == Open:
		if x.Ack != nil && r.Protocol != Alertmanager { // which forgets what it does not hear of
			return item{}, time.Time{}, false
		}
		at := s.past(t.At)
		if last, ok := s.fresh[toldTo{r.ID, x.ID}]; ok && last.After(at) {
			at = last
		}
		at = at.Add(r.repeat())
		if s.now.Before(at) {
			s.wakeAt(at)
			return item{}, time.Time{}, false
		}
		return item{x.ID, Open, t.Times + 1, x.Flaps}, at, true
	case t.Phase == Open && !r.Quiet && t.Failed == "":
		return item{x.ID, Resolved, 1, x.Flaps}, s.past(x.Ended), true
	}
	return item{}, time.Time{}, false
}

// past is a committed time, or long ago if it lies in the future because a clock was wrong.
func (s *step) past(m Millis) time.Time {
	if t := m.At(); t.Before(s.now.Add(jump)) {
		return t
	}
	return time.Time{}
}

// toldLately says that the outcome of telling a receiver is not committed yet.
func (s *step) toldLately(r *Receiver, x *Incident) bool {
	return slices.ContainsFunc(s.told[x.ID], func(t Told) bool { return t.Receiver == r.ID && t.after(x.told(r.ID)) })
}

// notify sends a notification, or tries one again.
func (s *step) notify(r *Receiver, key string, items []item, was *sending) {
	if len(s.sendings) == MaxSends {
		s.wakeAt(s.now.Add(time.Second))
		return
	}
	items = items[:min(len(items), MaxGroup)]
	slices.SortFunc(items, func(a, b item) int { return strings.Compare(a.incident, b.incident) })
	x := &sending{receiver: r.ID, group: key, items: items, attempt: 1, at: s.now, reminds: r.Protocol == Alertmanager}
	if was != nil {
		x.attempt, x.why = was.attempt+1, was.why
		s.drop(was)
	}
	n := Notification{ID: notificationID(r.ID, items), Receiver: *r, Attempt: x.attempt}
	for _, it := range items {
		n.Incidents = append(n.Incidents, *s.by[it.incident])
	}
	s.sends[n.ID] = x
	s.sendings = append(s.sendings, n)
	s.wakeAt(s.now.Add(s.config.SendFor))
}

// notificationID names what is told to whom.
func notificationID(receiver string, items []item) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00", receiver)
	for _, it := range items {
		fmt.Fprintf(h, "%s\x00%s\x00%d\x00%d\x00", it.incident, it.phase, it.times, it.flaps)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
