package convert

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/skein-project/skein/model"
)

// side is skein.json: what a folder says about a graph that has no settings of Hugging Face, or whose settings are not enough. All keys are
// optional; unknown keys are refused.
//
//	task       what the model answers: a model.Task, or "tensors" (no text)
//	labels     names of the classes
//	problem    model.Problem; default single_label_classification
//	pooling    model.Pooling; default mean
//	normalize  vectors have length 1
//	context    tokens of the longest text
//	text       which ports of the graph are text: ids, mask, types (inputs), hidden, pooled, logits, start, end (outputs)
//	signature  of a SavedModel; default serving_default
//	shapes     of a SavedModel: lengths of inputs that its signature leaves open, −1 = stays open
type side struct {
	*settings
	there bool
}

// sideKeys lists the keys of skein.json and of its text.
var (
	sideKeys = []string{"context", "labels", "normalize", "pooling", "problem", "shapes", "signature", "task", "text"}
	textKeys = []string{"end", "hidden", "ids", "logits", "mask", "pooled", "start", "types"}
)

// tensorsOnly is the task of a graph that is not asked with text.
const tensorsOnly = "tensors"

// side reads skein.json; one that is missing says nothing.
func (r *reading) side() (side, error) {
	s := side{settings: &settings{file: sideName}}
	if _, ok := r.files[sideName]; !ok {
		return s, nil
	}
	values, err := r.settings(sideName, MaxConfig)
	if err != nil {
		return s, err
	}
	s.settings, s.there = values, true
	known(s.settings, sideKeys)
	text := s.object("text")
	known(text, textKeys)
	s.join(text)
	return s, s.err()
}

// shapes reads what lengths are chosen for inputs.
func (s *side) shapes() map[string][]int64 {
	inner := s.object("shapes")
	out := map[string][]int64{}
	for _, key := range slices.Sorted(maps.Keys(inner.values)) {
		var dims []int64
		if err := json.Unmarshal(inner.values[key], &dims); err != nil || len(dims) > model.MaxRank {
			inner.refuse(key, "is no list of at most %d lengths", model.MaxRank)
		}
		out[key] = dims
	}
	s.join(inner)
	return out
}

// known refuses keys that mean nothing.
func known(s *settings, keys []string) {
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		if !slices.Contains(keys, key) {
			s.refuse(key, "is not known here; known are %s", strings.Join(keys, ", "))
		}
	}
}

// usual lists the names that exporters give the ports of text, the first that a graph has counts.
var usual = []struct {
	key   string
	names []string
	at    func(*model.Text) *string
	in    bool
}{
	{"ids", []string{"input_ids", "input_word_ids"}, func(t *model.Text) *string { return &t.IDs }, true},
	{"mask", []string{"attention_mask", "input_mask"}, func(t *model.Text) *string { return &t.Mask }, true},
	{"types", []string{"token_type_ids", "segment_ids", "input_type_ids"}, func(t *model.Text) *string { return &t.Types }, true},
	{"hidden", []string{"last_hidden_state", "token_embeddings", "sequence_output"}, func(t *model.Text) *string { return &t.Hidden }, false},
	{"pooled", []string{"sentence_embedding", "pooler_output", "pooled_output"}, func(t *model.Text) *string { return &t.Pooled }, false},
	{"logits", []string{"logits"}, func(t *model.Text) *string { return &t.Logits }, false},
	{"start", []string{"start_logits"}, func(t *model.Text) *string { return &t.Start }, false},
	{"end", []string{"end_logits"}, func(t *model.Text) *string { return &t.End }, false},
}

// ports finds the ports of text: those that skein.json names, else the usual ones. It is nil where the graph has no token ids, or an input
// that text does not fill.
func (s *side) ports(sig *model.Signature) *model.Text {
	named := s.object("text")
	t := &model.Text{}
	covered := 0
	for _, u := range usual {
		find := sig.Output
		if u.in {
			find = sig.Input
		}
		if named.has(u.key) {
			*u.at(t) = named.text(u.key, "")
		} else {
			for _, name := range u.names {
				if _, ok := find(name); ok {
					*u.at(t) = name
					break
				}
			}
		}
		if u.in && *u.at(t) != "" {
			covered++
		}
	}
	s.join(named)
	ids, ok := sig.Input(t.IDs)
	if !ok || covered != len(sig.Inputs) || len(ids.Shape) == 2 && ids.Shape[0] != model.Free && ids.Shape[0] != 1 {
		return nil // texts are run one by one
	}
	return t
}

// taskOf is what a model answers: by skein.json, else by the class that config.json names; "" = nothing says it.
func (r *reading) taskOf(s side) (model.Task, error) {
	if s.has("task") {
		return model.Task(s.text("task", "")), s.err()
	}
	if s.has("labels") {
		return model.Classify, nil
	}
	if r.config == nil {
		return "", nil
	}
	names := r.config.texts("architectures")
	if len(names) != 1 {
		return "", r.config.err()
	}
	for _, end := range []struct {
		ending string
		task   model.Task
	}{{"ForSequenceClassification", model.Classify}, {"ForTokenClassification", model.ClassifyTokens}, {"ForMaskedLM", model.FillMask},
		{"ForQuestionAnswering", model.Answer}, {"Model", model.EmbedTask}} {
		if strings.HasSuffix(names[0], end.ending) {
			return end.task, nil
		}
	}
	return "", nil
}

// note says something to whoever publishes.
func (r *reading) note(format string, args ...any) {
	r.made.Notes = append(r.made.Notes, fmt.Sprintf(format, args...))
}
