package results

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// maxDepth bounds how deep a body may be nested to be redacted.
const maxDepth = 512

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
			v, ok = d.everywhere(v, 0)
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
		return d.everywhere(v, 0)
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

// everywhere replaces the pattern in every text below a value, and numbers that it means as a whole; names of members stay. false = it is nested too deep.
func (d redactor) everywhere(v any, depth int) (any, bool) {
	if depth > maxDepth {
		return nil, false
	}
	ok := true
	switch x := v.(type) {
	case string:
		return d.pattern.ReplaceAllLiteralString(x, d.with), true
	case json.Number:
		if d.whole.MatchString(x.String()) { // a number that is what a text would hide
			return d.with, true
		}
	case map[string]any:
		for name, member := range x {
			var fine bool
			x[name], fine = d.everywhere(member, depth+1)
			ok = ok && fine
		}
	case []any:
		for i, element := range x {
			var fine bool
			x[i], fine = d.everywhere(element, depth+1)
			ok = ok && fine
		}
	}
	return v, ok
}
