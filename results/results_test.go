package results_test

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/results"
)

// choose is the slow and obvious way to find a policy.
func choose(list []results.Policy, tenant, model string) string {
	best, score := "", -1
	for _, p := range list {
		s := 0
		switch {
		case p.Tenant == tenant:
			s = 100000
		case p.Tenant != "*":
			continue
		}
		prefix, open := strings.CutSuffix(p.Model, "*")
		switch {
		case p.Model == model:
			s += 10000
		case open && strings.HasPrefix(model, prefix):
			s += len(prefix)
		default:
			continue
		}
		if s > score {
			best, score = p.ID(), s
		}
	}
	return best
}

// The policy that names the tenant comes before one for every tenant, and then the one that names the model most closely.
func TestChoice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		models := []string{"a", "a/b", "a/b/c", "ab", "b", "a/bc"}
		patterns := append([]string{"*", "a/*", "a/b/*", "b/*"}, models...)
		rules, list := results.Rules{}, []results.Policy(nil)
		for range rapid.IntRange(0, 12).Draw(t, "policies") {
			p := results.Policy{Tenant: rapid.SampledFrom([]string{"*", "t1", "t2"}).Draw(t, "tenant"), Model: rapid.SampledFrom(patterns).Draw(t, "pattern"), Keep: results.All, Days: 1}
			r, err := p.Rule()
			if err != nil {
				t.Fatal(err)
			}
			if _, twice := rules[p.ID()]; !twice {
				list = append(list, p)
			}
			rules[p.ID()] = r
		}
		for _, tenant := range []string{"t1", "t2", "t3"} {
			for _, m := range models {
				got, want := rules.Of(tenant, m), choose(list, tenant, m)
				if want == "" && got.Keeps() || want != "" && got.ID() != want {
					t.Fatalf("%s of %s: %q, want %q", m, tenant, got.ID(), want)
				}
			}
		}
	})
}

// Every pair has an id of its own that a document can have.
func TestIDs(t *testing.T) {
	long := strings.Repeat("m", 128)
	seen := map[string]bool{}
	for _, p := range []results.Policy{{Tenant: "a", Model: "b"}, {Tenant: "*", Model: "*"}, {Tenant: "t", Model: long}, {Tenant: "t", Model: long[1:] + "n"}, {Tenant: long, Model: "t"}} {
		id := p.ID()
		if seen[id] || len(id) > 128 || id == "" {
			t.Errorf("id %q", id)
		}
		seen[id] = true
	}
}

func TestPoliciesThatAreRefused(t *testing.T) {
	good := results.Policy{Tenant: "t", Model: "team/*", Keep: results.All, Days: 7, Redact: []results.Redaction{{Field: "request.messages.*.content"}, {Pattern: `\d{4,}`, With: "#"}}, To: results.Bucket}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for why, change := range map[string]func(*results.Policy){
		"tenant:":         func(p *results.Policy) { p.Tenant = "" },
		"model: \"a*\"":   func(p *results.Policy) { p.Model = "a*" },
		"model: \"*/a\"":  func(p *results.Policy) { p.Model = "*/a" },
		"model: \"a b\"":  func(p *results.Policy) { p.Model = "a b" },
		"keep:":           func(p *results.Policy) { p.Keep = "some" },
		"days: 0":         func(p *results.Policy) { p.Days = 0 },
		"days: 9999":      func(p *results.Policy) { p.Days = 9999 },
		"to:":             func(p *results.Policy) { p.To = "mail" },
		"want a field":    func(p *results.Policy) { p.Redact = []results.Redaction{{With: "x"}} },
		"want request or": func(p *results.Policy) { p.Redact = []results.Redaction{{Field: "messages"}} },
		"pattern":         func(p *results.Policy) { p.Redact = []results.Redaction{{Pattern: "("}} },
		"600 bytes":       func(p *results.Policy) { p.Redact = []results.Redaction{{Pattern: strings.Repeat("a", 600)}} },
		"invalid repeat":  func(p *results.Policy) { p.Redact = []results.Redaction{{Pattern: "((a{1000}){1000}){1000}"}} },
		"33 redactions":   func(p *results.Policy) { p.Redact = slices.Repeat(p.Redact[:1], 33) },
	} {
		p := good
		change(&p)
		if err := p.Validate(); err == nil || !errors.As(err, new(*results.Invalid)) || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v", why, err)
		}
	}
	if err := (results.Policy{Tenant: "*", Model: "*", Keep: results.Nothing}).Validate(); err != nil {
		t.Error(err)
	}
}

