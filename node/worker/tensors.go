package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
	"github.com/skein-project/skein/wire"
)

// tensors answers wire.RunTensors.
func (w *worker) tensors(ctx context.Context, r *wire.TensorsRequest) (*wire.TensorsResponse, error) {
	d, err := w.duty(r.Replica, r.Epoch, 0)
	if err != nil {
		return nil, err
	}
	g := d.stage.graph
	if g == nil {
		return nil, &wire.Refused{Code: connect.CodeInvalidArgument, Why: "the model takes tokens, not tensors"}
	}
	if err := d.head.ready(false); err != nil {
		return nil, err
	}
	span := w.headSpan(ctx, r.Replica, r.Epoch, 0)
	defer span.End()
	d.head.begin()
	defer d.head.finish()
	release, err := d.head.seat(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	m := message{Replica: r.Replica, Epoch: r.Epoch, Kind: kindEncode}
	if span.On() {
		m.Trace = []string{span.Traceparent()}
	}
	spans := w.stageSpans(&m, 0, d.stage)
	var out []tensor.Tensor
	var spent time.Duration
	w.device.step(stepEncode, 1, func() {
		began := time.Now()
		out, err = g.Run(r.Inputs, r.Outputs)
		spent = time.Since(began)
	})
	endSpans(spans, err)
	if err != nil {
		return nil, tensorRefusal(err)
	}
	return answerTensors(out, spent)
}

// answerTensors refuses an answer that is too large to be sent.
func answerTensors(out []tensor.Tensor, spent time.Duration) (*wire.TensorsResponse, error) {
	size := 0
	for _, t := range out {
		size += len(t.Data)
	}
	if size > wire.MaxTensors-maxHead {
		return nil, &wire.Refused{Code: connect.CodeInvalidArgument, Why: fmt.Sprintf("the outputs have %d bytes, at most %d go into one answer: ask for fewer of them, or send fewer rows", size, wire.MaxTensors-maxHead)}
	}
	return &wire.TensorsResponse{Outputs: out, Device: spent.Microseconds()}, nil
}

// maxHead is left of an answer for what is not elements, in bytes.
const maxHead = 1 << 20

// tensorRefusal is what a caller is told: what a graph makes of its inputs is the caller's matter, also where the runtime found it out.
func tensorRefusal(err error) error {
	switch {
	case errors.Is(err, engine.ErrRun):
		return &wire.Refused{Code: connect.CodeInvalidArgument, Why: "the graph cannot run on these inputs: " + plainWords(err.Error())}
	case errors.Is(err, engine.ErrStep):
		return &wire.Refused{Code: connect.CodeInvalidArgument, Why: err.Error()}
	}
	return err
}

// maxWords bounds what a caller is told of the runtime's words, in bytes.
const maxWords = 300

// plainWords is what the runtime says about a run, without the places in its source that it says with it.
func plainWords(s string) string {
	_, s, found := strings.Cut(s, "Status Message: ")
	if !found {
		return "the runtime does not say why"
	}
	words := strings.Fields(s)
	last := 0
	for i, w := range words {
		if strings.Contains(w, "/") || strings.Contains(w, "::") {
			last = i + 1
		}
	}
	s = strings.Join(words[last:], " ")
	return strings.ToValidUTF8(s[:min(len(s), maxWords)], "")
}

// encodeText runs one row of tokens through a graph that is asked with text, and makes the message the answer.
func (s *loaded) encodeText(m *message, row wire.EncodeRow) error {
	e, err := s.graph.EncodeRow(row.IDs, row.Types, row.Masks)
	if err != nil {
		return err
	}
	return s.answer(m, e)
}

// loadGraph loads a model that is one graph, whose files are there.
func (w *worker) loadGraph(m *model.Manifest, backend engine.Backend) (*engine.Graph, error) {
	path := func(d blob.Digest) (string, error) { return filepath.Join(w.setup.Blobs, d.String()), nil }
	file, err := path(m.Files[model.GraphFile].Digest)
	if err != nil {
		return nil, err
	}
	body, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if got := blob.Of(body).Digest(); got != m.Files[model.GraphFile].Digest {
		return nil, fmt.Errorf("worker: graph %s: %w", got.Short(), blob.ErrCorrupt)
	}
	g, err := engine.LoadGraph(w.runtime, engine.GraphSpec{Manifest: m, Backend: backend, Threads: w.setup.Device.Cores}, body, path)
	if err != nil {
		return nil, err
	}
	if err := g.WarmUp(); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}
