package grammar

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// sampled is a schema, and a way to write values that fit it as this package would.
type sampled struct {
	schema map[string]any
	sample func(t *rapid.T) string
}

func pick[T any](t *rapid.T, from ...T) T {
	return from[rapid.IntRange(0, len(from)-1).Draw(t, "pick")]
}

func gapText(t *rapid.T) string { return pick(t, "", " ", "\n", "\n  ", "\n\t\t") }

// letters of sampled strings, as they stand in JSON text; each is one character.
var letters = []string{"a", "b", "z", " ", "é", "漢", "😀", `\n`, `\"`, `\\`, `\u00e9`, `\ud83d\ude00`, `\/`, "\u007f"}

func textOfLength(t *rapid.T, least, most int) string {
	var s strings.Builder
	for range rapid.IntRange(least, most).Draw(t, "length") {
		s.WriteString(pick(t, letters...))
	}
	return `"` + s.String() + `"`
}

// textSchemas makes strings.
func textSchemas(t *rapid.T) sampled {
	switch rapid.IntRange(0, 4).Draw(t, "text") {
	case 0:
		least := rapid.IntRange(0, 3).Draw(t, "least")
		most := least + rapid.IntRange(0, 5).Draw(t, "more")
		return sampled{map[string]any{"type": "string", "minLength": least, "maxLength": most}, func(t *rapid.T) string { return textOfLength(t, least, most) }}
	case 1:
		least := rapid.IntRange(0, 3).Draw(t, "least")
		return sampled{map[string]any{"type": "string", "minLength": least}, func(t *rapid.T) string { return textOfLength(t, least, least+4) }}
	case 2:
		p := pick(t, `^[a-f]{2,4}$`, `^(foo|ba[rz])+$`, `^\d{3}-\d{2}$`, `^[^"\\x]{0,3}$`, `^é.漢?$`)
		return sampled{map[string]any{"type": "string", "pattern": p}, func(t *rapid.T) string {
			return quote(rapid.StringMatching(p).Filter(func(s string) bool { return !strings.ContainsAny(s, "\r\u2028\u2029") }).Draw(t, "match"))
		}}
	case 3:
		f := pick(t, map[string]string{"date": "2024-02-29", "x": "1999-12-31"}, map[string]string{"uuid": "123e4567-e89b-12d3-a456-426614174000"},
			map[string]string{"ipv4": "192.168.0.1"}, map[string]string{"date-time": "2020-01-01T00:00:00.5+01:00"}, map[string]string{"email": "a.b@c.example"})
		for _, name := range []string{"date", "uuid", "ipv4", "date-time", "email"} {
			if v, ok := f[name]; ok {
				return sampled{map[string]any{"type": "string", "format": name}, func(*rapid.T) string { return quote(v) }}
			}
		}
	}
	return sampled{map[string]any{"type": "string", "title": "any"}, func(t *rapid.T) string { return textOfLength(t, 0, 6) }}
}

