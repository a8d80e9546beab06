package coordinator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/coordinator/proof"
	"github.com/skein-project/skein/model"
)

// defaultProve is the size of the weights up to which a version is tried, in bytes.
const defaultProve = 1 << 30

// proveWait bounds how long a version is tried.
const proveWait = 10 * time.Minute

// ProveOrder is what the proving process reads from its standard input.
type ProveOrder struct {
	Library  string                  `json:"library"` // path of libonnxruntime
	Blobs    string                  `json:"blobs"`   // folder with a file per blob, named by its digest
	Manifest []byte                  `json:"manifest"`
	Files    map[string]ConvertInput `json:"files"` // of which golden.safetensors counts
}

// ProveAnswer is what it writes to its standard output: a proof, or what is wrong with the version or its golden outputs.
type ProveAnswer struct {
	Proof   cluster.Proof    `json:"proof"`
	Refused *convert.Refused `json:"refused,omitempty"`
}

// prove tries a version whose blobs are here, in a process of its own: native code runs a foreign graph there. Where the version fails, the error
// is a convert.Refused, unless accept; the proof then says what was found. Where it cannot be tried, the proof says why.
func (s *Server) prove(ctx context.Context, made ConvertAnswer, m *model.Manifest, files map[string]blob.Digest, accept bool) (*cluster.Proof, error) {
	if why := s.unproved(m); why != "" {
		return &cluster.Proof{Why: why}, nil
	}
	order := ProveOrder{Library: s.cfg.Library, Blobs: s.blobs.Folder(), Manifest: made.Manifest}
	var err error
	if order.Files, err = s.inputs(files); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, proveWait)
	defer cancel()
	var a ProveAnswer
	diagnosis, err := s.child(ctx, "prove", order, &a)
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &cluster.Proof{Why: fmt.Sprintf("trying it took longer than %s", proveWait)}, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		s.log.Warn("a version could not be tried", "err", err, "said", diagnosis)
		a.Refused = &convert.Refused{What: "trial", Why: "the process that tried the model ended: its graph takes too much memory or time, or breaks the runtime"}
	}
	refused := a.Refused
	if refused == nil {
		refused = verdict(a.Proof)
	}
	switch {
	case refused == nil:
		return &a.Proof, nil
	case !accept:
		refused.Why += " (publish it with accept to have it anyway)"
		return nil, *refused
	case a.Refused != nil:
		return &cluster.Proof{Why: shorten(a.Refused.Error())}, nil
	}
	return &a.Proof, nil
}

// unproved is why a version is not tried, "" = it is.
func (s *Server) unproved(m *model.Manifest) string {
	most := s.cfg.Prove
	if most == 0 {
		most = defaultProve
	}
	var weights int64
	for _, r := range m.Refs(0, m.Config.Layers) {
		weights += r.Len
	}
	switch {
	case s.cfg.Library == "":
		return "no runtime on the coordinator (ort_lib)"
	case most < 0:
		return "versions are not tried here (prove_bytes)"
	case weights > most:
		return fmt.Sprintf("its weights have %d bytes, and versions up to %d are tried (prove_bytes)", weights, most)
	}
	return ""
}

// verdict says what of a proof is not to be had without being accepted; nil = nothing.
func verdict(p cluster.Proof) *convert.Refused {
	switch {
	case p.Why != "":
		return nil
	case !p.Finite:
		return &convert.Refused{What: "trial", Why: "its outputs are not numbers (NaN or infinite)"}
	case p.Cut != nil && p.Cut.Absolute != 0:
		return &convert.Refused{What: "trial", Why: fmt.Sprintf("cut in two it gives other outputs, by %g", float64(p.Cut.Absolute)/1e9)}
	case p.Golden != nil && p.Golden.Relative > proof.Tolerance:
		return &convert.Refused{File: "golden.safetensors", What: "outputs", Why: fmt.Sprintf("the model gives others, by %g of the largest value; %g is tolerated",
			float64(p.Golden.Relative)/1e9, float64(proof.Tolerance)/1e9)}
	}
	return nil
}

// maxWhy bounds what a proof says, in bytes.
const maxWhy = 400

func shorten(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxWhy)], "") }

// child runs this program as a process of its own for something foreign: order goes in, the answer comes back.
func (s *Server) child(ctx context.Context, verb string, order, answer any) (diagnosis string, err error) {
	in, err := json.Marshal(order)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, s.cfg.Executable, verb)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &limited{w: &out, left: maxAnswer}, &limited{w: &said, left: 4 << 10}
	err = cmd.Run()
	diagnosis = strings.TrimSpace(said.String())
	if err != nil {
		return diagnosis, err
	}
	return diagnosis, json.Unmarshal(out.Bytes(), answer)
}

// inputs says where files are.
func (s *Server) inputs(files map[string]blob.Digest) (map[string]ConvertInput, error) {
	out := map[string]ConvertInput{}
	for name, d := range files {
		path, err := s.blobs.Path(d)
		if err != nil {
			return nil, err
		}
		st, err := s.blobs.Stat(d)
		if err != nil {
			return nil, err
		}
		out[name] = ConvertInput{Digest: d, Path: path, Size: st.Size}
	}
	return out, nil
}
