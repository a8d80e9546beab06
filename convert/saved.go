package convert

import (
	"errors"
	"maps"

	"github.com/skein-project/skein/convert/onnxgraph"
	"github.com/skein-project/skein/convert/savedmodel"
	"github.com/skein-project/skein/convert/tfbundle"
)

// assetFolders are where a SavedModel keeps the files of a tokenizer, the first comes first.
var assetFolders = []string{"assets/", "assets.extra/"}

// saved reads a folder with a SavedModel of TensorFlow: one of its signatures, as the graph that it is in ONNX. A tokenizer may be among its
// assets.
func (r *reading) saved() error {
	s, err := r.side()
	if err != nil {
		return err
	}
	chosen := savedmodel.Choice{Signature: s.text("signature", ""), Shapes: s.shapes()}
	if s.err() != nil {
		return s.err()
	}
	m, err := chosen.Read(r.files)
	if err != nil {
		return refuseSaved(err)
	}
	r.files = maps.Clone(r.files)
	for _, folder := range assetFolders {
		for _, name := range []string{tokenizerName, settingsName, "vocab.txt"} {
			src, ok := r.files[folder+name]
			if _, there := r.files[name]; ok && !there {
				r.files[name] = src
			}
		}
	}
	return r.graph(savedName, m.Graph)
}

// refuseSaved gives the errors of reading a SavedModel the names of the files that they come from.
func refuseSaved(err error) error {
	if refused, ok := errors.AsType[savedmodel.Refused](err); ok {
		if refused.File == "" {
			refused.File = savedName
		}
		return Refused{refused.File, refused.What, refused.Why}
	}
	if refused, ok := errors.AsType[onnxgraph.Refused](err); ok {
		return Refused{savedName, refused.What, refused.Why}
	}
	if invalid, ok := errors.AsType[tfbundle.Invalid](err); ok {
		return Refused{invalid.What, "", invalid.Why}
	}
	if errors.Is(err, tfbundle.ErrChecksum) {
		return Refused{"variables", "", err.Error()}
	}
	return err
}
