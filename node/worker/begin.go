package worker

import (
	"encoding/json"
	"fmt"
	"slices"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/engine/batch"
	"github.com/skein-project/skein/engine/sample"
	"github.com/skein-project/skein/wire"
)

// maxBegin bounds, in bytes of JSON, what a sequence begins with: it is a part of a message's header.
const maxBegin = maxHeader / 2

// beginOf is what the last stage must know of a request's sequence; nil = nothing.
func beginOf(r *wire.GenerateRequest, vocab int) (*sample.Begin, error) {
	refuse := func(why string) (*sample.Begin, error) {
		return nil, &wire.Refused{Code: connect.CodeInvalidArgument, Why: why}
	}
	if !r.Steered() {
		return nil, nil
	}
	if r.Given < 0 || r.Given > len(r.Tokens) {
		return refuse(fmt.Sprintf("%d of %d tokens are said to be of the answer", r.Given, len(r.Tokens)))
	}
	b := r.Begin()
	if err := b.Validate(vocab); err != nil {
		return refuse(err.Error())
	}
	if raw, err := json.Marshal(b); err != nil || len(raw) > maxBegin {
		return refuse(fmt.Sprintf("what the answer must look like, with what is given of it, has %d bytes, at most %d", len(raw), maxBegin))
	}
	return b, nil
}

// errOlder refuses what a stage would not heed.
var errOlder = &wire.Refused{Code: connect.CodeUnimplemented, Why: "a stage of the replica is of an older program, which knows no penalties, no bias and no constraints"}

// begins says that a state of the last stage begins.
func begins(wants []batch.Want) bool {
	return slices.ContainsFunc(wants, func(w batch.Want) bool { return w.Begin != nil })
}
