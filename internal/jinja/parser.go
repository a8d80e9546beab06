package jinja

// parser builds the tree of a template, statement by statement; expression.go reads the expressions.
type parser struct {
	src   string
	toks  []token
	at    int
	depth int
	tags  []string // open tags, innermost last
}

func (p *parser) cur() *token { return &p.toks[p.at] }

func (p *parser) look() *token {
	if p.at+1 < len(p.toks) {
		return &p.toks[p.at+1]
	}
	return &p.toks[p.at]
}

func (p *parser) next() *token {
	t := &p.toks[p.at]
	if t.kind != tokEOF {
		p.at++
	}
	return t
}

func (p *parser) failAt(t *token, msg string) { failSyntax(p.src, t.pos, msg) }

func (p *parser) unexpected() {
	t := p.cur()
	if t.kind == tokEOF {
		msg := "unexpected end of template"
		if n := len(p.tags); n > 0 {
			msg += ": tag '" + p.tags[n-1] + "' is not closed"
		}
		p.failAt(t, msg)
	}
	p.failAt(t, "unexpected '"+t.text+"'")
}

// nest goes one construct deeper; the caller decrements p.depth when it is done.
func (p *parser) nest() {
	p.depth++
	if p.depth > maxNesting {
		fail(&LimitError{What: "nested constructs", Limit: maxNesting})
	}
}

func (p *parser) isOp(op string) bool   { t := p.cur(); return t.kind == tokOp && t.text == op }
func (p *parser) isName(s string) bool  { t := p.cur(); return t.kind == tokName && t.text == s }
func (t *token) named(name string) bool { return t.kind == tokName && t.text == name }

func (p *parser) skipOp(op string) bool {
	if p.isOp(op) {
		p.at++
		return true
	}
	return false
}

func (p *parser) skipName(name string) bool {
	if p.isName(name) {
		p.at++
		return true
	}
	return false
}

func (p *parser) expectOp(op string) {
	if !p.skipOp(op) {
		p.unexpected()
	}
}

func (p *parser) expect(k kind) *token {
	if p.cur().kind != k {
		p.unexpected()
	}
	return p.next()
}

func (p *parser) template() []stmt {
	body := p.statements()
	if p.cur().kind != tokEOF {
		p.unexpected()
	}
	return body
}

// statements reads text, prints and tags until a tag named in ends, whose name is then the current token, or the
// end of the template where ends is empty.
func (p *parser) statements(ends ...string) []stmt {
	var body []stmt
	for {
		t := p.cur()
		switch t.kind {
		case tokText:
			p.next()
			body = append(body, &textStmt{t.text})
		case tokPrintBegin:
			p.next()
			body = append(body, &printStmt{x: p.tuple(tupleRules{cond: true}), line: t.line})
			p.expect(tokPrintEnd)
		case tokBlockBegin:
			p.next()
			for _, end := range ends {
				if p.isName(end) {
					return body
				}
			}
			body = append(body, p.statement()...)
			p.expect(tokBlockEnd)
		default:
			if len(ends) > 0 {
				p.unexpected()
			}
			return body
		}
	}
}

// block reads the rest of an opening tag and its body; the name of the tag that ends it is then the current token.
func (p *parser) block(ends ...string) []stmt {
	p.skipOp(":")
	p.expect(tokBlockEnd)
	return p.statements(ends...)
}

func (p *parser) closedBlock(end string) []stmt {
	body := p.block(end)
	p.next()
	return body
}

func (p *parser) statement() []stmt {
	p.nest()
	t := p.expect(tokName)
	p.tags = append(p.tags, t.text)
	s := p.tag(t)
	p.tags = p.tags[:len(p.tags)-1]
	p.depth--
	return s
}

func (p *parser) tag(t *token) []stmt {
	switch t.text {
	case "if":
		return []stmt{p.ifTag()}
	case "for":
		return []stmt{p.forTag(t)}
	case "set":
		return []stmt{p.setTag(t)}
	case "print":
		return p.printTag(t)
	case "macro":
		name := p.expect(tokName)
		def := &macroDef{name: name.text, pos: t.pos}
		p.signature(def)
		def.body = p.closedBlock("endmacro")
		return []stmt{&macroStmt{def: def, target: p.assignable(name)}}
	case "call":
		return []stmt{p.callTag(t)}
	case "filter":
		f := p.filters(nil, true)
		return []stmt{&filterBlock{filter: f, body: p.closedBlock("endfilter"), line: t.line}}
	case "with":
		return []stmt{p.withTag(t)}
	case "break":
		return []stmt{&loopControl{sig: sigBreak, pos: t.pos}}
	case "continue":
		return []stmt{&loopControl{sig: sigContinue, pos: t.pos}}
	case "generation":
		def := &macroDef{pos: t.pos}
		def.body = p.closedBlock("endgeneration")
		return []stmt{&callBlock{def: def, line: t.line}}
	case "include", "import", "from", "extends", "block", "autoescape":
		p.failAt(t, "tag '"+t.text+"' is not supported in chat templates")
	}
	p.failAt(t, "unknown tag '"+t.text+"'")
	return nil
}

