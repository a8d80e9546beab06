package jinja

import "strings"

// tupleRules say how tuple reads: with inline if, in parentheses (where it may be empty), and before which name
// it ends.
type tupleRules struct {
	cond   bool
	parens bool
	end    string
}

func (p *parser) tupleEnd(end string) bool {
	t := p.cur()
	return t.kind == tokPrintEnd || t.kind == tokBlockEnd || p.isOp(")") || (end != "" && p.isName(end))
}

// tuple reads one expression, or a tuple where commas follow.
func (p *parser) tuple(rules tupleRules) expr {
	var items []expr
	isTuple := false
	for {
		if len(items) > 0 {
			p.expectOp(",")
		}
		if p.tupleEnd(rules.end) {
			break
		}
		items = append(items, p.expression(rules.cond))
		if !p.isOp(",") {
			break
		}
		isTuple = true
	}
	if !isTuple {
		if len(items) == 1 {
			return items[0]
		}
		if !rules.parens {
			p.unexpected()
		}
	}
	return &tupleExpr{items}
}

func (p *parser) expression(cond bool) expr {
	p.nest()
	e := p.or()
	for cond && p.skipName("if") {
		c := &condExpr{test: p.or(), then: e}
		if p.skipName("else") {
			c.other = p.expression(true)
		}
		e = c
	}
	p.depth--
	return e
}

func (p *parser) or() expr {
	l := p.and()
	for p.skipName("or") {
		l = &orExpr{l, p.and()}
	}
	return l
}

func (p *parser) and() expr {
	l := p.not()
	for p.skipName("and") {
		l = &andExpr{l, p.not()}
	}
	return l
}

func (p *parser) not() expr {
	if p.skipName("not") {
		p.nest()
		e := &notExpr{p.not()}
		p.depth--
		return e
	}
	return p.compare()
}

func (p *parser) compare() expr {
	e := p.sum()
	var ops []comparison
	for {
		t := p.cur()
		switch {
		case t.kind == tokOp && strings.Contains(" == != < <= > >= ", " "+t.text+" "):
			p.next()
			ops = append(ops, comparison{t.text, p.sum()})
		case p.skipName("in"):
			ops = append(ops, comparison{"in", p.sum()})
		case t.named("not") && p.look().named("in"):
			p.next()
			p.next()
			ops = append(ops, comparison{"not in", p.sum()})
		default:
			if ops == nil {
				return e
			}
			return &compareExpr{e, ops}
		}
	}
}

func (p *parser) sum() expr {
	l := p.concat()
	for p.isOp("+") || p.isOp("-") {
		op := p.next().text
		l = &binaryExpr{op, l, p.concat()}
	}
	return l
}

