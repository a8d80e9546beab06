// Package jinja renders chat templates: a small evaluator of the Jinja dialect that Hugging Face transformers
// accepts (jinja2's ImmutableSandboxedEnvironment with trim_blocks, lstrip_blocks and loop controls), with a limit
// on everything a hostile template could make large.
//
// The reference is jinja2 3.1.6 on CPython; values print, compare and convert as they do there. What a template
// cannot do here: import or include, define blocks, recurse through a loop, walk attributes, change a list or a
// mapping, hold an integer beyond 64 bits or a complex number, or do set arithmetic on the keys of a mapping.
package jinja

// Template is a parsed template. It is immutable and may be rendered by several goroutines at once.
type Template struct {
	body   []stmt
	scope  *scope
	slots  int // variables of the outermost function
	source int // bytes
}

// Parse reads the template text src, at most MaxSource bytes of it. The error is a *SyntaxError, or a *LimitError
// where the text is too long, too deeply nested, or holds an integer beyond 64 bits.
func Parse(src string) (t *Template, err error) {
	defer catch(&err)
	if len(src) > MaxSource {
		return nil, &LimitError{What: "source bytes", Limit: MaxSource}
	}
	text := sourceText(src)
	p := &parser{src: text, toks: lex(text)}
	body := p.template()
	root := newFunction(nil)
	sc := newScope(root, nil)
	resolver{src: text, fn: root}.template(sc, body)
	return &Template{body: body, scope: sc.finish(), slots: root.slots, source: len(src)}, nil
}

// Render evaluates the template over vars: strings, booleans, integers, floats, nil, json.Number, []any,
// map[string]any (whose keys are taken in sorted order), *Object (in insertion order), and slices and maps of them.
// The error is a *RaisedError where the template itself refused (raise_exception), a *LimitError where a limit was
// reached, and a *RuntimeError for every other failure.
func (t *Template) Render(vars map[string]any, lim Limits) (out string, err error) {
	r := newRun(lim)
	defer catch(&err)
	defer r.locate(&err)
	if t.source > r.lim.Source {
		return "", &LimitError{What: "source bytes", Limit: r.lim.Source}
	}
	r.vars = make(map[string]value, len(vars))
	for _, name := range sortedKeys(vars) {
		r.vars[name] = r.fromGo(vars[name])
	}
	r.frame = &frame{slots: make([]value, t.slots)}
	r.enterScope(t.scope)
	r.execAll(t.body)
	return string(r.out), nil
}
