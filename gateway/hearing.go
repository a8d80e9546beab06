package gateway

import (
	"crypto/rand"
	"slices"
	"strings"

	"github.com/skein-project/skein/internal/toolcall"
)

// FinishCalls says that an answer ended with calls of functions, which the client is to make.
const FinishCalls Finish = "tool_calls"

// offer is what a request says about functions.
type offer struct {
	tools  []tool
	choice choice
	name   string // of the function that is to be called, for choiceNamed
	single bool   // at most one call
	begun  string // how the answer begins, which the model is given; "" = it begins itself
}

// choice is whether functions are called.
type choice int

const (
	choiceAuto  choice = iota // as the model sees fit
	choiceNone                // no
	choiceAny                 // yes
	choiceNamed               // this one
)

// check refuses what cannot be kept, and puts the functions into the conversation.
func (o *offer) check(t *text, c *conversation) error {
	if len(o.tools) == 0 {
		if o.choice == choiceAny || o.choice == choiceNamed {
			return invalid("tool_choice", "tool_choice asks for a call, and there are no tools")
		}
		return nil
	}
	seen := map[string]bool{}
	for _, f := range o.tools {
		if seen[f.name] {
			return invalid("tools", "tools: the function %s is there twice", f.name)
		}
		seen[f.name] = true
	}
	form := toolcall.FormOf(t.source)
	switch {
	case len(o.tools) > maxTools:
		return invalid("tools", "%d tools, at most %d", len(o.tools), maxTools)
	case o.choice == choiceNone:
		return nil
	case form == toolcall.Unknown:
		return invalid("tools", "tools are not supported by this model: its chat template has no form of calls that is known here")
	case o.choice == choiceNamed && !seen[o.name]:
		return invalid("tool_choice", "tool_choice: no function %.80q is in tools", o.name)
	case o.choice == choiceAny && len(o.tools) == 1:
		o.choice, o.name = choiceNamed, o.tools[0].name
	}
	if c.tools = o.tools; o.choice == choiceNamed {
		o.begun = form.Begin(t.source, o.name)
		if o.named().strict { // the constraint begins with the arguments
			o.begun, _ = form.Around(t.source, o.name)
			o.begun = strings.TrimRight(o.begun, " ")
		}
		c.force = o.begun
	}
	o.single = o.single || o.choice == choiceNamed || o.choice == choiceAny
	return nil
}

// named is the function that is to be called, for choiceNamed.
func (o *offer) named() tool {
	return o.tools[slices.IndexFunc(o.tools, func(f tool) bool { return f.name == o.name })]
}

// marks are the special tokens that show in the answer's text.
func (o *offer) marks(t *text) []string {
	if !o.heard() {
		return nil
	}
	return toolcall.FormOf(t.source).Marks()
}

// heard says that calls may come.
func (o *offer) heard() bool { return len(o.tools) > 0 && o.choice != choiceNone }

// hearing turns the pieces of an answer into text and calls.
type hearing struct {
	reader *toolcall.Reader
	form   toolcall.Form
	single bool
	begun  []toolcall.Event // by the answer's forced beginning
	calls  int
	over   bool
}

// part is a piece of text, or of a call.
type part struct {
	kind toolcall.Kind
	call int    // its number from 0; of every kind but Text
	id   string // of Call
	text string // of Text and Arguments; the function's name of Call
}

func (o *offer) hearing(t *text) *hearing {
	h := &hearing{single: o.single}
	if o.heard() {
		h.form = toolcall.FormOf(t.source)
	}
	var names []string
	for _, f := range o.tools {
		names = append(names, f.name)
	}
	h.reader = toolcall.NewReader(h.form, names)
	h.begun = h.reader.Push(o.begun)
	return h
}

// hear gives what a piece adds. enough says that the answer is to end here.
func (h *hearing) hear(p Piece) (parts []part, enough bool) {
	if h.over {
		return nil, true
	}
	events := slices.Concat(h.begun, h.reader.Push(p.Text))
	h.begun = nil
	if p.Finish != "" {
		events = append(events, h.reader.Close()...)
	}
	for _, e := range events {
		x := part{kind: e.Kind, call: h.calls, text: e.Text}
		switch e.Kind {
		case toolcall.Call:
			x.id = h.newID()
		case toolcall.End:
			h.calls++
			h.over = h.single
		}
		if parts = append(parts, x); h.over {
			return parts, true
		}
	}
	return parts, false
}

// newID is a new call's id, in the form that templates take.
func (h *hearing) newID() string {
	if h.form == toolcall.Listed {
		return rand.Text()[:9] // no more and no less
	}
	return newID("call_")
}

// finish is why the answer ended, for its client.
func (h *hearing) finish(f Finish) Finish {
	if f == FinishStop && h.calls > 0 {
		return FinishCalls
	}
	return f
}

// spoken is a whole answer.
type spoken struct {
	text  string
	calls []madeCall
}

type madeCall struct{ id, name, arguments string }

// add adds what was heard.
func (s *spoken) add(parts []part) {
	for _, p := range parts {
		switch p.kind {
		case toolcall.Text:
			s.text += p.text
		case toolcall.Call:
			s.calls = append(s.calls, madeCall{id: p.id, name: p.text})
		case toolcall.Arguments:
			s.calls[p.call].arguments += p.text
		}
	}
}
