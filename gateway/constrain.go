package gateway

import (
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/skein-project/skein/engine/sample"
	"github.com/skein-project/skein/grammar"
	"github.com/skein-project/skein/internal/toolcall"
	"github.com/skein-project/skein/model"
)

// formats are the fields that say what the text of an answer must look like: those of the OpenAI API, and those of vLLM.
type formats struct {
	ResponseFormat    *responseFormat   `json:"response_format"`
	StructuredOutputs *structuredFormat `json:"structured_outputs"`
	GuidedJSON        json.RawMessage   `json:"guided_json"`
	GuidedRegex       string            `json:"guided_regex"`
	GuidedChoice      []string          `json:"guided_choice"`
	GuidedGrammar     string            `json:"guided_grammar"`
}

// structuredFormat is structured_outputs of vLLM.
type structuredFormat struct {
	JSON       json.RawMessage `json:"json"`
	Regex      string          `json:"regex"`
	Choice     []string        `json:"choice"`
	JSONObject bool            `json:"json_object"`
	Grammar    string          `json:"grammar"`
	Tag        json.RawMessage `json:"structural_tag"`
}

// responseFormat is the form of an answer in the OpenAI API: chat completions name a schema in a member of its own, responses beside the type.
type responseFormat struct {
	Type string `json:"type"`
	namedSchema
	JSONSchema *namedSchema `json:"json_schema,omitempty"`
}

type namedSchema struct {
	Name        string          `json:"name,omitempty"`
	Description string          `json:"description,omitempty"`
	Schema      json.RawMessage `json:"schema,omitempty"`
	Strict      *bool           `json:"strict,omitempty"` // both are kept: what was asked for is enforced
}

// source is what a format asks for; nil = any text.
func (f *responseFormat) source(param string) (*grammar.Source, error) {
	if f == nil {
		return nil, nil
	}
	switch f.Type {
	case "text", "":
		return nil, nil
	case "json_object":
		return &grammar.Source{Object: true}, nil
	case "json_schema":
		schema := f.Schema
		if f.JSONSchema != nil {
			schema = f.JSONSchema.Schema
		}
		if unsaid(schema) {
			return nil, invalid(param, "%s: json_schema needs a schema", param)
		}
		return &grammar.Source{Schema: schema}, nil
	}
	return nil, invalid(param, "%s: %.40q, want text, json_object or json_schema", param, f.Type)
}

func unsaid(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// schemaOf reads a schema that may be written as a text.
func schemaOf(raw json.RawMessage) json.RawMessage {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return json.RawMessage(text)
	}
	return raw
}

// constrain reads the formats of a request: at most one says anything.
func (f *formats) constrain(a *Ask) error {
	format, err := f.ResponseFormat.source("response_format")
	if err != nil {
		return err
	}
	if f.GuidedGrammar != "" || f.StructuredOutputs != nil && (f.StructuredOutputs.Grammar != "" || !unsaid(f.StructuredOutputs.Tag)) {
		return invalid("structured_outputs", "structured_outputs: of json, regex and choice one is enforced; grammar and structural_tag are not supported by this server")
	}
	s := f.StructuredOutputs
	if s == nil {
		s = &structuredFormat{}
	}
	var param string
	for _, x := range []struct {
		param  string
		asked  bool
		source grammar.Source
	}{
		{"structured_outputs.json", !unsaid(s.JSON), grammar.Source{Schema: schemaOf(s.JSON)}},
		{"structured_outputs.regex", s.Regex != "", grammar.Source{Regex: s.Regex}},
		{"structured_outputs.choice", len(s.Choice) > 0, grammar.Source{Choice: s.Choice}},
		{"structured_outputs.json_object", s.JSONObject, grammar.Source{Object: true}},
		{"guided_json", !unsaid(f.GuidedJSON), grammar.Source{Schema: schemaOf(f.GuidedJSON)}},
		{"guided_regex", f.GuidedRegex != "", grammar.Source{Regex: f.GuidedRegex}},
		{"guided_choice", len(f.GuidedChoice) > 0, grammar.Source{Choice: f.GuidedChoice}},
		{"response_format", format != nil, grammar.Source{}},
	} {
		if !x.asked {
			continue
		}
		if param != "" {
			return invalid(x.param, "%s: %s says already what the answer looks like", x.param, param)
		}
		if param = x.param; format == nil {
			format = &x.source
		}
	}
	return a.constrain(param, format)
}

// maxConstraint bounds a constraint in bytes of JSON: it goes to the last stage, beside what is given of the answer.
const maxConstraint = 256 << 10

// constrain says what the answer must look like, if that can be enforced; nil = anything. param is the field that asks for it.
func (a *Ask) constrain(param string, source *grammar.Source) error {
	if source == nil {
		return nil
	}
	switch raw, err := json.Marshal(source); {
	case err != nil:
		return invalid(param, "%s: a schema is JSON: %v", param, err)
	case len(raw) > maxConstraint:
		return invalid(param, "%s: %d bytes, at most %d", param, len(raw), maxConstraint)
	}
	if _, err := grammar.Compile(*source); err != nil {
		return unfit(param, err)
	}
	a.Constraint = source
	return nil
}

// unfit is what the client is told of a constraint that is none.
func unfit(param string, err error) error {
	unsupported, large := (*grammar.Unsupported)(nil), (*grammar.TooLarge)(nil)
	if errors.As(err, &unsupported) || errors.As(err, &large) || errors.Is(err, grammar.ErrMalformed) {
		return invalid(param, "%s: %v", param, err)
	}
	return err
}

