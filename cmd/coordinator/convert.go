package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/coordinator"
	"github.com/skein-project/skein/model"
)

// Limits of the converter process.
const (
	maxOrder      = 16 << 20 // bytes of the order
	convertHeap   = 2 << 30  // bytes that the collector keeps the heap under
	convertSpace  = 16 << 30 // bytes of address space, where allocation fails
	convertSecond = 1800     // of CPU time
)

// convertOrder reads an order, makes the manifest, and writes the answer. The files are foreign: this process may fall without
// taking the coordinator with it. It opens what the order names, and writes nowhere but to w.
func convertOrder(r io.Reader, w io.Writer) error {
	if err := confine(); err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	var order coordinator.ConvertOrder
	if err := json.NewDecoder(io.LimitReader(r, maxOrder)).Decode(&order); err != nil {
		return fmt.Errorf("convert: read the order: %w", err)
	}
	sources, closeAll, err := open(order.Files)
	defer closeAll()
	if err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	var answer coordinator.ConvertAnswer
	made, err := convert.Folder(sources)
	if refused, ok := errors.AsType[convert.Refused](err); ok {
		answer.Refused = &refused
	} else if err != nil {
		return err
	} else {
		answer.Manifest, answer.Format, answer.Notes = model.Encode(made.Manifest), made.Format, made.Notes
		for _, d := range slices.SortedFunc(maps.Keys(made.Derived), func(a, b blob.Digest) int { return bytes.Compare(a[:], b[:]) }) {
			answer.Derived = append(answer.Derived, made.Derived[d])
		}
		answer.Traits, err = coordinator.TraitsOf(made.Manifest, func(name string) ([]byte, error) {
			f := holding(sources, made.Manifest.Files[name].Digest)
			return io.ReadAll(io.NewSectionReader(f, 0, min(f.Size, convert.MaxTokenizer)))
		})
		if err != nil {
			return fmt.Errorf("convert: traits: %w", err)
		}
	}
	return json.NewEncoder(w).Encode(answer)
}

// holding is the file with the content that a manifest names. It may have another name in the folder: those of a SavedModel lie among its assets.
func holding(sources map[string]convert.Source, d blob.Digest) convert.Source {
	for _, f := range sources {
		if f.Digest == d {
			return f
		}
	}
	return convert.Source{}
}
