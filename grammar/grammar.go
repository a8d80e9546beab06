// Package grammar says which tokens may follow in an answer that must have a given form: JSON, JSON Schema, a regular expression, choices.
package grammar

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Source says what an answer must look like. Exactly one field is set. It travels as JSON.
type Source struct {
	Object  bool            `json:"object,omitempty"`  // any JSON object
	Schema  json.RawMessage `json:"schema,omitempty"`  // JSON Schema 2020-12, the subset that is enforced, see Compile
	Regex   string          `json:"regex,omitempty"`   // RE2 syntax subset, anchored at both ends
	Choice  []string        `json:"choice,omitempty"`  // one of these texts
	Literal string          `json:"literal,omitempty"` // this text
	Seq     []Source        `json:"seq,omitempty"`     // one after the other
	Alt     []Source        `json:"alt,omitempty"`     // one of them
	Free    *Free           `json:"free,omitempty"`    // free text in which a marker begins a part that is constrained
}

// Free is any text in UTF-8. Where Marker appears, Then must follow, and free text goes on behind it. With Times > 0 Marker appears at most
// Times times. Without Marker it is any text.
type Free struct {
	Marker string `json:"marker,omitempty"`
	Then   Source `json:"then"`
	Times  int    `json:"times,omitempty"`
}

// ErrMalformed is wrapped by errors of Compile about a source that is no source, no schema or no regular expression, or that no text fits.
var ErrMalformed = errors.New("malformed grammar")

// ErrRejected is wrapped by the error of Take for a token that may not follow.
var ErrRejected = errors.New("token may not follow")

// ErrStuck says that no token of the vocabulary may follow and the answer may not end: the vocabulary lacks a byte that the grammar needs.
var ErrStuck = errors.New("no token may follow")

// Unsupported is a keyword, or a use of it, that would not be enforced. Path is a JSON pointer (RFC 6901) into the schema to what holds it.
type Unsupported struct{ Keyword, Path string }

func (e *Unsupported) Error() string {
	return fmt.Sprintf("not enforced, so refused: %s at %q", e.Keyword, "#"+e.Path)
}

// TooLarge is a limit that a source exceeds.
type TooLarge struct {
	What  string // with its unit
	Limit int
}

func (e *TooLarge) Error() string {
	return fmt.Sprintf("grammar too large: more than %d %s", e.Limit, e.What)
}

// Grammar is a compiled source. It and its matchers share a cache: one goroutine uses them at a time.
type Grammar struct {
	nodes   []node
	start   int32
	need    []int32 // by node: frames that the shortest way to the end needs; never: there is no way
	deepest int32   // the largest need that is not never
	char    int32   // the part of one character of a string; end: there is none
	class   [256]uint8
	classes int
	last    *cache // of the vocabulary that Start was last given
}

// Compile makes the automaton of a source. Its work is bounded by limits, never by time. Errors: *Unsupported for a schema that would not be
// enforced, *TooLarge for one that exceeds a limit, and ErrMalformed for what is no source, or can never be fulfilled.
//
// Schemas are JSON Schema 2020-12, and what clients still write of draft 7. Enforced are: type (also several), enum, const, properties, required,
// additionalProperties, propertyNames, items, prefixItems (items as a list, additionalItems), minItems, maxItems, minLength, maxLength, pattern,
// format (date, time, date-time, duration, uuid, ipv4, hostname, email, uri, password, path, binary, int32, int64, double; others only beside a
// pattern), minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf, anyOf, allOf, $ref within the document, patternProperties with one pattern and no other
// keyword about the same members, and oneOf where at most one of its schemas can be fitted. minProperties and maxProperties are taken where they hold
// anyhow, uniqueItems where it says nothing. Annotations are passed over. Every other keyword is refused.
//
// Of the texts that fit a schema these are admitted:
//   - White space is bounded. There is none around the value; one space or none behind a colon; and behind an opening bracket, behind a comma and
//     before a closing bracket nothing, or one space, or a line feed with up to 64 spaces or tabs.
//   - Members come in the order of properties, each once; then required ones that are not named; then, where additionalProperties says so or nothing is
//     named, others with keys that are none of these. Of those a key may come twice, where JSON's readers take the last. Items behind prefixItems
//     come only where items says so, or minItems demands them.
//   - Integers have no point and no exponent, and at most 18 digits; numbers at most 18 before and 18 behind the point, and an exponent of two digits if
//     they have no range. Zero has a sign only there.
//   - Strings are UTF-8 with any escapes, surrogates in pairs. Strings with a pattern or format, and keys that must differ from others, escape only
//     what they must. Lengths are in code points; with a pattern they are counted up to 16384 states of both, so maxLength may allow fewer.
//   - Values of enum and const are written without white space.
//   - Patterns mean what RE2 takes them to mean, but for a dot, which as in ECMA-262 leaves out all four line ends.
//   - Objects and arrays are nested until a stack of 500 frames, one to three for each.
//
// What is admitted can always be completed. In a grammar so ambiguous that a vocabulary leads to more than 65536 stacks, only tokens of one byte are
// admitted; in one where a text has more than 2048 readings at once, the first are gone on with.
func Compile(src Source) (*Grammar, error) {
	if err := measure(src); err != nil {
		return nil, err
	}
	b := newBuilder()
	start, err := b.source(src, end)
	if err != nil {
		return nil, err
	}
	return b.finish(start)
}