// biases reads logit_bias: what is added to the logits of tokens, by their ids.
func biases(by map[string]float64) (out []sample.Bias, err error) {
	for key, add := range by {
		id, err := strconv.ParseInt(key, 10, 32)
		if err != nil {
			return nil, invalid("logit_bias", "logit_bias: %.40q is no token id", key)
		}
		out = append(out, sample.Bias{Token: int32(id), Add: add})
	}
	sortBias(out)
	return out, nil
}

func sortBias(list []sample.Bias) {
	slices.SortFunc(list, func(a, b sample.Bias) int { return cmp.Compare(a.Token, b.Token) })
}

// checkBias refuses what is out of range, and tokens that the model does not have.
func (t *text) checkBias(list []sample.Bias) error {
	if len(list) > model.MaxBiases {
		return invalid("logit_bias", "logit_bias: %d tokens, at most %d", len(list), model.MaxBiases)
	}
	for _, b := range list {
		if err := t.known([]int32{b.Token}, "logit_bias"); err != nil {
			return err
		}
		if math.IsNaN(b.Add) || math.Abs(b.Add) > model.MaxBias {
			return invalid("logit_bias", "logit_bias: %v of token %d is not in %d..%d", b.Add, b.Token, -model.MaxBias, model.MaxBias)
		}
	}
	return nil
}

// penalise sets the penalties.
func (a *Ask) penalise(frequency, presence, repetition float64) {
	a.Sampling.FrequencyPenalty, a.Sampling.PresencePenalty, a.Sampling.RepetitionPenalty = frequency, presence, repetition
}

// constrain says what the answer must look like so that the calls in it are what the offer promises. What the ask was constrained to is the
// form of an answer without a call.
func (o *offer) constrain(t *text, a *Ask) error {
	if !o.heard() {
		return nil
	}
	form := toolcall.FormOf(t.source)
	strict := slices.ContainsFunc(o.tools, func(f tool) bool { return f.strict })
	var source *grammar.Source
	switch {
	case o.choice == choiceNamed:
		f := o.named()
		if a.Constraint = nil; !f.strict {
			return nil
		}
		_, after := form.Around(t.source, f.name)
		source = sequence(grammar.Source{Regex: " ?"}, f.arguments(), grammar.Source{Literal: after})
	case o.choice == choiceAny:
		source = o.alternatives(form, t.source, "")
	case a.Constraint != nil: // the answer is a call, or it has the form
		source = o.alternatives(form, t.source, "", *a.Constraint)
		o.single = true
	case !strict:
		return nil
	case form.Opening() == "":
		source = o.alternatives(form, t.source, "", grammar.Source{Regex: `(\s*[^\s{][\s\S]*)?`})
	default:
		source = &grammar.Source{Free: &grammar.Free{Marker: form.Opening(), Then: *o.alternatives(form, t.source, form.Opening())}}
		if o.single {
			source.Free.Times = 1
		}
	}
	if form.Opening() == "" {
		a.Marks = nil // what may stand before a call need not
	}
	return a.constrain("tools", source)
}

// alternatives are a call of any function, without the mark that the call begins with, or something else.
func (o *offer) alternatives(form toolcall.Form, template, mark string, others ...grammar.Source) *grammar.Source {
	out := &grammar.Source{Alt: others}
	for _, f := range o.tools {
		before, after := form.Around(template, f.name)
		out.Alt = append(out.Alt, *sequence(grammar.Source{Literal: strings.TrimPrefix(before, mark)}, f.arguments(), grammar.Source{Literal: after}))
	}
	return out
}

// arguments are those of a call: they follow the schema where that is promised.
func (t tool) arguments() grammar.Source {
	if t.strict && t.schema != nil {
		return grammar.Source{Schema: t.schema}
	}
	return grammar.Source{Object: true}
}

// sequence is parts one after the other, without literals of no text.
func sequence(parts ...grammar.Source) *grammar.Source {
	parts = slices.DeleteFunc(parts, func(p grammar.Source) bool {
		return p.Literal == "" && !p.Object && p.Schema == nil && p.Regex == "" && p.Choice == nil && p.Seq == nil && p.Alt == nil && p.Free == nil
	})
	return &grammar.Source{Seq: parts}
}

// asTokens is a constraint of the tokens' bytes, given one of the text: where a tokenizer drops the space that an answer begins with, the
// tokens have one more than the text.
func (t *text) asTokens(source *grammar.Source) *grammar.Source {
	if !t.tokenizer.DropsSpace() || source.Free != nil {
		return source
	}
	space := grammar.Source{Regex: " ?"}
	if mayBeginWithSpace(*source) {
		space = grammar.Source{Literal: " "}
	}
	return &grammar.Source{Seq: []grammar.Source{space, *source}}
}

// mayBeginWithSpace says that a text of the source may begin with a space; true where that is not plain to see.
func mayBeginWithSpace(s grammar.Source) bool {
	switch {
	case s.Object || s.Schema != nil:
		return false // no white space stands before a value
	case s.Literal != "":
		return s.Literal[0] == ' '
	case len(s.Choice) > 0:
		return slices.ContainsFunc(s.Choice, func(c string) bool { return c == "" || c[0] == ' ' })
	case len(s.Seq) > 0:
		return mayBeginWithSpace(s.Seq[0])
	case len(s.Alt) > 0:
		return slices.ContainsFunc(s.Alt, mayBeginWithSpace)
	}
	return true
}