// A day is an interval; what no database holds is refused where it is asked.
func TestDays(t *testing.T) {
	at := func(text string) results.Record {
		ms, _, err := results.ParseTime(text)
		if err != nil {
			t.Fatal(err)
		}
		return results.Record{At: ms}
	}
	before, first, noon, last, after := at("2026-11-25T23:59:59.999Z"), at("2026-11-26"), at("2026-11-26T12:00:00Z"), at("2026-11-26T23:59:59.999Z"), at("2026-11-27T00:00:00Z")
	for where, wants := range map[string][5]bool{
		"at>=2026-11-26":           {false, true, true, true, true},
		"at>2026-11-26":            {false, false, false, false, true},
		"at<=2026-11-26":           {true, true, true, true, false},
		"at<2026-11-26":            {true, false, false, false, false},
		"at>2026-11-26T12:00:00Z":  {false, false, false, true, true},
		"at<=2026-11-26T12:00:00Z": {true, true, true, false, false},
	} {
		f, err := results.ParseFilter([]string{where})
		if got := [5]bool{f.Meets(before), f.Meets(first), f.Meets(noon), f.Meets(last), f.Meets(after)}; got != wants || err != nil {
			t.Errorf("%s: %v, %v", where, got, err)
		}
	}
	for _, where := range []string{"version=9999999999", "label=\x00", "text~\xff"} {
		if _, err := results.ParseFilter([]string{where}); !errors.As(err, new(*results.Invalid)) {
			t.Errorf("%q: %v", where, err)
		}
	}
	if got := results.Noted([]string{"model=a~b", "text~jane", " text ~ jane ", "nothing"}); !slices.Equal(got, []string{"model=a~b", got[1], got[1], "nothing"}) || strings.Contains(got[1], "jane") {
		t.Errorf("%q", got)
	}
}

// What was not compared is neither the same nor different.
func TestIncomparable(t *testing.T) {
	whole := results.Record{Status: results.OK, Answer: json.RawMessage(`"x"`)}
	labelled := results.Record{Status: results.OK, Labels: []results.Label{{Name: "a"}}}
	var count results.Count
	for i, c := range []struct {
		was, now results.Record
		why      string
	}{
		{whole, whole, ""},
		{labelled, labelled, ""},
		{results.Record{Status: "timeout"}, whole, "timeout"},
		{results.Record{Status: results.OK, Cut: true}, whole, "too large"},
		{whole, results.Record{Status: results.OK, Cut: true}, "too large"},
		{results.Record{Status: results.OK, Answer: whole.Answer, Redacted: true}, whole, "taken out"},
		{results.Record{Status: results.OK}, whole, "holds no answer"},
	} {
		why := results.Incomparable(c.was, c.now)
		if (why == "") != (c.why == "") || !strings.Contains(why, c.why) {
			t.Errorf("case %d: %q", i, why)
		}
		p := results.Pair{Status: results.OK}
		if why != "" {
			p.Status = results.Unlike
		}
		count.Add(p)
	}
	if count != (results.Count{Asked: 7, Same: 2, Unlike: 5}) {
		t.Errorf("%+v", count)
	}
	if results.DriftOf(results.Distribution{"a": 500}, nil).Comparable() || !results.DriftOf(results.Distribution{"a": 1}, results.Distribution{"b": 1}).Comparable() {
		t.Error("labels of one side alone are compared")
	}
}

