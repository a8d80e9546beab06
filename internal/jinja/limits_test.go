package jinja_test

import (
	"errors"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skein-project/skein/internal/jinja"
)

// TestHostile renders templates that would be large, endless or unsafe, and expects the error that stops each.
func TestHostile(t *testing.T) {
	deep := func(open, inner, end string, n int) string {
		return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
	}
	tests := []struct{ name, template, class, contains string }{
		{"repeated string", `{{ "a" * 1000000000 }}`, "limit", "string bytes"},
		{"repeated string, huge count", `{{ "ab" * 9000000000000000000 }}`, "limit", "string bytes"},
		{"repeated list", `{{ [1] * 1000000000 }}`, "limit", "list elements"},
		{"repeated tuple", `{{ (1, 2) * 4611686018427387904 }}`, "limit", "list elements"},
		{"doubling string", `{% set ns = namespace(s="aaaa") %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}`, "limit", "string bytes"},
		{"doubling list", `{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}`, "limit", "list elements"},
		{"growing list", `{% set ns = namespace(s=[]) %}{% for i in range(90000) %}{% set ns.s = ns.s + [i] %}{% endfor %}`, "limit", "steps"},
		{"nested ranges", `{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}`, "limit", "steps"},
		{"output", `{% for a in range(99999) %}{{ "0123456789abcdef" * 60 }}{% endfor %}`, "limit", "output bytes"},
		{"range", `{{ range(1000000000000) }}`, "limit", "range"},
		{"range ends", `{{ range(-9223372036854775807, 9223372036854775807) }}`, "limit", "range"},
		{"macro recursion", `{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}`, "limit", "nested evaluations"},
		{"macro fan-out", `{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(90) }}`, "limit", "steps"},
		{"caller recursion", `{% macro m() %}{% call m() %}{{ caller }}{% endcall %}{% endmacro %}{{ m() }}`, "limit", "nested evaluations"},
		{"value nesting", `{% set ns = namespace(x=[]) %}{% for i in range(50000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}`, "limit", "nested evaluations"},
		{"json nesting", `{% set ns = namespace(x=[]) %}{% for i in range(50000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | tojson }}`, "limit", "nested evaluations"},
		{"equality nesting", `{% set ns = namespace(x=[], y=[]) %}{% for i in range(50000) %}{% set ns.x = [ns.x] %}{% set ns.y = [ns.y] %}{% endfor %}{{ ns.x == ns.y }}`, "limit", "nested evaluations"},
		{"generator nesting", `{% set ns = namespace(x=[1]) %}{% for i in range(50000) %}{% set ns.x = ns.x | map("string") %}{% endfor %}{{ ns.x | list }}`, "limit", "nested evaluations"},
		{"shared value", `{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}`, "limit", "string bytes"},
		{"shared value equality", `{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}`, "limit", "steps"},
		{"shared tuple hash", `{% set ns = namespace(x=(1,)) %}{% for i in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}{{ {ns.x: 1} }}`, "limit", "steps"},
		{"parentheses", deep("{{ ", deep("(", "1", ")", 100000), " }}", 1), "limit", "nested constructs"},
		{"lists", "{{ " + deep("[", "", "]", 100000) + " }}", "limit", "nested constructs"},
		{"not", "{{ " + strings.Repeat("not ", 50000) + "1 }}", "limit", "nested constructs"},
		{"minus", "{{ " + strings.Repeat("-", 100000) + "1 }}", "limit", "nested constructs"},
		{"ifs", deep("{% if 1 %}", "", "{% endif %}", 5000), "limit", "nested constructs"},
		{"long sum", "{{ 1" + strings.Repeat("+1", 20000) + " }}", "limit", "nested evaluations"},
		{"long filter chain", "{{ 1" + strings.Repeat("|int", 50000) + " }}", "limit", "nested evaluations"},
		{"long attribute chain", "{{ a" + strings.Repeat(".b", 20000) + " }}", "limit", "nested evaluations"},
		{"source", strings.Repeat("x", jinja.MaxSource+1), "limit", "source bytes"},
		{"integer literal", `{{ 9223372036854775808 }}`, "limit", "integer"},
		{"integer sum", `{{ 9223372036854775807 + 1 }}`, "limit", "integer"},
		{"integer difference", `{{ -9223372036854775807 - 2 }}`, "limit", "integer"},
		{"integer product", `{{ 4611686018427387904 * 2 }}`, "limit", "integer"},
		{"integer power", `{{ 10 ** 10 ** 10 }}`, "limit", "integer"},
		{"integer from text", `{{ "9" * 100 | int }}{{ ("9" * 100) | int }}`, "limit", "integer"},
		{"integer from float", `{{ 1e300 | int }}`, "limit", "integer"},
		{"wide sum", `{{ wide + 1 }}`, "limit", "integer"},
		{"replace", `{{ ("a" * 10000) | replace("a", "b" * 10000) }}`, "limit", "string bytes"},
		{"replace empty", `{{ ("a" * 100000).replace("", "b" * 10000) }}`, "limit", "string bytes"},
		{"join", `{{ ("a" * 100000) | join("b" * 10000) }}`, "limit", "string bytes"},
		{"indent", `{{ ("\n" * 10000) | indent(10000, true, true) }}`, "limit", "string bytes"},
		{"indent width", `{{ "a" | indent(1000000000000) }}`, "limit", "string bytes"},
		{"center", `{{ "a" | center(1000000000000) }}`, "limit", "string bytes"},
		{"zfill", `{{ "a".zfill(1000000000000) }}`, "limit", "string bytes"},
		{"percent width", `{{ "%1000000000d" % 1 }}`, "limit", "string bytes"},
		{"percent star", `{{ "%*d" % (1000000000000, 1) }}`, "limit", "string bytes"},
		{"percent left star", `{{ "%*d" % (-9223372036854775807, 1) }}`, "limit", "string bytes"},
		{"percent precision", `{{ "%.1000000000f" % 1.5 }}`, "limit", "string bytes"},
		{"format width", `{{ "{:1000000000}".format(1) }}`, "limit", "string bytes"},
		{"format grouping", `{{ "{:01000000000,}".format(1) }}`, "limit", "string bytes"},
		{"format precision", `{{ "{:.1000000000f}".format(1.5) }}`, "limit", "string bytes"},
		{"format nesting", `{{ "{:{:{}}}".format(1, 2, 3) }}`, "runtime", "recursion"},
		{"batch fill", `{{ [1] | batch(1000000000, 0) | list }}`, "limit", "list elements"},
		{"slice fill", `{{ [1] | slice(1000000000, 0) | list }}`, "limit", "list elements"},
		{"json indent", `{{ [1] | tojson(indent=1000000000) }}`, "limit", "string bytes"},
		{"json indent text", `{{ [[[[1]]]] | tojson(indent="a" * 500000) }}`, "limit", "string bytes"},
		{"strftime", `{{ strftime_now("%c" * 100000) }}`, "limit", "string bytes"},
		{"split", `{{ ("a " * 200000).split() | length }}`, "limit", "list elements"},
		{"split each", `{{ ("a," * 200000).split(",") | length }}`, "limit", "list elements"},
		{"escape", `{{ ("<" * 500000) | escape }}`, "limit", "string bytes"},
		{"list of text", `{{ ("a" * 500000) | list | length }}`, "limit", "list elements"},
		{"attribute walk", `{{ "".__class__.__mro__ }}`, "runtime", "unsafe"},
		{"attribute walk by item", `{{ ""["__class__"]["__mro__"] }}`, "runtime", "unsafe"},
		{"attribute walk by filter", `{{ (""|attr("__class__")).x }}`, "runtime", "unsafe"},
		{"attribute walk by map", `{{ [""] | map(attribute="__class__.__mro__") | list }}`, "runtime", "unsafe"},
		{"attribute walk by format", `{{ "{0.__class__.__mro__}".format("") }}`, "runtime", "unsafe"},
		{"globals of a function", `{{ range.__globals__.x }}`, "runtime", "unsafe"},
		{"mutation", `{{ [].append(1) }}`, "runtime", "unsafe"},
		{"mutation of a variable", `{{ vars.update({"a": 1}) }}`, "runtime", "unsafe"},
		{"recursive loop", `{% for a in [] recursive %}{% endfor %}`, "syntax", "recursive"},
		{"include", `{% include "x" %}`, "syntax", "include"},
		{"import", `{% import "x" as y %}`, "syntax", "import"},
		{"from", `{% from "x" import y %}`, "syntax", "from"},
		{"extends", `{% extends "x" %}`, "syntax", "extends"},
		{"block", `{% block x %}{% endblock %}`, "syntax", "block"},
		{"cycler", `{{ cycler(1) }}`, "runtime", "cycler"},
		{"lipsum", `{{ lipsum(1000000) }}`, "runtime", "lipsum"},
		{"encode", `{{ "a".encode() }}`, "runtime", "bytes"},
		{"not UTF-8", "a\xff", "syntax", "UTF-8"},
		{"surrogate", `{{ "\ud800" }}`, "syntax", "scalar"},
	}
	vars, err := jinja.FromJSON([]byte(`{"wide": 123456789012345678901234567890, "vars": {}}`))
	if err != nil {
		t.Fatal(err)
	}
	wide, _ := vars.(*jinja.Object).Get("wide")
	object, _ := vars.(*jinja.Object).Get("vars")
	for _, tt := range tests {
		before, start := allocated(), processorTime(t)
		out, err := render(tt.template, map[string]any{"wide": wide, "vars": object}, jinja.Limits{})
		if class(err) != tt.class || !strings.Contains(err.Error(), tt.contains) {
			t.Errorf("%s: got %.40q, error %v; want a %s error about %q", tt.name, out, err, tt.class, tt.contains)
		}
		if d := processorTime(t) - start; d > 10*time.Second { // most take under 60 ms; what is quadratic takes minutes
			t.Errorf("%s: took %v", tt.name, d)
		}
		if grown := allocated() - before; grown > 256<<20 {
			t.Errorf("%s: %d MiB allocated", tt.name, grown>>20)
		}
	}
}

