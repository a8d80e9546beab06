package toolcall

import (
	"slices"
	"strings"
)

// Kind of an event.
type Kind int

// Kinds.
const (
	Text      Kind = iota // of the answer, beside calls
	Call                  // a call begins: Event.Text is the function's name
	Arguments             // a piece of the call's arguments, as the model writes them: JSON, unless the model errs
	End                   // the call is over
)

// Event is what a piece of text turned out to be.
type Event struct {
	Kind Kind
	Text string
}

// Reader reads an answer. A call is one of a function that was offered; whatever else looks like a call is text. White space beside calls is
// dropped. The zero Reader passes text on.
type Reader struct {
	form  Form
	names []string
	held  string
	state state
	scan  scanner // of arguments, and of what is behind them
	out   []Event

	space   string // before the mark: it is text if the mark is
	wrapped bool   // the arguments are within an object
	tagged  bool   // the call is not closed by its mark yet
	list    bool   // within [ ] of Listed
}

type state int

const (
	onlyText state = iota
	inText         // looks for a mark
	atStart        // of the answer: where Bare calls begin
	inHead         // behind the mark
	inArgs
	inTail // of the object of the call, behind its arguments
	behind // the call
)

// NewReader makes a reader of answers in a form, to a request that offers functions of these names.
func NewReader(f Form, names []string) *Reader {
	r := &Reader{form: f, names: names}
	switch f {
	case Tagged, Listed:
		r.state = inText
	case Bare:
		r.state = atStart
	}
	return r
}

// Push reads the next piece of the answer.
func (r *Reader) Push(text string) []Event {
	r.held += text
	for r.step() {
	}
	return r.take()
}

// Close ends the answer: what was held back is text, and a call that is not over ends where it is.
func (r *Reader) Close() []Event {
	switch r.state {
	case inArgs, inTail:
		r.emit(End, "")
	case inHead:
		r.emit(Text, r.space+r.opening()+r.held)
	case behind:
		r.emit(Text, strings.TrimSpace(r.held))
	default:
		r.emit(Text, r.held)
	}
	r.held, r.state = "", onlyText
	return r.take()
}

func (r *Reader) take() []Event {
	out := r.out
	r.out = nil
	return out
}

func (r *Reader) emit(k Kind, text string) {
	if text != "" || k == End {
		r.out = append(r.out, Event{k, text})
	}
}

// step reads what can be told for certain; false = more text is needed.
func (r *Reader) step() bool {
	if r.held == "" {
		return false
	}
	switch r.state {
	case inText:
		return r.text()
	case atStart:
		return r.start()
	case inHead:
		return r.head()
	case inArgs, inTail:
		return r.arguments()
	case behind:
		return r.next()
	}
	r.emit(Text, r.held)
	r.held = ""
	return false
}

// opening is the mark that calls begin with.
func (r *Reader) opening() string {
	switch {
	case r.form == Tagged:
		return tagOpen
	case r.form == Listed && !r.list:
		return listOpen
	}
	return ""
}

// text passes text on, up to a mark.
func (r *Reader) text() bool {
	mark := r.opening()
	if i := strings.Index(r.held, mark); i >= 0 {
		before := strings.TrimRight(r.held[:i], " \t\r\n")
		r.emit(Text, before)
		r.space = r.held[len(before):i]
		r.held, r.state, r.tagged = r.held[i+len(mark):], inHead, r.form == Tagged
		return true
	}
	keep := 0
	for n := min(len(mark)-1, len(r.held)); n > 0 && keep == 0; n-- {
		if strings.HasSuffix(r.held, mark[:n]) {
			keep = n
		}
	}
	certain := strings.TrimRight(r.held[:len(r.held)-keep], " \t\r\n")
	r.emit(Text, certain)
	r.held = r.held[len(certain):]
	return false
}

