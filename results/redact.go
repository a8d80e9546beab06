package results

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// Limits of what is redacted.
const (
	maxDepth = 512 // levels of a body; one that is nested deeper is left out
	maxInner = 4   // levels of texts that are JSON themselves; what is deeper is a text as any other
	maxPlace = 40  // decimal places of a number that is also tried without its exponent
)

// Apply makes of a record what its rule keeps of it: bodies that are not kept are left out, the others are redacted. A body that cannot be
// redacted is left out too.
func (r Rule) Apply(x Record) Record {
	x.Days, x.Policy, x.To = r.Days, r.ID(), r.Destination()
	if r.Keep != All {
		x.Request = nil
	}
	if !r.Keep.Answers() {
		x.Answer, x.Labels, x.Error = nil, nil, ""
	}
	x = x.Fit()
	if len(r.redactions) == 0 {
		return x
	}
	for _, body := range []struct {
		name string
		at   *json.RawMessage
	}{{"request", &x.Request}, {"answer", &x.Answer}} {
		if *body.at == nil {
			continue
		}
		out, changed, ok := r.redact(body.name, *body.at)
		if *body.at = out; !ok || len(out) > MaxBody {
			*body.at, x.Cut = nil, true
		}
		x.Redacted = x.Redacted || changed && body.name == "request"
	}
	for _, d := range r.redactions {
		if d.path == nil {
			x.Error = fit(d.pattern.ReplaceAllLiteralString(x.Error, d.with))
		}
	}
	return x
}

// redact rewrites one body, and says whether anything was taken out of it. Numbers stay as they are written.
func (r Rule) redact(name string, body []byte) (out json.RawMessage, changed, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, false, false
	}
	before, err := Encode(v)
	if err != nil {
		return nil, false, false
	}
	for _, d := range r.redactions {
		switch {
		case d.path == nil:
			v, ok = d.everywhere(v, 0, 0)
		case d.path[0] == name:
			v, ok = d.at(v, d.path[1:])
		default:
			continue
		}
		if !ok {
			return nil, false, false
		}
	}
	if out, err = Encode(v); err != nil {
		return nil, false, false
	}
	return Plain(out), !bytes.Equal(before, out), true
}

// at redacts what a path leads to.
func (d redactor) at(v any, path []string) (any, bool) {
	if len(path) == 0 {
		if d.pattern == nil {
			return d.with, true
		}
		return d.everywhere(v, 0, 0)
	}
	ok := true
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if path[0] == Any || strings.EqualFold(path[0], name) { // as requests are read
				var fine bool
				v[name], fine = d.at(member, path[1:])
				ok = ok && fine
			}
		}
	case []any:
		for i, element := range v {
			if path[0] == Any || path[0] == strconv.Itoa(i) {
				var fine bool
				v[i], fine = d.at(element, path[1:])
				ok = ok && fine
			}
		}
	}
	return v, ok
}

// everywhere replaces the pattern in every text below a value, and numbers that it means as a whole; names of members stay. inner is
// how many texts that are JSON it is within. false = it is nested too deep.
func (d redactor) everywhere(v any, depth, inner int) (any, bool) {
	if depth > maxDepth {
		return nil, false
	}
	ok := true
	switch x := v.(type) {
	case string:
		return d.text(x, depth, inner)
	case json.Number:
		for _, form := range forms(x) { // a number that is what a text would hide
			if d.whole.MatchString(form) {
				return d.with, true
			}
		}
	case map[string]any:
		for name, member := range x {
			var fine bool
			x[name], fine = d.everywhere(member, depth+1, inner)
			ok = ok && fine
		}
	case []any:
		for i, element := range x {
			var fine bool
			x[i], fine = d.everywhere(element, depth+1, inner)
			ok = ok && fine
		}
	}
	return v, ok
}

// text redacts a text; one that is JSON itself, as the arguments of a tool's call are, by what it means too.
func (d redactor) text(s string, depth, inner int) (any, bool) {
	if trimmed := strings.TrimLeft(s, " \t\r\n"); inner < maxInner && trimmed != "" && strings.ContainsRune(`{["`, rune(trimmed[0])) && json.Valid([]byte(s)) {
		dec := json.NewDecoder(strings.NewReader(s))
		dec.UseNumber()
		var v any
		if err := dec.Decode(&v); err != nil {
			return nil, false
		}
		before, err := Encode(v)
		if err != nil {
			return nil, false
		}
		v, ok := d.everywhere(v, depth+1, inner+1)
		if !ok {
			return nil, false
		}
		after, err := Encode(v)
		if err != nil {
			return nil, false
		}
		if !bytes.Equal(before, after) { // else the text stays as it is written
			s = string(after)
		}
	}
	return d.pattern.ReplaceAllLiteralString(s, d.with), true
}

// forms are the ways to write a number that a pattern may mean: as it came, and in full without an exponent, without zeros at its end, with and
// without its sign.
func forms(n json.Number) []string {
	out := []string{n.String()}
	mantissa, exponent, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(n.String(), "-")), "e")
	whole, part, _ := strings.Cut(mantissa, ".")
	e, err := strconv.Atoi(exponent)
	if exponent != "" && err != nil || e > maxPlace || e < -maxPlace {
		return append(out, strings.TrimPrefix(n.String(), "-"))
	}
	digits, point := whole+part, len(whole)+e
	if point <= 0 {
		digits, point = strings.Repeat("0", 1-point)+digits, 1
	}
	if point > len(digits) {
		digits += strings.Repeat("0", point-len(digits))
	}
	full := strings.TrimLeft(digits[:point], "0")
	if full == "" {
		full = "0"
	}
	if places := strings.TrimRight(digits[point:], "0"); places != "" {
		full += "." + places
	}
	return append(out, strings.TrimPrefix(n.String(), "-"), full, "-"+full)
}
