package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/coordinator"
	"github.com/skein-project/skein/coordinator/proof"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/model"
)

// confine limits this process, which reads what is foreign: memory, time, and that it writes nothing.
func confine() error {
	debug.SetMemoryLimit(convertHeap)
	for what, limit := range map[int]uint64{syscall.RLIMIT_AS: convertSpace, syscall.RLIMIT_CPU: convertSecond, syscall.RLIMIT_FSIZE: 0, syscall.RLIMIT_CORE: 0} {
		if err := syscall.Setrlimit(what, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("limit this process: %w", err)
		}
	}
	return nil
}

// proveOrder reads an order, tries the version, and writes the answer. A foreign graph runs here in native code: this process may fall without
// taking the coordinator with it.
func proveOrder(r io.Reader, w io.Writer) error {
	if err := confine(); err != nil {
		return fmt.Errorf("prove: %w", err)
	}
	var order coordinator.ProveOrder
	if err := json.NewDecoder(io.LimitReader(r, 2*maxOrder+model.MaxEncoded)).Decode(&order); err != nil {
		return fmt.Errorf("prove: read the order: %w", err)
	}
	var answer coordinator.ProveAnswer
	var err error
	answer.Proof, err = proveVersion(order)
	if refused, ok := errors.AsType[convert.Refused](err); ok {
		answer.Refused = &refused
	} else if err != nil {
		answer.Refused = &convert.Refused{What: "trial", Why: "the runtime cannot run the model: " + err.Error()}
	}
	return json.NewEncoder(w).Encode(answer)
}

func proveVersion(order coordinator.ProveOrder) (none cluster.Proof, err error) {
	m, err := model.Decode(order.Manifest)
	if err != nil {
		return none, err
	}
	rt, err := ort.Open(order.Library)
	if err != nil {
		return cluster.Proof{Why: err.Error()}, nil
	}
	s := proof.Subject{Runtime: rt, Manifest: m, Files: func(d blob.Digest) (string, error) { return filepath.Join(order.Blobs, d.String()), nil }}
	if ref, ok := m.Files[model.GraphFile]; ok {
		path, err := s.Files(ref.Digest)
		if err != nil {
			return none, err
		}
		if s.Graph, err = os.ReadFile(path); err != nil {
			return none, err
		}
	}
	sources, closeAll, err := open(order.Files)
	defer closeAll()
	if err != nil {
		return none, err
	}
	g, ok, err := convert.GoldenOf(sources)
	if err != nil {
		return none, err
	}
	if ok {
		s.Golden = &g
	}
	return s.Prove()
}

// open opens the files of an order.
func open(files map[string]coordinator.ConvertInput) (map[string]convert.Source, func(), error) {
	var opened []*os.File
	closeAll := func() {
		for _, f := range opened {
			f.Close()
		}
	}
	sources := map[string]convert.Source{}
	for name, in := range files {
		f, err := os.Open(in.Path)
		if err != nil {
			return nil, closeAll, err
		}
		opened = append(opened, f)
		sources[name] = convert.Source{ReaderAt: f, Size: in.Size, Digest: in.Digest}
	}
	return sources, closeAll, nil
}