// processorTime is the time all threads of this process have run, which a busy machine does not stretch.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// allocated is the bytes allocated since the start, freed or not.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// TestLimits lowers each limit until a small template reaches it.
func TestLimits(t *testing.T) {
	tests := []struct {
		what, template string
		enough, low    jinja.Limits
	}{
		{"evaluation steps", `{% for i in range(50) %}x{% endfor %}`, jinja.Limits{Steps: 300}, jinja.Limits{Steps: 100}},
		{"nested evaluations", `{{ [[[[1]]]] }}`, jinja.Limits{Depth: 8}, jinja.Limits{Depth: 5}},
		{"output bytes", `{{ "abcdef" }}ghi`, jinja.Limits{Output: 9}, jinja.Limits{Output: 8}},
		{"string bytes", `{{ ("abc" ~ "def") | length }}`, jinja.Limits{Output: 6}, jinja.Limits{Output: 5}},
		{"source bytes", `0123456789`, jinja.Limits{Source: 10}, jinja.Limits{Source: 9}},
	}
	for _, tt := range tests {
		if _, err := render(tt.template, nil, tt.enough); err != nil {
			t.Errorf("%s: %+v is enough, got %v", tt.what, tt.enough, err)
		}
		_, err := render(tt.template, nil, tt.low)
		var limit *jinja.LimitError
		if !errors.As(err, &limit) || limit.What != tt.what {
			t.Errorf("%s: %+v is too low, got %v", tt.what, tt.low, err)
		}
	}
}