// numberSchemas makes integers and numbers.
func numberSchemas(t *rapid.T) sampled {
	lo := rapid.IntRange(-300, 300).Draw(t, "lo")
	hi := lo + rapid.IntRange(0, 400).Draw(t, "width")
	switch rapid.IntRange(0, 4).Draw(t, "number") {
	case 0:
		return sampled{map[string]any{"type": "integer", "minimum": lo, "exclusiveMaximum": hi + 1}, func(t *rapid.T) string {
			return fmt.Sprint(rapid.IntRange(lo, hi).Draw(t, "int"))
		}}
	case 1:
		m := rapid.IntRange(1, 40).Draw(t, "multiple")
		return sampled{map[string]any{"type": "integer", "multipleOf": m, "minimum": lo * m, "maximum": hi * m}, func(t *rapid.T) string {
			return fmt.Sprint(m * rapid.IntRange(lo, hi).Draw(t, "int"))
		}}
	case 2:
		return sampled{map[string]any{"type": "number", "minimum": float64(lo) / 8, "maximum": float64(hi) / 8}, func(t *rapid.T) string {
			n := rapid.IntRange(lo*125, hi*125).Draw(t, "thousandths")
			s := new(big.Rat).SetFrac64(int64(n), 1000).FloatString(3)
			if strings.HasPrefix(s, "-0.000") {
				return "0"
			}
			if rapid.Bool().Draw(t, "short") && strings.HasSuffix(s, ".000") {
				s = strings.TrimSuffix(s, ".000")
			}
			return s
		}}
	case 3:
		return sampled{map[string]any{"type": "integer"}, func(t *rapid.T) string {
			return fmt.Sprint(rapid.Int64Range(-999999999999999999, 999999999999999999).Draw(t, "int"))
		}}
	}
	return sampled{map[string]any{"type": "number"}, func(t *rapid.T) string {
		return rapid.StringMatching(`-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "number")
	}}
}

// arraySchemas makes arrays.
func arraySchemas(t *rapid.T, depth int) sampled {
	schema := map[string]any{"type": "array"}
	var firsts []sampled
	for range rapid.IntRange(0, 2).Draw(t, "firsts") {
		firsts = append(firsts, anySchema(t, depth-1))
	}
	if firsts != nil {
		var list []any
		for _, f := range firsts {
			list = append(list, f.schema)
		}
		schema["prefixItems"] = list
	}
	rest := anySchema(t, depth-1)
	schema["items"] = rest.schema
	least := rapid.IntRange(0, 3).Draw(t, "least")
	most := least + rapid.IntRange(0, 3).Draw(t, "more")
	schema["minItems"] = least
	if rapid.Bool().Draw(t, "bounded") {
		schema["maxItems"] = most
	}
	return sampled{schema, func(t *rapid.T) string {
		out := "["
		n := rapid.IntRange(least, most).Draw(t, "items")
		for i := range n {
			item := rest
			if i < len(firsts) {
				item = firsts[i]
			}
			if i > 0 {
				out += ","
			}
			out += gapText(t) + item.sample(t)
		}
		return out + gapText(t) + "]"
	}}
}

// objectSchemas makes objects. Properties are in alphabetical order, which is how encoding/json writes a map.
func objectSchemas(t *rapid.T, depth int) sampled {
	keys := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "aa", "ab", "b", `c"d`, "é", "name"}), 0, 4, rapid.ID).Draw(t, "keys")
	slices.Sort(keys)
	props, subs, must := map[string]any{}, map[string]sampled{}, map[string]bool{}
	required := []string{}
	for _, k := range keys {
		subs[k] = anySchema(t, depth-1)
		props[k] = subs[k].schema
		if must[k] = rapid.Bool().Draw(t, "required"); must[k] {
			required = append(required, k)
		}
	}
	schema := map[string]any{"type": "object", "properties": props, "required": required, "additionalProperties": false}
	var other *sampled
	if rapid.Bool().Draw(t, "additional") {
		s := anySchema(t, depth-1)
		other, schema["additionalProperties"] = &s, s.schema
	}
	return sampled{schema, func(t *rapid.T) string {
		var members []string
		write := func(key string, s sampled) {
			members = append(members, gapText(t)+quote(key)+":"+pick(t, "", " ")+s.sample(t))
		}
		for _, k := range keys {
			if must[k] || rapid.Bool().Draw(t, "write") {
				write(k, subs[k])
			}
		}
		for _, k := range []string{"", "aaa", "z\n", "漢"} {
			if other != nil && rapid.Bool().Draw(t, "more") {
				write(k, *other)
			}
		}
		return "{" + strings.Join(members, ",") + gapText(t) + "}"
	}}
}

// anySchema makes any schema.
func anySchema(t *rapid.T, depth int) sampled {
	most := 8
	if depth <= 0 {
		most = 3
	}
	switch rapid.IntRange(0, most).Draw(t, "schema") {
	case 0:
		return textSchemas(t)
	case 1:
		return numberSchemas(t)
	case 2:
		return sampled{map[string]any{"type": []string{"boolean", "null"}}, func(t *rapid.T) string { return pick(t, "true", "false", "null") }}
	case 3:
		values := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{`"a"`, `"ab"`, `1`, `1.5`, `null`, `true`, `[1,"x"]`, `{"k":[]}`}), 1, 4, rapid.ID).Draw(t, "enum")
		var list []any
		for _, v := range values {
			list = append(list, json.RawMessage(v))
		}
		return sampled{map[string]any{"enum": list}, func(t *rapid.T) string { return pick(t, values...) }}
	case 4:
		return arraySchemas(t, depth)
	case 5:
		a, b := anySchema(t, depth-1), anySchema(t, depth-1)
		return sampled{map[string]any{"anyOf": []any{a.schema, b.schema}}, func(t *rapid.T) string { return pick(t, a, b).sample(t) }}
	}
	switch rapid.IntRange(0, 2).Draw(t, "combination") {
	case 0:
		return toldApart(t, depth)
	case 1:
		lo := rapid.IntRange(-50, 50).Draw(t, "lo")
		return sampled{map[string]any{"allOf": []any{map[string]any{"type": "integer", "minimum": lo}, map[string]any{"maximum": lo + 12, "exclusiveMinimum": lo - 5}}}, func(t *rapid.T) string {
			return fmt.Sprint(rapid.IntRange(lo, lo+12).Draw(t, "int"))
		}}
	}
	return objectSchemas(t, depth)
}

// toldApart makes objects of two kinds, of which a member says which.
func toldApart(t *rapid.T, depth int) sampled {
	kinds := []sampled{anySchema(t, depth-1), anySchema(t, depth-1)}
	var list []any
	for i, k := range kinds {
		list = append(list, map[string]any{"properties": map[string]any{"a": map[string]any{"const": fmt.Sprint("is", i)}, "b": k.schema}, "required": []string{"a"}})
	}
	return sampled{map[string]any{"type": "object", "oneOf": list}, func(t *rapid.T) string {
		i := rapid.IntRange(0, 1).Draw(t, "kind")
		if rapid.Bool().Draw(t, "alone") {
			return fmt.Sprintf(`{"a":"is%d"}`, i)
		}
		return fmt.Sprintf(`{"a":"is%d", "b": %s}`, i, kinds[i].sample(t))
	}}
}

// document makes a schema that stands by itself, and may refer to itself.
func document(t *rapid.T) sampled {
	leaf := anySchema(t, 2)
	if rapid.IntRange(0, 3).Draw(t, "recursive") > 0 {
		return leaf
	}
	schema := map[string]any{"$defs": map[string]any{"leaf": leaf.schema}, "type": "object", "required": []string{"deep"}, "additionalProperties": false,
		"properties": map[string]any{"deep": map[string]any{"type": "array", "items": map[string]any{"anyOf": []any{map[string]any{"$ref": "#"}, map[string]any{"$ref": "#/$defs/leaf"}}}}}}
	var sample func(t *rapid.T, depth int) string
	sample = func(t *rapid.T, depth int) string {
		var items []string
		for range rapid.IntRange(0, 2).Draw(t, "items") {
			if depth > 0 && rapid.Bool().Draw(t, "deeper") {
				items = append(items, gapText(t)+sample(t, depth-1))
			} else {
				items = append(items, leaf.sample(t))
			}
		}
		return `{"deep": [` + strings.Join(items, ",") + `]}`
	}
	return sampled{schema, func(t *rapid.T) string { return sample(t, 3) }}
}