// start looks for a call where one may begin in the form Bare.
func (r *Reader) start() bool {
	i := skipSpace(r.held, 0)
	rest := r.held[i:]
	if strings.HasPrefix(rest, pythonTag) {
		if rest = rest[len(pythonTag):]; skipSpace(rest, 0) < len(rest) {
			rest = rest[skipSpace(rest, 0):]
		} else {
			return false
		}
	} else if strings.HasPrefix(pythonTag, rest) {
		return false
	}
	switch h, v := objectHead(window(rest)); {
	case v == more && len(rest) < maxHead:
		return false
	case v == yes && r.offered(h.name):
		r.held = rest
		r.begin(h)
	default:
		r.state = onlyText
	}
	return true
}

func (r *Reader) offered(name string) bool { return slices.Contains(r.names, name) }

// window is what is looked at for the head of a call in text.
func window(text string) string { return text[:min(len(text), maxHead)] }

// head reads what is behind a mark.
func (r *Reader) head() bool {
	w := window(r.held)
	if i := skipSpace(w, 0); r.form == Listed && !r.list && i < len(w) {
		switch w[i] {
		case '[':
			h, v := objectHead(w[i+1:])
			h.after += i + 1
			certain := r.judge(h, v)
			r.list = r.state != inText && certain
			return certain
		case '{':
		default:
			return r.judge(namedHead(w))
		}
	}
	return r.judge(objectHead(w))
}

// judge begins the call, or makes text of what is none.
func (r *Reader) judge(h head, v verdict) bool {
	switch {
	case v == more && len(r.held) < maxHead:
		return false
	case v == yes && r.offered(h.name):
		r.begin(h)
	case r.list: // within a list there are no other texts
		r.list, r.state = false, onlyText
	default:
		r.emit(Text, r.space+r.opening())
		r.space, r.state = "", inText
	}
	return true
}

// begin begins the call whose head held begins with.
func (r *Reader) begin(h head) {
	r.held, r.space = r.held[h.after:], ""
	r.emit(Call, h.name)
	if h.args != "" {
		r.emit(Arguments, h.args)
		r.end()
		return
	}
	r.scan, r.wrapped, r.state = scanner{}, h.wrapped, inArgs
}

func (r *Reader) end() {
	r.emit(End, "")
	r.state = behind
}

// arguments passes arguments on, and passes over what is behind them in the object of the call.
func (r *Reader) arguments() bool {
	for i := range len(r.held) {
		cut := r.form == Tagged && r.held[i] == '<' && !r.scan.quoted // no JSON has that
		if !cut {
			r.scan.step(r.held[i])
		}
		if !cut && !r.scan.closed() {
			continue
		}
		n := i + 1
		if cut {
			n = i
		}
		inside := r.state == inArgs
		if inside {
			r.emit(Arguments, r.held[:n])
		}
		r.held = r.held[n:]
		if inside && r.wrapped && !cut {
			r.scan, r.state = scanner{depth: 1, begun: true}, inTail
		} else {
			r.end()
		}
		return true
	}
	if r.state == inArgs {
		r.emit(Arguments, r.held)
	}
	r.held = ""
	return false
}

// next finds out what follows a call.
func (r *Reader) next() bool {
	r.held = r.held[skipSpace(r.held, 0):]
	switch {
	case r.held == "":
		return false
	case r.tagged && strings.HasPrefix(r.held, tagClose):
		r.held, r.tagged = r.held[len(tagClose):], false
	case r.tagged && strings.HasPrefix(tagClose, r.held):
		return false
	case r.form == Bare && r.held[0] == ';':
		r.held, r.state = r.held[1:], atStart
	case r.form == Bare && (r.held[0] == '{' || strings.HasPrefix(r.held, pythonTag)):
		r.state = atStart
	case r.form == Bare && strings.HasPrefix(pythonTag, r.held):
		return false
	case r.form == Bare:
		r.state = onlyText
	case r.list && r.held[0] == ',':
		r.held, r.state = r.held[1:], inHead
	case r.list && r.held[0] == ']':
		r.held, r.list = r.held[1:], false
	default:
		r.list, r.tagged, r.state = false, false, inText
	}
	return true
}
