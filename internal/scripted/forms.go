package scripted

// Starts of the answers of the models of Forms: the chat template ends with the one that the conversation asks for.
const (
	say  = "<|say|>"
	call = "<|call|>"
	done = "<|done|>"
	loop = "<|loop|>"
	bad  = "<|bad|>"
	end  = "<|im_end|>"
)

// What the models of Forms say.
const (
	Said  = "It is fine in Zürich – 21 °C. 🌞"        // to anything
	Done  = "21 °C."                                 // to the result of a call
	Look  = "I look."                                // before the calls
	First = `{"city": "Zürich", "unit": "c"}`        // arguments of the first call, of get_weather
	Then  = `{"a": 2, "b": [3, {"c": "\"}\u00fc"}]}` // arguments of the second call, of add
	Named = `{"city": "Bern"}`                       // arguments of a call that is asked for by name
	Bad   = `{"city": Zürich}`                       // arguments of a call after "bad"
	Begun = " as ever."                              // behind an answer that begins with a colon
	Again = "on and on, "                            // for ever, after "loop"
)

// begin is how the templates end: with the token that the answer follows.
const begin = `{%- if messages[-1].role == 'tool' %}` + done + `{%- elif messages[-1].content == 'loop' %}` + loop +
	`{%- elif tools and messages[-1].content == 'bad' %}` + bad + `{%- elif tools %}` + call + `{%- else %}` + say + `{%- endif %}`

// turns is how the templates write messages: calls as one writes, results as they are.
func turns(one string) string {
	return `{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' + (m.content or '') }}{%- for c in m.tool_calls or [] %}{%- set f = c.function %}` + one +
		`{%- endfor %}{{- '` + end + `\n' }}{%- endfor %}{{- '<|im_start|>assistant\n' }}` + begin
}

// Forms are models that call functions, one in each form that is known, by the form's name: tagged, bare, listed.
func Forms() map[string]Model {
	special := []string{"<|im_start|>", say, call, done, loop, bad}
	common := map[string][]string{
		say: {"It is", " fine", " in Zür", "ich –", " 21", " °C.", " 🌞"}, done: {"21 °C", "."}, loop: {"on and", " on, ", "on and"}, ":": {" as", " ever."},
	}
	with := func(lines map[string][]string) map[string][]string {
		for k, v := range common {
			lines[k] = v
		}
		return lines
	}
	tools := `{%- if tools %}{{- '<|im_start|>system\n' }}{%- for t in tools %}{{- t | tojson }}{{- '\n' }}{%- endfor %}{{- '` + end + `\n' }}{%- endif %}`
	return map[string]Model{
		"tagged": {End: end, Special: special, Template: tools + turns(`{{- '\n<tool_call>\n{"name": "' + f.name + '", "arguments": ' + (f.arguments | tojson) + '}\n</tool_call>' }}`),
			Lines: with(map[string][]string{
				call: {"I loo", "k.\n", "<tool_", "call>\n", `{"name": "get_`, `weather", "argu`, `ments": {"city": "Z`, `ürich", `, `"unit": "c"`, "}}\n", "</tool_call>\n",
					"<tool_call>{\"name\": \"add\", ", `"arguments": {"a": 2, "b": [3, {"c": `, `"\"}\u00fc"`, "}]}}</tool_", "call>"},
				"{": {`"city": `, `"Bern"`, "}}", "\n</tool_call>"},
				bad: {`<tool_call>{"name": "get_weather", `, `"arguments": {"city": Zürich}}</tool_call>`},
			})},
		"bare": {End: end, Special: append([]string{"<|python_tag|>"}, special...), Template: tools + turns(`{{- '{"name": "' + f.name + '", "parameters": ' + (f.arguments | tojson) + '}' }}`) + `{#- <|python_tag|> #}`,
			Lines: with(map[string][]string{
				call: {"<|python_tag|>", `{"name": "get_`, `weather", "para`, `meters": {"city": "Z`, `ürich", `, `"unit": "c"`, "}}", "; ", `{"name": "add", `,
					`"parameters": {"a": 2, "b": [3, {"c": `, `"\"}\u00fc"`, "}]}}"},
				"{": {`"city": `, `"Bern"`, "}}"},
				bad: {`{"name": "get_weather", `, `"parameters": {"city": Zürich}}`},
			})},
		"listed": {End: end, Special: append([]string{"[TOOL_CALLS]"}, special...), Template: tools + turns(`{{- '[TOOL_CALLS] [{"name": "' + f.name + '", "arguments": ' + (f.arguments | tojson) + '}]' }}`),
			Lines: with(map[string][]string{
				call: {"I loo", "k.", "[TOOL_CALLS]", " [", `{"name": "get_`, `weather", "argu`, `ments": {"city": "Z`, `ürich", `, `"unit": "c"`, "}}, ", `{"name": "add", `,
					`"arguments": {"a": 2, "b": [3, {"c": `, `"\"}\u00fc"`, "}]}}]"},
				"{": {`"city": `, `"Bern"`, "}}]"},
				bad: {" [TOOL_", `CALLS] [{"name": "get_weather", "arguments": {"city": Zürich}}]`},
			})},
	}
}
