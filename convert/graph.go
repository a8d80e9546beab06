package convert

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert/onnxgraph"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/token"
)

// onnx reads a folder with an ONNX model: its graph, the files of external data beside it, and what says that it is asked with text.
func (r *reading) onnx(name string) error {
	if s, err := r.side(); err != nil {
		return err
	} else if s.has("shapes") {
		return Refused{sideName, "shapes", "are chosen for SavedModels only: export the ONNX model with them"}
	}
	dir := path.Dir(name)
	g, err := onnxgraph.Read(r.files[name], func(location string) (Source, bool) {
		src, ok := r.files[path.Join(dir, location)]
		return src, ok
	})
	if refused, ok := errors.AsType[onnxgraph.Refused](err); ok {
		return Refused{name, refused.What, refused.Why}
	}
	if err != nil {
		return err
	}
	return r.graph(name, g)
}

// graph makes the manifest of a graph that was read from a file.
func (r *reading) graph(file string, g *onnxgraph.Graph) error {
	b, err := onnxgraph.Encode(g)
	if refused, ok := errors.AsType[onnxgraph.Refused](err); ok {
		return Refused{file, refused.What, refused.Why}
	}
	if err != nil {
		return err
	}
	d := blob.Of(b).Digest()
	r.made.Derived[d] = b
	r.m.Config = model.Config{Arch: model.Graph, Layers: 1}
	r.m.Graph = g.Signature()
	r.m.Tensors = g.Weights()
	r.m.Tasks = []model.Task{model.Infer}
	r.m.Files = map[string]blob.Ref{}
	if err := r.text(); err != nil {
		return err
	}
	r.m.Files[model.GraphFile] = blob.Ref{Digest: d, Len: int64(len(b))}
	return nil
}

// text finds out whether the graph is asked with text, and what it then answers. Where something declares it and something is missing, the folder
// is refused; where nothing does, the version takes tensors.
func (r *reading) text() (err error) {
	if err := r.code(); err != nil {
		return err
	}
	s, err := r.side()
	if err != nil {
		return err
	}
	if _, ok := r.files["config.json"]; ok {
		if r.config, err = r.settings("config.json", MaxConfig); err != nil {
			return err
		}
	}
	task, err := r.taskOf(s)
	if err != nil {
		return err
	}
	ports := s.ports(r.m.Graph)
	declared := s.has("task") && task != tensorsOnly || s.has("text") || s.has("labels")
	_, tokens := r.files[tokenizerName]
	_, words := r.files["vocab.txt"]
	lacks := ""
	switch {
	case s.err() != nil:
		return s.err()
	case task == "":
		lacks = "nothing says which task it has"
	case ports == nil:
		lacks = "its inputs are not those of text"
	case !tokens && !words:
		lacks = "there is no tokenizer"
	}
	switch {
	case task == tensorsOnly:
		r.note("serves tensors only, as %s says", sideName)
		return nil
	case lacks != "" && declared:
		return Refused{sideName, "task", "the model would be asked with text, but " + lacks}
	case lacks != "":
		r.note("serves tensors only: %s (%s can say it)", lacks, sideName)
		return nil
	}
	return r.asText(s, task, ports)
}

// asText fills in what a graph that is asked with text has.
func (r *reading) asText(s side, task model.Task, ports *model.Text) error {
	m := r.m
	m.Graph.Text = ports
	m.Tasks = []model.Task{task, model.Infer}
	if err := r.small(); err != nil {
		return err
	}
	if err := r.measures(s); err != nil {
		return err
	}
	switch task {
	case model.EmbedTask:
		m.Pooling = model.Pooling(s.text("pooling", string(meanPooling)))
		m.Normalize = s.flag("normalize", false)
		if ports.Hidden == "" && !s.has("pooling") {
			m.Pooling = model.PoolCLS // the graph pools itself
		}
	case model.Classify, model.ClassifyTokens:
		r.labels(s, task)
		if err := r.width(ports.Logits); err != nil {
			return err
		}
	case model.Answer:
		if ports.Start == "" && ports.Logits == "" {
			return Refused{sideName, "text.start", "the graph has no such output, and none that is called start_logits: nothing says where answers begin"}
		}
	}
	if s.err() != nil {
		return s.err()
	}
	if r.config != nil && r.config.err() != nil {
		return r.config.err()
	}
	if !s.there || !s.has("pooling") {
		if err := r.sentence(); err != nil {
			return err
		}
	}
	return r.tokenizer()
}

