package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/skein-project/skein/internal/strictjson"
)

// EnvelopeFormat is the version of the log entry's format.
const EnvelopeFormat = 1

// Limits of an entry. They bound what a foreign byte may cost.
const (
	MaxEntry = 8 << 20 // bytes of an encoded entry
	MaxDepth = 16      // nested lists and objects
)

// ErrMalformed says that bytes are no entry or no snapshot of this format. In the log it means a damaged disk or a program bug.
var ErrMalformed = errors.New("cluster: malformed")

// UnknownTag says that an entry or a snapshot holds something that this program is too old for. Whoever applies the log must halt
// with this message: skipping what others apply would make this coordinator's state a different one.
type UnknownTag struct {
	Tag string // "envelope", "feature", a command's tag, or a record's kind
	V   int    // its version
}

func (u *UnknownTag) Error() string {
	return fmt.Sprintf("cluster: %.64q version %d is not known to this program: it is older than the cluster; start a newer one", u.Tag, u.V)
}

// kind is how a command is written: one version for each tag so far.
type kind struct {
	v       int // version of its fields; fields are never repurposed, and adding one makes a new version
	feature int // committed feature level that it needs
	decode  func([]byte) (Command, error)
}

// kinds lists every command there is.
var kinds = map[string]kind{
	Init{}.tag():             {1, 0, decode[Init]},
	SetFeature{}.tag():       {1, 1, decode[SetFeature]},
	PutMember{}.tag():        {1, 1, decode[PutMember]},
	DeleteMember{}.tag():     {1, 1, decode[DeleteMember]},
	PutNode{}.tag():          {1, 1, decode[PutNode]},
	SetNodeStatus{}.tag():    {1, 1, decode[SetNodeStatus]},
	DeleteNode{}.tag():       {1, 1, decode[DeleteNode]},
	PutJoinToken{}.tag():     {1, 1, decode[PutJoinToken]},
	UseJoinToken{}.tag():     {1, 1, decode[UseJoinToken]},
	PutKey{}.tag():           {1, 1, decode[PutKey]},
	PutVersion{}.tag():       {1, 1, decode[PutVersion]},
	SetHolders{}.tag():       {1, 1, decode[SetHolders]},
	DeleteVersion{}.tag():    {1, 1, decode[DeleteVersion]},
	PutAlias{}.tag():         {1, 1, decode[PutAlias]},
	RollbackAlias{}.tag():    {1, 1, decode[RollbackAlias]},
	DeleteAlias{}.tag():      {1, 1, decode[DeleteAlias]},
	PutDeployment{}.tag():    {1, 1, decode[PutDeployment]},
	DeleteDeployment{}.tag(): {1, 1, decode[DeleteDeployment]},
	PlaceReplica{}.tag():     {1, 1, decode[PlaceReplica]},
	MarkReplica{}.tag():      {1, 1, decode[MarkReplica]},
	RemoveReplica{}.tag():    {1, 1, decode[RemoveReplica]},
}

// entry is an envelope as it is written: {"v":1,"at":…,"txns":[[{"t":"place_replica","v":1,"do":{…}},…],…]}.
type entry struct {
	V    int        `json:"v"`
	At   Millis     `json:"at"`
	Txns [][]tagged `json:"txns"`
}

type tagged struct {
	T  string          `json:"t"`
	V  int             `json:"v"`
	Do json.RawMessage `json:"do"`
}

// Encode writes an envelope as a log entry.
func Encode(e Envelope) ([]byte, error) {
	if e.V != EnvelopeFormat || len(e.Txns) > MaxTxns {
		return nil, fmt.Errorf("%w: envelope of format %d with %d transactions (at most %d)", ErrMalformed, e.V, len(e.Txns), MaxTxns)
	}
	out := entry{V: e.V, At: e.At, Txns: make([][]tagged, len(e.Txns))}
	for i, txn := range e.Txns {
		if len(txn.Do) > MaxCommands {
			return nil, fmt.Errorf("%w: transaction of %d commands (at most %d)", ErrMalformed, len(txn.Do), MaxCommands)
		}
		out.Txns[i] = make([]tagged, len(txn.Do))
		for j, c := range txn.Do {
			do, err := json.Marshal(c)
			if err != nil {
				return nil, fmt.Errorf("encode %s: %w", c.tag(), err)
			}
			out.Txns[i][j] = tagged{c.tag(), kinds[c.tag()].v, do}
		}
	}
	b, err := json.Marshal(out)
	if err == nil && len(b) > MaxEntry {
		err = fmt.Errorf("%w: entry of %d bytes (at most %d)", ErrMalformed, len(b), MaxEntry)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Decode reads a log entry. The error is an *UnknownTag, or wraps ErrMalformed.
func Decode(b []byte) (Envelope, error) {
	if err := strictjson.Check(b, strictjson.Limits{Bytes: MaxEntry, Depth: MaxDepth, Values: MaxEntry}); err != nil {
		return Envelope{}, fmt.Errorf("%w: entry: %w", ErrMalformed, err)
	}
	// The version is read first and leniently: what else an entry of another format holds is not for this program to judge.
	var format struct{ V int }
	if err := json.Unmarshal(b, &format); err != nil {
		return Envelope{}, fmt.Errorf("%w: entry: %w", ErrMalformed, err)
	}
	if format.V < 1 {
		return Envelope{}, fmt.Errorf("%w: entry without a format", ErrMalformed)
	}
	if format.V != EnvelopeFormat {
		return Envelope{}, &UnknownTag{"envelope", format.V}
	}
	var in entry
	if err := strict(b, &in); err != nil {
		return Envelope{}, fmt.Errorf("%w: entry: %w", ErrMalformed, err)
	}
	if len(in.Txns) > MaxTxns {
		return Envelope{}, fmt.Errorf("%w: %d transactions (at most %d)", ErrMalformed, len(in.Txns), MaxTxns)
	}
	e := Envelope{V: in.V, At: in.At, Txns: make([]Txn, len(in.Txns))}
	for i, txn := range in.Txns {
		if len(txn) > MaxCommands {
			return Envelope{}, fmt.Errorf("%w: transaction of %d commands (at most %d)", ErrMalformed, len(txn), MaxCommands)
		}
		e.Txns[i].Do = make([]Command, len(txn))
		for j, t := range txn {
			k, ok := kinds[t.T]
			if !ok || k.v != t.V {
				return Envelope{}, &UnknownTag{t.T, t.V}
			}
			c, err := k.decode(t.Do)
			if err != nil {
				return Envelope{}, fmt.Errorf("%w: command %s: %w", ErrMalformed, t.T, err)
			}
			if f, ok := c.(SetFeature); ok && f.Feature > Feature {
				return Envelope{}, &UnknownTag{"feature", f.Feature}
			}
			e.Txns[i].Do[j] = c
		}
	}
	return e, nil
}

func decode[C Command](b []byte) (Command, error) {
	var c C
	err := strict(b, &c)
	return c, err
}

// strict reads one JSON value with no unknown field and nothing after it: a field that this program does not know is one that it
// would not apply.
func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.InputOffset() != int64(len(bytes.TrimRight(b, " \t\r\n"))) {
		return errors.New("bytes after the value")
	}
	return nil
}
