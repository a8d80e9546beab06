package jinja

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// SyntaxError says where and why a template cannot be parsed. Line and Col count from 1, Col in code points.
type SyntaxError struct {
	Line, Col int
	Msg       string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("template line %d column %d: %s", e.Line, e.Col, e.Msg)
}

// LimitError says which limit stopped a template. What names the limit and its unit.
type LimitError struct {
	What  string
	Limit int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("template exceeds the limit of %d %s", e.Limit, e.What)
}

// RaisedError carries the message a template gave to raise_exception: the conversation is not one it accepts.
type RaisedError struct {
	Msg string
}

func (e *RaisedError) Error() string { return "template refused: " + e.Msg }

// RuntimeError says why a well-formed template failed on these variables. Line counts from 1; 0 is before the
// first line.
type RuntimeError struct {
	Line int
	Msg  string
}

func (e *RuntimeError) Error() string {
	return fmt.Sprintf("template line %d: %s", e.Line, e.Msg)
}

// fault carries an error up to Parse or Render; nothing between them recovers it.
type fault struct{ err error }

func fail(err error) { panic(fault{err}) }

// failf stops the render with a RuntimeError; Render fills in the line.
func failf(format string, a ...any) {
	panic(fault{&RuntimeError{Msg: fmt.Sprintf(format, a...)}})
}

// failSyntax stops the parse at byte pos of src.
func failSyntax(src string, pos int, msg string) {
	before := src[:pos]
	col := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	fail(&SyntaxError{Line: strings.Count(before, "\n") + 1, Col: col, Msg: msg})
}

// catch turns a fault into the returned error, and lets every other panic pass.
func catch(err *error) {
	switch p := recover().(type) {
	case nil:
	case fault:
		*err = p.err
	default:
		panic(p)
	}
}

// locate adds the line being evaluated to a runtime error.
func (r *run) locate(err *error) {
	p := recover()
	if p == nil {
		return
	}
	f, ok := p.(fault)
	if !ok {
		panic(p)
	}
	var re *RuntimeError
	if errors.As(f.err, &re) && re.Line == 0 {
		re.Line = r.line
	}
	*err = f.err
}
