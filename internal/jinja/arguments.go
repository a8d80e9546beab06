package jinja

// args are the evaluated arguments of a call.
type args struct {
	pos []value
	kw  []kwarg
}

type kwarg struct {
	name string
	val  value
}

func (r *run) args(c *callArgs) args {
	var a args
	if len(c.pos) > 0 {
		a.pos = r.evalAll(c.pos)
	}
	if c.star == nil && c.dstar == nil && c.kwNames == nil {
		return a
	}
	for i, name := range c.kwNames {
		a.kw = append(a.kw, kwarg{name, r.eval(c.kwVals[i])})
	}
	if c.star != nil {
		a.pos = r.concat(a.pos, r.collect(r.eval(c.star)))
	}
	if c.dstar != nil {
		d, ok := r.eval(c.dstar).(*dict)
		if !ok {
			failf("argument after ** must be a mapping")
		}
		for i, k := range d.keys {
			name, ok := asString(k)
			if !ok {
				failf("keywords must be strings")
			}
			if _, dup := a.keyword(name); dup {
				failf("got multiple values for keyword argument '%s'", name)
			}
			a.kw = append(a.kw, kwarg{name, d.vals[i]})
		}
	}
	return a
}

func (a args) keyword(name string) (value, bool) {
	for _, k := range a.kw {
		if k.name == name {
			return k.val, true
		}
	}
	return nil, false
}

// bind assigns the arguments of what to its parameters, by position and by name; the first required must be given,
// the others are absent where they are not.
func (a args) bind(what string, required int, params ...string) []value {
	if len(a.pos) > len(params) {
		failf("%s() takes at most %d arguments (%d given)", what, len(params), len(a.pos))
	}
	out := make([]value, len(params))
	for i := range out {
		out[i] = absent{}
	}
	copy(out, a.pos)
next:
	for _, k := range a.kw {
		for i, name := range params {
			if name == k.name {
				if !isAbsent(out[i]) {
					failf("%s() got multiple values for argument '%s'", what, name)
				}
				out[i] = k.val
				continue next
			}
		}
		failf("%s() got an unexpected keyword argument '%s'", what, k.name)
	}
	for i := range required {
		if isAbsent(out[i]) {
			failf("%s() missing required argument '%s'", what, params[i])
		}
	}
	return out
}

// positional is bind for what takes no keywords.
func (a args) positional(what string, required, most int) []value {
	if len(a.kw) > 0 {
		failf("%s() takes no keyword arguments", what)
	}
	if len(a.pos) < required || len(a.pos) > most {
		failf("%s() takes %d to %d arguments (%d given)", what, required, most, len(a.pos))
	}
	out := make([]value, most)
	for i := range out {
		out[i] = absent{}
	}
	copy(out, a.pos)
	return out
}

func or(v, otherwise value) value {
	if isAbsent(v) {
		return otherwise
	}
	return v
}

// integer is v as an argument that must be an integer, otherwise where it is absent.
func (r *run) integer(v value, otherwise int64) int64 {
	if isAbsent(v) {
		return otherwise
	}
	r.defined(v)
	n, ok := asInt(v)
	if !ok {
		failf("'%s' object cannot be interpreted as an integer", typeName(v))
	}
	return n
}

// str is v as an argument that must be a string.
func (r *run) str(v value) string {
	r.defined(v)
	s, ok := asString(v)
	if !ok {
		failf("expected a string, not '%s'", typeName(v))
	}
	return s
}

func (r *run) flag(v value, otherwise bool) bool {
	if isAbsent(v) {
		return otherwise
	}
	return r.truth(v)
}