func (p *parser) concat() expr {
	parts := []expr{p.product()}
	for p.skipOp("~") {
		parts = append(parts, p.product())
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return &concatExpr{parts}
}

func (p *parser) product() expr {
	l := p.power()
	for p.isOp("*") || p.isOp("/") || p.isOp("//") || p.isOp("%") {
		op := p.next().text
		l = &binaryExpr{op, l, p.power()}
	}
	return l
}

// power is left-associative, as in jinja2 and unlike Python.
func (p *parser) power() expr {
	l := p.unary(true)
	for p.skipOp("**") {
		l = &binaryExpr{"**", l, p.unary(true)}
	}
	return l
}

func (p *parser) unary(withFilters bool) expr {
	p.nest()
	var e expr
	if p.isOp("-") || p.isOp("+") {
		op := p.next().text
		e = &unaryExpr{op, p.unary(false)}
	} else {
		e = p.primary()
	}
	e = p.postfix(e)
	if withFilters {
		e = p.filterChain(e)
	}
	p.depth--
	return e
}

func constant(name string) (value, bool) {
	switch name {
	case "true", "True":
		return true, true
	case "false", "False":
		return false, true
	case "none", "None":
		return nil, true
	}
	return nil, false
}

func (p *parser) primary() expr {
	t := p.cur()
	switch t.kind {
	case tokName:
		p.next()
		if v, ok := constant(t.text); ok {
			return constExpr{v}
		}
		return &nameExpr{name: t.text}
	case tokString:
		p.next()
		s := t.text
		for p.cur().kind == tokString {
			s += p.next().text
		}
		return constExpr{s}
	case tokInt, tokFloat:
		p.next()
		return constExpr{t.num}
	case tokOp:
		switch t.text {
		case "(":
			p.next()
			e := p.tuple(tupleRules{cond: true, parens: true})
			p.expectOp(")")
			return e
		case "[":
			return p.list()
		case "{":
			return p.dict()
		}
	}
	p.unexpected()
	return nil
}

func (p *parser) list() expr {
	p.expectOp("[")
	e := &listExpr{}
	for !p.isOp("]") {
		if len(e.items) > 0 {
			p.expectOp(",")
			if p.isOp("]") {
				break
			}
		}
		e.items = append(e.items, p.expression(true))
	}
	p.expectOp("]")
	return e
}

func (p *parser) dict() expr {
	p.expectOp("{")
	e := &dictExpr{}
	for !p.isOp("}") {
		if len(e.keys) > 0 {
			p.expectOp(",")
			if p.isOp("}") {
				break
			}
		}
		e.keys = append(e.keys, p.expression(true))
		p.expectOp(":")
		e.vals = append(e.vals, p.expression(true))
	}
	p.expectOp("}")
	return e
}

func (p *parser) postfix(e expr) expr {
	for {
		switch {
		case p.isOp("."), p.isOp("["):
			e = p.subscript(e)
		case p.isOp("("):
			e = &callExpr{fn: e, args: p.callArgs()}
		default:
			return e
		}
	}
}

func (p *parser) filterChain(e expr) expr {
	for {
		switch {
		case p.isOp("|"):
			e = p.filters(e, false)
		case p.isName("is"):
			e = p.test(e)
		case p.isOp("("):
			e = &callExpr{fn: e, args: p.callArgs()}
		default:
			return e
		}
	}
}

func (p *parser) subscript(obj expr) expr {
	if p.next().text == "." {
		t := p.next()
		switch t.kind {
		case tokName:
			return &attrExpr{obj, t.text}
		case tokInt:
			return &itemExpr{obj, constExpr{t.num}}
		}
		p.failAt(t, "expected a name or a number after the dot")
	}
	var keys []expr
	for !p.isOp("]") {
		if len(keys) > 0 {
			p.expectOp(",")
		}
		keys = append(keys, p.subscriptKey())
	}
	p.expectOp("]")
	if len(keys) != 1 {
		return &itemExpr{obj, &tupleExpr{keys}}
	}
	if s, ok := keys[0].(*sliceExpr); ok && s.obj == nil {
		s.obj = obj
		return s
	}
	return &itemExpr{obj, keys[0]}
}

func (p *parser) subscriptKey() expr {
	s := &sliceExpr{}
	if !p.isOp(":") {
		e := p.expression(true)
		if !p.isOp(":") {
			return e
		}
		s.start = e
	}
	p.expectOp(":")
	ends := func() bool { return p.isOp("]") || p.isOp(",") }
	if !ends() && !p.isOp(":") {
		s.stop = p.expression(true)
	}
	if p.skipOp(":") && !ends() {
		s.step = p.expression(true)
	}
	return s
}

func (p *parser) callArgs() callArgs {
	var a callArgs
	open := p.cur()
	p.expectOp("(")
	first := true
	order := func(ok bool) {
		if !ok {
			p.failAt(open, "invalid order of arguments")
		}
	}
	for !p.isOp(")") {
		if !first {
			p.expectOp(",")
			if p.isOp(")") {
				break
			}
		}
		first = false
		switch {
		case p.skipOp("*"):
			order(a.star == nil && a.dstar == nil)
			a.star = p.expression(true)
		case p.skipOp("**"):
			order(a.dstar == nil)
			a.dstar = p.expression(true)
		case p.cur().kind == tokName && p.look().kind == tokOp && p.look().text == "=":
			order(a.dstar == nil)
			name := p.next().text
			p.next()
			for _, n := range a.kwNames {
				order(n != name)
			}
			a.kwNames = append(a.kwNames, name)
			a.kwVals = append(a.kwVals, p.expression(true))
		default:
			order(a.star == nil && a.dstar == nil && a.kwNames == nil)
			a.pos = append(a.pos, p.expression(true))
		}
	}
	p.expectOp(")")
	return a
}

// dotted reads the name of a filter or test.
func (p *parser) dotted() *token {
	t := *p.expect(tokName)
	for p.skipOp(".") {
		t.text += "." + p.expect(tokName).text
	}
	return &t
}

// filters reads a chain of filters over in, which is nil for a block; inline says the first has no bar before it.
func (p *parser) filters(in expr, inline bool) expr {
	for inline || p.isOp("|") {
		if !inline {
			p.next()
		}
		inline = false
		t := p.dotted()
		f := &filterExpr{in: in, name: t.text, fn: findFilter(t.text), pos: t.pos}
		if p.isOp("(") {
			f.args = p.callArgs()
		}
		in = f
	}
	return in
}

func (p *parser) test(in expr) expr {
	p.next()
	negated := p.skipName("not")
	t := p.dotted()
	e := &testExpr{in: in, name: t.text, fn: findTest(t.text), pos: t.pos}
	switch c := p.cur(); {
	case p.isOp("("):
		e.args = p.callArgs()
	case c.named("else"), c.named("or"), c.named("and"):
	case c.named("is"):
		p.failAt(c, "tests cannot be chained with is")
	case c.kind == tokName, c.kind == tokString, c.kind == tokInt, c.kind == tokFloat, p.isOp("["), p.isOp("{"):
		e.args.pos = []expr{p.postfix(p.primary())}
	}
	if negated {
		return &notExpr{e}
	}
	return e
}