// TestPositions checks the line and column of errors.
func TestPositions(t *testing.T) {
	var syntax *jinja.SyntaxError
	if _, err := jinja.Parse("a\n é{{ 1 + }}"); !errors.As(err, &syntax) || syntax.Line != 2 || syntax.Col != 10 {
		t.Errorf("got %#v, want line 2 column 10", syntax)
	}
	var runtime *jinja.RuntimeError
	if _, err := render("a\n{{ 1 }}\n{% if 1 %}\n{{ x.y }}{% endif %}", nil, jinja.Limits{}); !errors.As(err, &runtime) || runtime.Line != 4 {
		t.Errorf("got %v, want line 4", err)
	}
}

// TestVariables renders Go values of every kind a caller may hold.
func TestVariables(t *testing.T) {
	type role string
	vars := map[string]any{
		"i": 7, "u8": uint8(9), "u64": uint64(1 << 63), "f32": float32(0.5), "strs": []string{"a", "b"},
		"m": map[string]any{"b": 1, "a": []any{nil, true}}, "typed": map[string]string{"k": "v"}, "r": role("user"),
	}
	got, err := render(`{{ [i, u8, u64, f32, strs, m, typed, r] }}`, vars, jinja.Limits{})
	if want := `[7, 9, 9223372036854775808, 0.5, ['a', 'b'], {'a': [None, True], 'b': 1}, {'k': 'v'}, 'user']`; err != nil || got != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
	loop := []any{nil}
	loop[0] = loop
	for name, v := range map[string]any{"text": "\xff", "type": make(chan int), "loop": loop} {
		if _, err := render("x", map[string]any{"v": v}, jinja.Limits{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestFromJSON keeps the order of keys and the digits of numbers, and refuses what is not one value.
func TestFromJSON(t *testing.T) {
	v, err := jinja.FromJSON([]byte(`{"z": 1.0, "a": 12345678901234567890123, "z": [2, {}]}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := render(`{{ v | tojson }}`, map[string]any{"v": v}, jinja.Limits{})
	if want := `{"z": [2, {}], "a": 12345678901234567890123}`; got != want || err != nil {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	for _, bad := range []string{"", "{", "1 2", `{"a" 1}`, strings.Repeat("[", 600) + strings.Repeat("]", 600)} {
		if _, err := jinja.FromJSON([]byte(bad)); !errors.Is(err, jinja.ErrJSON) {
			t.Errorf("%.20q: got %v", bad, err)
		}
	}
}

func FuzzRender(f *testing.F) {
	cases, shared := readCases(f, "testdata/cases.json")
	for i, c := range cases {
		if len(c.Template) < 300 && i%3 == 0 {
			f.Add(c.Template)
		}
	}
	lim := jinja.Limits{Steps: 20000, Depth: 300, Output: 1 << 14, Source: 1 << 12}
	f.Fuzz(func(t *testing.T, template string) {
		out, err := render(template, shared, lim)
		if k := class(err); k == "unknown" {
			t.Fatalf("untyped error %v", err)
		}
		if len(out) > lim.Output {
			t.Fatalf("%d bytes of output", len(out))
		}
	})
}

func FuzzFromJSON(f *testing.F) {
	f.Add([]byte(`{"a": [1, 2.5, "x", null, true], "b": {}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := jinja.FromJSON(text)
		if err != nil {
			return
		}
		_, err = render(`{{ v | tojson }}{{ v }}{{ v | tojson(indent=2, sort_keys=true) }}`, map[string]any{"v": v},
			jinja.Limits{})
		if class(err) == "unknown" {
			t.Fatal(err)
		}
	})
}

func BenchmarkChatML(b *testing.B) {
	const source = `{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`
	tmpl, err := jinja.Parse(source)
	if err != nil {
		b.Fatal(err)
	}
	var messages []any
	for i := range 10 {
		role := []string{"user", "assistant"}[i%2]
		messages = append(messages, map[string]any{"role": role, "content": "message " + strconv.Itoa(i) + strings.Repeat(" word", 40)})
	}
	vars := map[string]any{"messages": messages, "add_generation_prompt": true}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tmpl.Render(vars, jinja.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTools(b *testing.B) {
	cases, _ := readCases(b, "testdata/cases.json")
	for _, c := range cases {
		if c.Name != "qwen_tools tools and calls True" {
			continue
		}
		tmpl, err := jinja.Parse(c.Template)
		if err != nil {
			b.Fatal(err)
		}
		vars := readVars(b, c.Vars)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := tmpl.Render(vars, jinja.Limits{}); err != nil {
				b.Fatal(err)
			}
		}
	}
}