// testdata/redact.txt: a policy, a record, and what is left of it.
func TestRedaction(t *testing.T) {
	b, err := os.ReadFile("testdata/redact.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range strings.Split(strings.TrimSpace(string(b)), "\n\n") {
		lines := strings.Split(c, "\n")
		if len(lines) != 4 {
			t.Fatalf("%q", c)
		}
		t.Run(strings.TrimPrefix(lines[0], "# "), func(t *testing.T) {
			var p results.Policy
			var r results.Record
			if err := errors.Join(json.Unmarshal([]byte(lines[1]), &p), json.Unmarshal([]byte(lines[2]), &r)); err != nil {
				t.Fatal(err)
			}
			p.Tenant, p.Model, p.Days = "*", "*", 7
			rule, err := p.Rule()
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(rule.Apply(r))
			if err != nil || string(got) != lines[3] {
				t.Errorf("got  %s (%v)\nwant %s", got, err, lines[3])
			}
		})
	}
}

// Nothing of what a pattern means is left anywhere in a record, and nothing of what a policy does not keep.
func TestNothingIsLeft(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`S\d{6}`).Draw(t, "secret")
		var value func(depth int) any
		value = func(depth int) any {
			switch kind := rapid.IntRange(0, 4).Draw(t, "kind"); {
			case kind == 0 && depth < 4:
				m := map[string]any{}
				for range rapid.IntRange(0, 3).Draw(t, "members") {
					m[rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "name")] = value(depth + 1)
				}
				return m
			case kind == 1 && depth < 4:
				var l []any
				for range rapid.IntRange(0, 3).Draw(t, "elements") {
					l = append(l, value(depth+1))
				}
				return l
			case kind == 2:
				return 12345678901234567
			}
			return rapid.String().Draw(t, "before") + secret + "<&>"
		}
		body := func() json.RawMessage { b, _ := json.Marshal(value(0)); return b }
		r := results.Record{ID: "x", At: 1, Request: body(), Answer: body(), Error: "about " + secret}
		p := results.Policy{Tenant: "*", Model: "*", Days: 1, Keep: rapid.SampledFrom([]results.Keep{results.Metadata, results.Answers, results.All}).Draw(t, "keep"), Redact: []results.Redaction{{Pattern: `S\d+`}}}
		rule, err := p.Rule()
		if err != nil {
			t.Fatal(err)
		}
		got := rule.Apply(r)
		b, err := json.Marshal(got)
		if err != nil || strings.Contains(string(b), secret) {
			t.Fatalf("%s (%v)", b, err)
		}
		if (got.Request != nil) != (p.Keep == results.All) || (got.Answer != nil) != (p.Keep != results.Metadata) || got.Cut {
			t.Fatalf("%s keeps %s", p.Keep, b)
		}
		if strings.Contains(string(r.Request), "12345678901234567") && p.Keep == results.All && !strings.Contains(string(got.Request), "12345678901234567") {
			t.Fatal("a number changed")
		}
		if err := got.Validate(); err != nil {
			t.Fatal(err)
		}
	})
}

// Whatever a record holds, Fit makes of it what stores take, and changes nothing twice.
func TestFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string {
			return string(rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, name)) + strings.Repeat("漢", rapid.SampledFrom([]int{0, 0, 300}).Draw(t, "long"))
		}
		r := results.Record{ID: "x", At: 1, Days: 1, RequestID: text("request id"), Alias: text("alias"), Error: text("error"), Labels: []results.Label{{Name: text("label")}}, Request: []byte(text("request")), Answer: []byte(`"fine"`)}
		got := r.Fit()
		if err := got.Validate(); err != nil {
			t.Fatal(err)
		}
		if again := got.Fit(); !reflect.DeepEqual(again, got) {
			t.Fatalf("%+v, then %+v", got, again)
		}
		if utf8.ValidString(r.Alias) && len(r.Alias) <= results.MaxText && !strings.Contains(r.Alias, "\x00") && got.Alias != r.Alias {
			t.Fatal("a text changed that was fine")
		}
	})
	large := results.Record{ID: "x", At: 1, Days: 1, Answer: []byte(`"` + strings.Repeat("a", results.MaxBody) + `"`)}.Fit()
	if large.Answer != nil || !large.Cut {
		t.Error("a large body is there")
	}
}