func (p *parser) ifTag() stmt {
	s := &ifStmt{}
	for {
		b := branch{line: p.cur().line, test: p.tuple(tupleRules{})}
		b.body = p.block("elif", "else", "endif")
		s.branches = append(s.branches, b)
		switch p.next().text {
		case "elif":
			continue
		case "else":
			s.other = p.closedBlock("endif")
		}
		return s
	}
}

func (p *parser) forTag(t *token) stmt {
	s := &forStmt{line: t.line}
	s.target = p.target("in", false)
	p.forbidLoop(t, s.target)
	if !p.skipName("in") {
		p.unexpected()
	}
	s.in = p.tuple(tupleRules{end: "recursive"})
	if p.skipName("if") {
		s.test = p.expression(true)
	}
	if p.isName("recursive") {
		p.failAt(p.cur(), "recursive loops are not supported in chat templates")
	}
	s.body = p.block("endfor", "else")
	if p.next().text == "else" {
		s.other = p.closedBlock("endfor")
	}
	return s
}

// forbidLoop refuses to assign to the loop variable inside a loop.
func (p *parser) forbidLoop(t *token, tg target) {
	if tg.name != nil && tg.attr == "" && tg.name.name == "loop" {
		p.failAt(t, "cannot assign to the special variable loop in a loop")
	}
	for _, it := range tg.items {
		p.forbidLoop(t, it)
	}
}

func (p *parser) inLoop() bool {
	for _, tag := range p.tags {
		if tag == "for" {
			return true
		}
	}
	return false
}

func (p *parser) setTag(t *token) stmt {
	tg := p.target("", true)
	if p.inLoop() {
		p.forbidLoop(t, tg)
	}
	if p.skipOp("=") {
		return &setStmt{target: tg, x: p.tuple(tupleRules{cond: true}), line: t.line}
	}
	f := p.filters(nil, false)
	return &setBlock{target: tg, filter: f, body: p.closedBlock("endset"), line: t.line}
}

func (p *parser) printTag(t *token) []stmt {
	var out []stmt
	for p.cur().kind != tokBlockEnd {
		if len(out) > 0 {
			p.expectOp(",")
		}
		out = append(out, &printStmt{x: p.expression(true), line: t.line})
	}
	return out
}

// signature reads the parameters of a macro or call block.
func (p *parser) signature(def *macroDef) {
	p.expectOp("(")
	for !p.isOp(")") {
		if len(def.params) > 0 {
			p.expectOp(",")
		}
		name := p.expect(tokName)
		def.params = append(def.params, p.assignable(name))
		if p.skipOp("=") {
			def.defaults = append(def.defaults, p.expression(true))
		} else if len(def.defaults) > 0 {
			p.failAt(name, "parameter without a default follows one with a default")
		}
	}
	p.expectOp(")")
	for i, a := range def.params {
		for _, b := range def.params[:i] {
			if a.name == b.name {
				p.failAt(p.cur(), "duplicate parameter '"+a.name+"'")
			}
		}
	}
}

func (p *parser) callTag(t *token) stmt {
	def := &macroDef{pos: t.pos}
	if p.isOp("(") {
		p.signature(def)
	}
	call, ok := p.expression(true).(*callExpr)
	if !ok {
		p.failAt(t, "expected a call")
	}
	def.body = p.closedBlock("endcall")
	return &callBlock{def: def, call: call, line: t.line}
}

func (p *parser) withTag(t *token) stmt {
	s := &withStmt{line: t.line}
	for p.cur().kind != tokBlockEnd {
		if len(s.targets) > 0 {
			p.expectOp(",")
		}
		s.targets = append(s.targets, p.target("", false))
		p.expectOp("=")
		s.vals = append(s.vals, p.expression(true))
	}
	s.body = p.closedBlock("endwith")
	return s
}

// target reads what an assignment writes to, ending before the name end where that is not empty.
func (p *parser) target(end string, namespaces bool) target {
	t := p.cur()
	var items []target
	tuple := false
	for {
		if len(items) > 0 {
			p.expectOp(",")
		}
		if p.tupleEnd(end) {
			break
		}
		items = append(items, p.targetItem(namespaces))
		if !p.isOp(",") {
			break
		}
		tuple = true
	}
	switch {
	case tuple:
		return target{items: items, tuple: true}
	case len(items) == 1:
		return items[0]
	}
	p.failAt(t, "expected a name to assign to")
	return target{}
}

func (p *parser) targetItem(namespaces bool) target {
	t := p.cur()
	if namespaces && t.kind == tokName && p.look().kind == tokOp && p.look().text == "." {
		p.next()
		p.next()
		return target{name: p.assignable(t), attr: p.expect(tokName).text}
	}
	return p.toTarget(t, p.primary())
}

func (p *parser) toTarget(t *token, e expr) target {
	switch e := e.(type) {
	case *nameExpr:
		return target{name: e}
	case *tupleExpr:
		tg := target{tuple: true}
		for _, it := range e.items {
			tg.items = append(tg.items, p.toTarget(t, it))
		}
		return tg
	}
	p.failAt(t, "cannot assign to this expression")
	return target{}
}

// assignable is a name that is no constant.
func (p *parser) assignable(t *token) *nameExpr {
	if _, ok := constant(t.text); ok {
		p.failAt(t, "cannot assign to '"+t.text+"'")
	}
	return &nameExpr{name: t.text}
}
