// Package toolcall finds calls of functions in what a model writes, in the forms that chat templates teach: as text arrives, whatever its pieces.
package toolcall

import "strings"

// Form is a way in which models write calls.
type Form int

// Forms.
const (
	Unknown Form = iota // no form that is read here
	Tagged              // <tool_call>{"name": …, "arguments": {…}}</tool_call>, anywhere (Hermes, Qwen)
	Bare                // {"name": …, "parameters": {…}} as the whole answer, maybe behind <|python_tag|>, several apart by ";" (Llama 3)
	Listed              // [TOOL_CALLS] [{"name": …, "arguments": {…}}, …], or [TOOL_CALLS]name[ARGS]{…} for each (Mistral)
)

// Marks of the forms.
const (
	tagOpen   = "<tool_call>"
	tagClose  = "</tool_call>"
	pythonTag = "<|python_tag|>"
	listOpen  = "[TOOL_CALLS]"
	listID    = "[CALL_ID]"
	listArgs  = "[ARGS]"
)

// FormOf is the form that a chat template teaches, by the marks in its source; Unknown if it takes no tools, or teaches another form.
func FormOf(template string) Form {
	has := func(s string) bool { return strings.Contains(template, s) }
	switch {
	case !has("tools"):
		return Unknown
	case has(listOpen):
		return Listed
	case has(tagOpen) && !has("<function=") && !has("<arg_key>"): // those write arguments as elements
		return Tagged
	case has(`"parameters": `) && (has(pythonTag) || has("<|start_header_id|>")):
		return Bare
	}
	return Unknown
}

// Marks are the strings that a reader of the form looks for. Where a tokenizer has one as a special token, it belongs into the text that is read.
func (f Form) Marks() []string {
	switch f {
	case Tagged:
		return []string{tagOpen, tagClose}
	case Bare:
		return []string{pythonTag}
	case Listed:
		return []string{listOpen, listID, listArgs}
	}
	return nil
}

// Around are the texts around the arguments of a call of the function name, as an answer writes it that is this call alone. template is the
// source of the form's template.
func (f Form) Around(template, name string) (before, after string) {
	switch {
	case f == Tagged:
		return tagOpen + "\n{\"name\": \"" + name + "\", \"arguments\": ", "}\n" + tagClose
	case f == Bare:
		return "{\"name\": \"" + name + "\", \"parameters\": ", "}"
	case f == Listed && strings.Contains(template, listArgs):
		return listOpen + name + listArgs, ""
	case f == Listed:
		return listOpen + " [{\"name\": \"" + name + "\", \"arguments\": ", "}]"
	}
	return "", ""
}

// Opening is the mark that every call begins with, wherever it is in an answer; "" = none: only a whole answer is a call.
func (f Form) Opening() string {
	switch f {
	case Tagged:
		return tagOpen
	case Listed:
		return listOpen
	}
	return ""
}

// Begin is how an answer begins that calls the function name: up to the first byte of the arguments, which is read as part of the call.
func (f Form) Begin(template, name string) string {
	before, _ := f.Around(template, name)
	if before == "" {
		return ""
	}
	return before + "{"
}