// labels fills in what a graph that labels texts or tokens calls its labels. A text that has one label is scored, so it can be ranked.
func (r *reading) labels(s side, task model.Task) {
	m, config := r.m, cmp.Or(r.config, &settings{file: "config.json"})
	if m.Labels = s.texts("labels"); m.Labels == nil && r.config != nil {
		readLabels(config, m)
	} else {
		m.Problem = problem(config, len(m.Labels))
	}
	m.Problem = model.Problem(s.text("problem", string(m.Problem)))
	switch {
	case task == model.ClassifyTokens:
		m.Problem = model.SingleLabel
	case len(m.Labels) == 1:
		m.Tasks = append(m.Tasks, model.Rerank)
	}
}

// shifted lists the kinds of models whose table of positions begins with rows that stand for padding (Hugging Face's model_type).
var shifted = []string{"camembert", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl"}

// positions is the number of tokens that config.json declares to have positions, 0 if it does not.
func positions(config *settings) int {
	n := config.count("max_position_embeddings", 0)
	if slices.Contains(shifted, config.text("model_type", "")) {
		n = max(n-config.count("pad_token_id", robertaPad)-1, 0)
	}
	return n
}

// measures finds the sizes of a graph's text: by its ports, skein.json and config.json.
func (r *reading) measures(s side) error {
	c, t := &r.m.Config, r.m.Graph.Text
	config := cmp.Or(r.config, &settings{file: "config.json"})
	c.Vocab = config.count("vocab_size", 0)
	c.Types = config.count("type_vocab_size", 0)
	c.Positions = s.count("context", positions(config))
	if ids, ok := r.m.Graph.Input(t.IDs); ok && len(ids.Shape) == 2 && ids.Shape[1] != model.Free {
		c.Positions = int(ids.Shape[1])
	}
	for _, name := range []string{t.Hidden, t.Pooled} {
		if p, ok := r.m.Graph.Output(name); ok && len(p.Shape) > 0 && p.Shape[len(p.Shape)-1] != model.Free && c.Hidden == 0 {
			c.Hidden = int(p.Shape[len(p.Shape)-1])
		}
	}
	if c.Hidden == 0 {
		c.Hidden = config.count("hidden_size", config.count("dim", 0))
	}
	if t.Types != "" && c.Types == 0 {
		c.Types = 2
	}
	if err := cmp.Or(s.err(), config.err()); err != nil {
		return err
	}
	if p, ok := r.m.Graph.Output(t.Logits); ok && r.m.Can(model.FillMask) && len(p.Shape) == 3 && p.Shape[2] != model.Free {
		c.Vocab = int(min(p.Shape[2], model.MaxVocab+1)) // a head may be padded to a round number of rows
	}
	if c.Vocab == 0 {
		n, err := r.vocabulary()
		if err != nil {
			return err
		}
		c.Vocab = n
	}
	if r.m.Pad = one(config.ids("pad_token_id", c.Vocab)); config.err() != nil {
		return config.err()
	}
	if c.Positions == 0 {
		return Refused{sideName, "context", "is missing: nothing else says how long a text may be"}
	}
	return nil
}

// vocabulary is the number of tokens of the folder's tokenizer.
func (r *reading) vocabulary() (int, error) {
	files, err := r.tokenFiles()
	if err != nil {
		return 0, err
	}
	t, err := token.Load(files)
	if err != nil {
		return 0, refuseTokenizer(err)
	}
	return t.VocabSize(), nil
}

// width compares the labels with the last dimension of the output that scores them.
func (r *reading) width(logits string) error {
	p, ok := r.m.Graph.Output(logits)
	if !ok {
		return Refused{sideName, "text.logits", "the graph has no such output, and none that is called logits"}
	}
	if n := p.Shape[max(len(p.Shape)-1, 0):]; len(n) == 1 && n[0] != model.Free && int(n[0]) != len(r.m.Labels) {
		return Refused{sideName, "labels", fmt.Sprintf("%d for an output of %d scores", len(r.m.Labels), n[0])}
	}
	return nil
}
