package gateway

import (
	"crypto/rand"
	"fmt"
	"slices"

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
	case o.choice == choiceAny && len(o.tools) > 1:
		return invalid("tool_choice", "tool_choice: that one of several functions is called is not enforced: name one, or let the model choose")
	case o.choice == choiceNamed && !seen[o.name]:
		return invalid("tool_choice", "tool_choice: no function %.80q is in tools", o.name)
	case o.choice == choiceAny:
		o.choice, o.name = choiceNamed, o.tools[0].name
	}
	if c.tools = o.tools; o.choice == choiceNamed {
		o.single = true
		c.force = form.Begin(t.source, o.name)
	}
	return nil
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
	if o.choice == choiceNamed {
		h.begun = h.reader.Push(h.form.Begin(t.source, o.name))
	}
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

// enforced refuses to accept what nothing here makes sure of.
func enforced(param string, strict *bool) error {
	if strict != nil && *strict {
		return invalid(param, "%s: that arguments follow the schema is not enforced by this server: send strict false", param)
	}
	return nil
}

// formatted refuses every form of answer but plain text: nothing here constrains what a model writes.
func formatted(param, kind string) error {
	switch kind {
	case "text", "":
		return nil
	case "json_object", "json_schema":
		return invalid(param, "%s: %s is not enforced by this server, so it is refused: ask for it in the messages, with type text", param, kind)
	}
	return invalid(param, "%s", fmt.Sprintf("%s: %.40q, want text", param, kind))
}
