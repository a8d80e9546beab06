package convert

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/skein-project/skein/model"
)

// with is an encoder with a head: what the head does, and where its tensors are.
func (f family) with(task model.Task, tails map[string]string) family {
	f.outer = maps.Clone(f.outer)
	pooler := task == model.FillMask || task == model.Classify
	for _, canonical := range tails {
		pooler = pooler && canonical != "pooler"
	}
	if !pooler { // such a model has none, or one of its own, and checkpoints that were trained further store the old one all the same
		maps.DeleteFunc(f.outer, func(name string, _ place) bool { return strings.HasPrefix(name, "pooler.") })
	}
	for name, canonical := range tails {
		tail(f.outer, name, canonical)
	}
	read, harmless := f.read, f.harmless
	f.read = func(s *settings, m *model.Manifest) {
		read(s, m)
		m.Tasks = append(m.Tasks, task)
		switch task {
		case model.Classify:
			readLabels(s, m)
			if len(m.Labels) == 1 {
				m.Tasks = append(m.Tasks, model.Rerank)
			}
		case model.ClassifyTokens:
			readLabels(s, m)
			m.Problem = model.SingleLabel
		case model.Answer:
			if n := answerLabels(s); n != model.AnswerEnds {
				s.refuse("num_labels", "%d scores of a token, want %d: as the first and the last of an answer", n, model.AnswerEnds)
			}
		}
	}
	f.harmless = func(name string) bool {
		name = strings.TrimPrefix(name, f.prefix)
		return harmless(name) || strings.HasPrefix(name, "pooler.")
	}
	return f
}

// acting is an encoder whose pooler has another nonlinearity than tanh.
func (f family) acting(name string) family {
	read := f.read
	f.read = func(s *settings, m *model.Manifest) {
		read(s, m)
		m.Config.PoolerAct = name
	}
	return f
}

// tail maps a weight and its bias that stand behind the last layer. Norms have the names that checkpoints from TensorFlow give them too.
func tail(table map[string]place, name, canonical string) {
	for old, part := range normNames {
		table[name+"."+old] = place{true, canonical + "." + part}
	}
}

// answerLabels is the number of labels that config.json declares.
func answerLabels(s *settings) int {
	if n := len(s.object("id2label").values); n > 0 {
		return n
	}
	return s.count("num_labels", model.AnswerEnds)
}

// readLabels reads id2label and problem_type.
func readLabels(s *settings, m *model.Manifest) {
	byID := s.object("id2label")
	n := len(byID.values)
	if n == 0 {
		n = s.count("num_labels", 2)
	}
	if n < 1 || n > model.MaxLabels {
		s.refuse("id2label", "%d labels are not in 1..%d", n, model.MaxLabels)
		return
	}
	for i := range n {
		label := fmt.Sprintf("LABEL_%d", i)
		if raw, ok := byID.values[strconv.Itoa(i)]; ok {
			if err := json.Unmarshal(raw, &label); err != nil {
				s.refuse("id2label", "label %d is not a text", i)
			}
		} else if len(byID.values) > 0 {
			s.refuse("id2label", "label %d is missing", i)
		}
		m.Labels = append(m.Labels, label)
	}
	m.Problem = problem(s, n)
}

// problem says how the scores of a number of labels are projected: as problem_type says, else one by a sigmoid and several by a softmax.
func problem(s *settings, labels int) model.Problem {
	fallback := model.SingleLabel
	if labels == 1 {
		fallback = crossEncoder(s)
	}
	return model.Problem(s.text("problem_type", string(fallback)))
}

// crossEncoder says how the one score of a model is projected that does not name its problem: by a sigmoid, as the libraries do that such
// models come from, or as the folder declares to sentence-transformers.
func crossEncoder(s *settings) model.Problem {
	inner := s.object("sentence_transformers")
	name := inner.text("activation_fn", s.text("sbert_ce_default_activation_function", "Sigmoid"))
	s.join(inner)
	switch name[strings.LastIndex(name, ".")+1:] {
	case "Sigmoid":
		return model.MultiLabel
	case "Identity":
		return model.Regression
	}
	s.refuse("sentence_transformers", "activation %.80q is not supported", name)
	return ""
}
