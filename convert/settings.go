package convert

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// settings reads the values of a JSON object with exact keys and types. The first thing that is wrong is kept and everything
// read after it is zero, so that a reader of many values checks for an error once.
type settings struct {
	file   string
	inside string // key of the object within the file, "" for the file itself
	values map[string]json.RawMessage
	wrong  error
}

func (s *settings) err() error { return s.wrong }

// refuse notes what is wrong with a key.
func (s *settings) refuse(key, format string, args ...any) {
	if s.wrong != nil {
		return
	}
	if s.inside != "" {
		key = s.inside + "." + key
	}
	s.wrong = Refused{s.file, key, fmt.Sprintf(format, args...)}
}

// has says whether a key is there and not null.
func (s *settings) has(key string) bool {
	raw, ok := s.values[key]
	return ok && string(raw) != "null"
}

// hasNull says whether a key is there and null.
func (s *settings) hasNull(key string) bool { return string(s.values[key]) == "null" }

// require refuses an object that lacks one of the keys.
func (s *settings) require(keys ...string) {
	for _, key := range keys {
		if !s.has(key) {
			s.refuse(key, "is missing")
		}
	}
}

// count reads a whole number in 0..2^31−1, or fallback where the key is missing or null.
func (s *settings) count(key string, fallback int) int {
	if !s.has(key) {
		return fallback
	}
	n, err := strconv.ParseInt(string(s.values[key]), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt32 {
		s.refuse(key, "%.40s is not a whole number in 0..%d", s.values[key], math.MaxInt32)
		return 0
	}
	return int(n)
}

// number reads a finite number.
func (s *settings) number(key string, fallback float64) float64 {
	if !s.has(key) {
		return fallback
	}
	v := fallback
	if err := json.Unmarshal(s.values[key], &v); err != nil {
		s.refuse(key, "%.40s is not a number", s.values[key])
	}
	return v
}

// flag reads true or false.
func (s *settings) flag(key string, fallback bool) bool {
	if !s.has(key) {
		return fallback
	}
	v := fallback
	if err := json.Unmarshal(s.values[key], &v); err != nil {
		s.refuse(key, "%.40s is neither true nor false", s.values[key])
	}
	return v
}

// text reads a string.
func (s *settings) text(key, fallback string) string {
	if !s.has(key) {
		return fallback
	}
	v := fallback
	if err := json.Unmarshal(s.values[key], &v); err != nil {
		s.refuse(key, "%.40s is not a text", s.values[key])
	}
	return v
}

// texts reads a list of strings.
func (s *settings) texts(key string) []string {
	if !s.has(key) {
		return nil
	}
	var v []string
	if err := json.Unmarshal(s.values[key], &v); err != nil {
		s.refuse(key, "%.40s is not a list of texts", s.values[key])
	}
	return v
}

// object reads an object; it is empty where the key is missing or null. What is wrong in it must be taken over with join.
func (s *settings) object(key string) *settings {
	o := &settings{file: s.file, inside: key}
	if s.inside != "" {
		o.inside = s.inside + "." + key
	}
	if !s.has(key) {
		return o
	}
	if err := json.Unmarshal(s.values[key], &o.values); err != nil {
		s.refuse(key, "%.40s is not an object", s.values[key])
	}
	return o
}

// join takes over what is wrong in an inner object.
func (s *settings) join(o *settings) {
	if s.wrong == nil {
		s.wrong = o.wrong
	}
}

// only refuses any other value of a key than the fallback: a feature that the graphs do not have.
func (s *settings) only(key string, want bool) {
	if s.flag(key, want) != want {
		s.refuse(key, "%v is not supported", !want)
	}
}

// oneOf reads a text that must be one of a few.
func (s *settings) oneOf(key, fallback string, names map[string]string) string {
	v := s.text(key, fallback)
	name, ok := names[v]
	if !ok {
		s.refuse(key, "%.40q is not supported", v)
	}
	return name
}

// refuseCode refuses a folder that wants code of its own to be run.
func (s *settings) refuseCode() {
	for _, key := range []string{"auto_map", "trust_remote_code"} {
		if s.has(key) && string(s.values[key]) != "false" {
			s.refuse(key, "models that bring code are never run")
		}
	}
}

// ids reads a token id or a list of them. Ids that the vocabulary does not have are left out: the model cannot produce them,
// and Hugging Face writes such defaults into the configs of small models.
func (s *settings) ids(key string, vocab int) []int32 {
	if !s.has(key) {
		return nil
	}
	var list []int64
	if err := json.Unmarshal(s.values[key], &list); err != nil {
		var one int64
		if err := json.Unmarshal(s.values[key], &one); err != nil {
			s.refuse(key, "%.40s is neither a token id nor a list of them", s.values[key])
			return nil
		}
		list = []int64{one}
	}
	var ids []int32
	for _, id := range list {
		if id >= 0 && id < int64(vocab) {
			ids = append(ids, int32(id))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// activations maps the names of Hugging Face's activation functions to those of package model.
var activations = map[string]string{
	"gelu": "gelu", "gelu_python": "gelu",
	"gelu_new": "gelu_new", "gelu_pytorch_tanh": "gelu_new", "gelu_fast": "gelu_new",
	"relu": "relu", "silu": "silu", "swish": "silu",
}
