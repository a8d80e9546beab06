package batch

import (
	"slices"

	"github.com/skein-project/skein/engine/sample"
)

// next makes the next forward of a group: prefill chunks and decodes take turns, so that neither starves.
func (l *Loop) next(i int) *Forward {
	g := &l.groups[i]
	if g.flight != nil {
		return nil
	}
	var filling *sequence
	decoding := false
	for _, s := range g.rows {
		switch {
		case s == nil:
		case s.decodes():
			decoding = true
		case filling == nil || s.since.Before(filling.since) || s.since.Equal(filling.since) && s.ID < filling.ID:
			filling = s
		}
	}
	var f *Forward
	switch {
	case filling != nil && !(decoding && g.prefills):
		f = l.prefill(filling)
	case decoding:
		f = g.decode()
	default:
		return nil
	}
	g.prefills = f.Prefill
	g.number++
	f.Group, f.Number, g.flight = i, g.number, f
	return f
}

// decodes says that a sequence's next token is fed together with those of other rows. Its Begin goes with a prefill, were it of one token:
// the steps of other sequences are never larger for it, and no step has two.
func (s *sequence) decodes() bool {
	return !s.Hidden && s.past == len(s.tokens)-1 && (s.Begin == nil || s.given > 0)
}

// want asks for the token that follows all of a sequence; at is the last one's index in the forward.
func (s *sequence) want(at int) Want {
	w := Want{Token: at, Position: len(s.tokens), Sampling: s.Sampling}
	if w.Goes = s.Begin != nil && s.given > 0; !w.Goes {
		w.Begin = s.Begin
	}
	return w
}

// prefill feeds the next chunk of a prompt. Its last token is left to a chunk too: only then is something chosen.
func (l *Loop) prefill(s *sequence) *Forward {
	n := min(l.cfg.Chunk, len(s.tokens)-s.past)
	f := &Forward{Prefill: true, Row: s.row, Past: []int32{int32(s.past)}, Tokens: slices.Clone(s.tokens[s.past : s.past+n]), IDs: []ID{s.ID}}
	if f.Hidden = s.Hidden; !f.Hidden && s.past+n == len(s.tokens) {
		f.Wants = []Want{s.want(n - 1)}
	}
	return f
}

// decode feeds the last token of each sequence that has one waiting, over the rows from the group's first to the last such row.
// Rows between them step along with a dummy token just behind what their cache keeps, where the next real token overwrites it.
func (g *group) decode() *Forward {
	f := &Forward{Row: g.first}
	last := 0
	for i, s := range g.rows {
		past, token := int32(0), int32(0)
		if s != nil {
			past = int32(s.past)
			if s.decodes() {
				token = s.tokens[s.past]
				f.Wants = append(f.Wants, s.want(i))
				f.IDs = append(f.IDs, s.ID)
				last = i
			}
		}
		f.Past, f.Tokens = append(f.Past, past), append(f.Tokens, token)
	}
	f.Past, f.Tokens = f.Past[:last+1], f.Tokens[:last+1]
	return f
}

// result takes what came back for a group's forward. Anything else than the forward in flight is late and ignored.
func (l *Loop) result(r Result, out *Output) {
	if r.Group < 0 || r.Group >= len(l.groups) {
		return
	}
	g := &l.groups[r.Group]
	if g.flight == nil || g.flight.Number != r.Number {
		return
	}
	f := g.flight
	g.flight = nil
	defer g.sweep()
	if r.Failed == "" && len(r.Choices) != len(f.Wants) {
		r.Failed = "the last stage gave another number of tokens than were wanted"
	}
	if r.Failed != "" {
		for _, s := range g.rows {
			if s != nil && !s.gone {
				l.end(s)
				out.Refusals = append(out.Refusals, Refuse{s.ID, StageFailed, r.Failed})
			}
		}
		return
	}
	if f.Prefill {
		if s := g.rows[f.Row-g.first]; s != nil && !s.gone {
			s.past += len(f.Tokens)
			if f.Hidden {
				l.shown(s, r.Hidden, out)
			}
		}
	}
	for i, w := range f.Wants {
		at := f.Row - g.first
		if !f.Prefill {
			at += w.Token
		}
		if s := g.rows[at]; s != nil && !s.gone {
			if !f.Prefill {
				s.past++
			}
			l.chosen(s, r.Choices[i], out)
		}
	}
}

// shown passes hidden states on, and ends the sequence with the last of them.
func (l *Loop) shown(s *sequence, hidden []float32, out *Output) {
	e := Emit{ID: s.ID, Hidden: hidden}
	if s.past == len(s.tokens) {
		l.end(s)
		e.Finish = Stop
	}
	out.Emits = append(out.Emits, e)
}

// chosen appends a token to its sequence, or ends it. A token that nobody could choose ends only its own sequence.
func (l *Loop) chosen(s *sequence, c sample.Choice, out *Output) {
	if c.Failed != "" {
		l.end(s)
		reason := NoneFollows
		if c.Elsewhere {
			reason = StageFailed
		}
		out.Refusals = append(out.Refusals, Refuse{s.ID, reason, c.Failed})
		return
	}
	if c.Token == sample.End || slices.Contains(s.EOS, c.Token) {
		l.end(s)
		out.Emits = append(out.Emits, Emit{ID: s.ID, Finish: Stop})
		return
	}
	s.tokens = append(s.tokens, c.Token)
	s.given++
	e := Emit{ID: s.ID, Choice: &c}
	if s.given >= s.MaxTokens || len(s.tokens) >= l.cfg.Context {
		l.end(s)
		e.Finish = Length
	}
	out.Emits = append(out.Emits, e)
}
