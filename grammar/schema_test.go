package grammar

import (
	"testing"
)

func TestSchemaTry(t *testing.T) {
	for _, c := range []struct {
		schema  string
		yes, no []string
	}{
		{`{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string","maxLength":3}},"required":["a"]}`, []string{`{"a":1}`, `{"a": -5, "b": "xäy"}`}, []string{`{}`, `{"b":"x"}`, `{"a":1,"b":"xxxx"}`, `{"a":1,"c":1}`, `{"a":-0}`}},
		{`{"$defs":{"n":{"type":"object","properties":{"v":{"type":"number","minimum":0,"maximum":1},"next":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}},"required":["v","next"],"additionalProperties":false}},"$ref":"#/$defs/n"}`, []string{`{"v":0.5,"next":{"v":1,"next":null}}`, `{"v":1.0,"next":null}`}, []string{`{"v":1.5,"next":null}`, `{"v":1.01,"next":null}`}},
		{`{"type":"integer","minimum":-12,"maximum":105}`, []string{"-12", "0", "-1", "105", "99", "10"}, []string{"-13", "106", "-0", "1000", "01"}},
		{`{"type":"integer","multipleOf":7,"minimum":10}`, []string{"14", "21", "700"}, []string{"7", "15", "0"}},
		{`{"type":"string","pattern":"^[a-c]+$","minLength":2}`, []string{`"ab"`}, []string{`"a"`, `"abd"`}},
		{`{"type":"string","pattern":"x"}`, []string{`"x"`, `"axb\n"`}, []string{`"a"`}},
		{`{"type":"string","format":"date"}`, []string{`"2024-02-29"`}, []string{`"2023-02-29"`, `"2024-13-01"`}},
		{`{"type":"object","properties":{"a":{"const":1}},"additionalProperties":{"type":"null"}}`, []string{`{"a":1,"b":null}`, `{"aa":null}`, `{"":null}`}, []string{`{"b":null,"a":1}`, `{"a":null}`, `{"b":1}`}},
		{`{"type":"array","prefixItems":[{"const":1},{"const":2}],"items":{"const":3},"minItems":1,"maxItems":4}`, []string{`[1]`, `[1,2,3,3]`, `[1, 2]`}, []string{`[]`, `[1,3]`, `[1,2,3,3,3]`}},
		{`{"type":"array","items":{"type":"boolean"},"minItems":2,"maxItems":3}`, []string{`[true,false]`, `[true,false,true]`}, []string{`[]`, `[true]`, `[true,true,true,true]`}},
		{`{"enum":["a",1,null,{"x":[1,2]}]}`, []string{`"a"`, `1`, `null`, `{"x":[1,2]}`}, []string{`2`}},
		{`true`, []string{`[1,{"a":"b"}]`}, []string{``}},
	} {
		g, err := Compile(Source{Schema: []byte(c.schema)})
		if err != nil {
			t.Error(c.schema, err)
			continue
		}
		for _, s := range c.yes {
			if !fits(g, s) {
				t.Errorf("%s: refuses %s", c.schema, s)
			}
		}
		for _, s := range c.no {
			if fits(g, s) {
				t.Errorf("%s: takes %s", c.schema, s)
			}
		}
	}
}

func TestFreeTry(t *testing.T) {
	for times, no := range []string{"xx<<ab> <<1", "<<1><<2>", "<<1><<1><<1>"} {
		g, err := Compile(Source{Free: &Free{Marker: "<<", Then: Source{Seq: []Source{{Regex: "[0-9]+"}, {Literal: ">"}}}, Times: times}})
		if err != nil {
			t.Fatal(err)
		}
		if !fits(g, "a <b <<12> äc<") {
			t.Error(times)
		}
		if fits(g, no) {
			t.Error(times, no)
		}
	}
}