func TestFilters(t *testing.T) {
	f, err := results.ParseFilter([]string{"model=team/spam", "model = b", "version=v8", "status!=ok", "latency>=250ms", "latency<1s", "text~a=b", "at>=2026-11-26", "at<2026-11-27T00:00:00Z", "label=<PAD>"})
	want := results.Filter{Models: []string{"team/spam", "b"}, Versions: []int{8}, NotStatuses: []string{"ok"}, AtLeast: 250_000, AtMost: 999_999, Text: "a=b", From: 1795651200000, Until: 1795737600000, Labels: []string{"<PAD>"}}
	if err != nil || !reflect.DeepEqual(f, want) {
		t.Errorf("%+v, %v\nwant %+v", f, err, want)
	}
	for _, bad := range []string{"", "model", "model=", "=x", "model!=x", "model>x", "latency=5ms", "latency>=x", "latency<1ns", "at=2026-11-26", "at>=yesterday", "version=0", "version=x", "text=a", "colour=red", "text~" + strings.Repeat("x", 300)} {
		if f, err := results.ParseFilter([]string{bad}); !errors.As(err, new(*results.Invalid)) {
			t.Errorf("%q: %+v, %v", bad, f, err)
		}
	}
	if _, err := results.ParseFilter(slices.Repeat([]string{"model=x"}, 33)); err == nil {
		t.Error("33 conditions")
	}
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"model=a", "latency>=250ms", "at<2026-11-26", "text~x", "status!=ok", "version=v8", "a", "!=<>~"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x, err := results.ParseFilter([]string{s})
		if err == nil {
			x.Meets(results.Record{})
		} else if !errors.As(err, new(*results.Invalid)) {
			t.Fatal(err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"id":"a","at":1,"model":"m","version":1,"operation":"chat","status":"ok","latency_us":1,"days":1,"request":{"a":[1]},"labels":[{"name":"x","score":1}]}`))
	f.Add([]byte(`{"id":"a","at":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := results.Decode(b)
		if err != nil {
			if !errors.Is(err, results.ErrRecord) {
				t.Fatal(err)
			}
			return
		}
		out, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := results.Decode(out); err != nil || again.ID != r.ID {
			t.Fatalf("%s: %v", out, err)
		}
		p, _ := results.Policy{Tenant: "*", Model: "*", Keep: results.All, Days: 1, Redact: []results.Redaction{{Pattern: "[0-9]"}, {Field: "request.a.*", With: "y"}}}.Rule()
		if err := p.Apply(r).Validate(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDrift(t *testing.T) {
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
	same := results.DriftOf(results.Distribution{"a": 30, "b": 70}, results.Distribution{"a": 3, "b": 7})
	if same.PSI != 0 || same.TV != 0 {
		t.Errorf("equal shares: %+v", same)
	}
	d := results.DriftOf(results.Distribution{"a": 50, "b": 50}, results.Distribution{"a": 80, "b": 20})
	if want := 0.3*math.Log(0.8/0.5) - 0.3*math.Log(0.2/0.5); !near(d.PSI, want) || !near(d.TV, 0.3) {
		t.Errorf("%+v, want PSI %v", d, want)
	}
	fresh := results.DriftOf(results.Distribution{"a": 10}, results.Distribution{"b": 10})
	if math.IsInf(fresh.PSI, 0) || fresh.PSI < 1 || !near(fresh.TV, 1) {
		t.Errorf("labels that are new: %+v", fresh)
	}
	if empty := results.DriftOf(nil, results.Distribution{"a": 1}); empty.PSI != 0 || empty.TV != 0 || len(empty.Shares) != 1 {
		t.Errorf("%+v", empty)
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) results.Distribution {
			return rapid.MapOf(rapid.SampledFrom([]string{"a", "b", "c", "d"}), rapid.Int64Range(1, 1000)).Draw(t, name)
		}
		a, b := draw("base"), draw("now")
		x, y := results.DriftOf(a, b), results.DriftOf(b, a)
		if x.PSI < 0 || x.TV < 0 || x.TV > 1+1e-9 || !near(x.PSI, y.PSI) || !near(x.TV, y.TV) {
			t.Fatalf("%+v and %+v", x, y)
		}
	})
}

func TestCompare(t *testing.T) {
	was := results.Record{Labels: []results.Label{{Name: "ham", Score: 0.9}, {Input: 1, Name: "spam", Score: 0.7}},
		Answer: []byte(`{"id":"1","created":5,"model_version":"m@1","choices":[{"text":"four"}],"n":[1,2],"usage":{"total":9}}`)}
	for _, c := range []struct {
		what   string
		labels []results.Label
		answer string
		want   results.Difference
	}{
		{"the same, at another time", was.Labels, `{"id":"2","created":9,"model_version":"m@2","choices":[{"text":"four"}],"n":[1,2.0000001],"usage":{"total":8}}`, results.Difference{Numbers: 1e-7}},
		{"another text", was.Labels, `{"choices":[{"text":"five"}],"n":[1,2]}`, results.Difference{Differs: true, TextMoves: true}},
		{"another label", []results.Label{{Name: "spam", Score: 0.6}, {Input: 1, Name: "spam", Score: 0.6}}, `{"choices":[{"text":"four"}],"n":[1,2]}`, results.Difference{Differs: true, LabelsMove: 1, Score: 0.1}},
		{"a label less", was.Labels[:1], `{"choices":[{"text":"four"}],"n":[1,2]}`, results.Difference{Differs: true, LabelsMove: 1}},
		{"another form", was.Labels, `{"choices":[],"n":[1,2]}`, results.Difference{Differs: true, FormMoves: true}},
		{"another number", was.Labels, `{"choices":[{"text":"four"}],"n":[1,3]}`, results.Difference{Differs: true, Numbers: 1}},
		{"a member less", was.Labels, `{"choices":[{"text":"four"}]}`, results.Difference{Differs: true, FormMoves: true}},
	} {
		got := results.Compare(was, c.labels, []byte(c.answer))
		if math.Abs(got.Score-c.want.Score) > 1e-9 || math.Abs(got.Numbers-c.want.Numbers) > 1e-9 {
			t.Errorf("%s: %+v, want %+v", c.what, got, c.want)
		}
		got.Score, got.Numbers, c.want.Score, c.want.Numbers = 0, 0, 0, 0
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.what, got, c.want)
		}
	}
}

func TestFolder(t *testing.T) {
	got := results.Folder(results.Record{At: 1795651200000, Tenant: "../t", Model: "team/m", Version: 3})
	if got != "results/tenant=..%2Ft/model=team%2Fm/version=3/day=2026-11-26/" {
		t.Error(got)
	}
}

func TestCursor(t *testing.T) {
	c := results.CursorOf(results.Record{At: 5, ID: "a:b"})
	if got, err := results.ParseCursor(c.String()); err != nil || got != c {
		t.Error(got, err)
	}
	for _, bad := range []string{"x", ":a", "5:", "5"} {
		if _, err := results.ParseCursor(bad); err == nil {
			t.Error(bad)
		}
	}
}

// A pattern finds what is meant within texts that are JSON themselves, and numbers however they are written.
func TestRedactMeaning(t *testing.T) {
	rule, err := results.Policy{Tenant: results.Any, Model: results.Any, Keep: results.All, Days: 1, Redact: []results.Redaction{{Pattern: `[a-z]+@[a-z]+\.com`}, {Pattern: `1[3-9]\d{9}`}}}.Rule()
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]string{
		`{"arguments":"{\"mail\":\"x\\u0040y.com\"}"}`:              `{"arguments":"{\"mail\":\"[redacted]\"}"}`,
		`{"a":"{\"b\":\"{\\\"c\\\":\\\"x\\\\u0040y.com\\\"}\"}"}`:   `{"a":"{\"b\":\"{\\\"c\\\":\\\"[redacted]\\\"}\"}"}`,
		`{"a":"{\"n\": 1.3800138e10}"}`:                             `{"a":"{\"n\":\"[redacted]\"}"}`,
		`{"a":"{ \"n\": 1.0 }"}`:                                    `{"a":"{ \"n\": 1.0 }"}`,
		`[13800138000.0,1.3800138e10,-13800138000,138001380000e-1]`: `["[redacted]","[redacted]","[redacted]","[redacted]"]`,
		`[1e999999999,0.5,-0,12,1e-41]`:                             `[1e999999999,0.5,-0,12,1e-41]`,
	} {
		if got := rule.Apply(results.Record{Request: json.RawMessage(body)}); string(got.Request) != want {
			t.Errorf("%s: %s, want %s", body, got.Request, want)
		}
	}
}
