package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/skein-project/skein/internal/strictjson"
)

// EnvelopeFormat is the newest version of the log entry's format that is read and written. Format 2 says who asked.
const EnvelopeFormat = 2

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

// kind is how a command is written.
type kind struct {
	v       int // newest version of its fields; fields are never repurposed, and adding one makes a new version
	feature int // committed feature level that version 1 needs; version 2 needs level 2
	decode  func([]byte) (Command, error)
	routine bool // the cluster's own bookkeeping: no record in the audit log
}

// kinds lists every command there is.
var kinds = map[string]kind{
	Init{}.tag():              {v: 2, feature: 0, decode: decode[Init]},
	SetFeature{}.tag():        {v: 1, feature: 1, decode: decode[SetFeature]},
	DeleteMember{}.tag():      {v: 1, feature: 1, decode: decode[DeleteMember]},
	PutNode{}.tag():           {v: 1, feature: 1, decode: decode[PutNode]},
	SetNodeStatus{}.tag():     {v: 1, feature: 1, decode: decode[SetNodeStatus]},
	DeleteNode{}.tag():        {v: 1, feature: 1, decode: decode[DeleteNode]},
	PutJoinToken{}.tag():      {v: 1, feature: 1, decode: decode[PutJoinToken]},
	UseJoinToken{}.tag():      {v: 1, feature: 1, decode: decode[UseJoinToken]},
	SetHolders{}.tag():        {v: 1, feature: 1, decode: decode[SetHolders]},
	DeleteVersion{}.tag():     {v: 1, feature: 1, decode: decode[DeleteVersion]},
	RollbackAlias{}.tag():     {v: 1, feature: 1, decode: decode[RollbackAlias]},
	DeleteAlias{}.tag():       {v: 1, feature: 1, decode: decode[DeleteAlias]},
	DeleteDeployment{}.tag():  {v: 1, feature: 1, decode: decode[DeleteDeployment]},
	PutMember{}.tag():         {v: 1, feature: 1, decode: decode[PutMember]},
	PutKey{}.tag():            {v: 2, feature: 1, decode: decode[PutKey]},
	PutVersion{}.tag():        {v: 2, feature: 1, decode: decode[PutVersion]},
	PutAlias{}.tag():          {v: 2, feature: 1, decode: decode[PutAlias]},
	PutDeployment{}.tag():     {v: 2, feature: 1, decode: decode[PutDeployment]},
	PlaceReplica{}.tag():      {v: 1, feature: 1, decode: decode[PlaceReplica], routine: true},
	MarkReplica{}.tag():       {v: 1, feature: 1, decode: decode[MarkReplica], routine: true},
	RemoveReplica{}.tag():     {v: 1, feature: 1, decode: decode[RemoveReplica], routine: true},
	PutTenant{}.tag():         {v: 1, feature: 2, decode: decode[PutTenant]},
	DeleteTenant{}.tag():      {v: 1, feature: 2, decode: decode[DeleteTenant]},
	PutApplication{}.tag():    {v: 1, feature: 2, decode: decode[PutApplication]},
	DeleteApplication{}.tag(): {v: 1, feature: 2, decode: decode[DeleteApplication]},
	PutLimits{}.tag():         {v: 1, feature: 2, decode: decode[PutLimits]},
	PutModel{}.tag():          {v: 1, feature: 2, decode: decode[PutModel]},
	SetRollout{}.tag():        {v: 1, feature: 2, decode: decode[SetRollout]},
	PutDocument{}.tag():       {v: 1, feature: 2, decode: decode[PutDocument]},
	DeleteDocument{}.tag():    {v: 1, feature: 2, decode: decode[DeleteDocument]},
	Refound{}.tag():           {v: 1, feature: 2, decode: decode[Refound]},
	Settle{}.tag():            {v: 1, feature: 2, decode: decode[Settle], routine: true},
	SetScale{}.tag():          {v: 1, feature: 2, decode: decode[SetScale], routine: true},
}

// widened is a command that got fields with version 2.
type widened interface{ wide() bool }

// versionOf is the lowest version that can hold a command, so that a coordinator of the release before can read what needs nothing new.
func versionOf(c Command) int {
	if w, ok := c.(widened); ok && w.wide() {
		return 2
	}
	return 1
}

// needs is the committed feature level that a command needs.
func needs(c Command) int {
	if k := kinds[c.tag()]; k.feature == 0 || versionOf(c) == 1 {
		return k.feature
	}
	return 2
}

func (c Init) wide() bool { return c.Feature != 0 }
func (c PutKey) wide() bool {
	k := c.Key
	return k.Tenant != "" || k.App != "" || len(k.Roles) > 0 || len(k.Models) > 0 || k.Expires != 0 || k.Replaces != "" || k.Suspended
}
func (c PutVersion) wide() bool {
	return c.Owner != "" || c.Version.Traits != nil || c.Version.Source != "" || c.Version.Bucket || !c.Version.Folder.IsZero()
}
func (c PutAlias) wide() bool      { return c.Accept }
func (c PutDeployment) wide() bool { return c.Deployment.Owner != "" || c.Deployment.Need != nil }

// entry is an envelope as it is written: {"v":1,"at":…,"txns":[[{"t":"place_replica","v":1,"do":{…}},…],…]}. Format 2 has "by" too,
// one for each transaction.
type entry struct {
	V    int        `json:"v"`
	At   Millis     `json:"at"`
	Txns [][]tagged `json:"txns"`
	By   []Asker    `json:"by,omitempty"`
}

type tagged struct {
	T  string          `json:"t"`
	V  int             `json:"v"`
	Do json.RawMessage `json:"do"`
}

// Encode writes an envelope as a log entry.
func Encode(e Envelope) ([]byte, error) {
	if e.V < 1 || e.V > EnvelopeFormat || len(e.Txns) > MaxTxns {
		return nil, fmt.Errorf("%w: envelope of format %d with %d transactions (at most %d)", ErrMalformed, e.V, len(e.Txns), MaxTxns)
	}
	out := entry{V: 1, At: e.At, Txns: make([][]tagged, len(e.Txns))}
	if slices.ContainsFunc(e.Txns, func(t Txn) bool { return t.Asker != Asker{} }) {
		out.V, out.By = 2, make([]Asker, len(e.Txns))
	}
	for i, txn := range e.Txns {
		if out.By != nil {
			out.By[i] = Asker{clip(txn.By), clip(txn.Request)}
		}
		if len(txn.Do) > MaxCommands {
			return nil, fmt.Errorf("%w: transaction of %d commands (at most %d)", ErrMalformed, len(txn.Do), MaxCommands)
		}
		out.Txns[i] = make([]tagged, len(txn.Do))
		for j, c := range txn.Do {
			do, err := json.Marshal(c)
			if err != nil {
				return nil, fmt.Errorf("encode %s: %w", c.tag(), err)
			}
			out.Txns[i][j] = tagged{c.tag(), versionOf(c), do}
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
	if format.V > EnvelopeFormat {
		return Envelope{}, &UnknownTag{"envelope", format.V}
	}
	var in entry
	if err := strict(b, &in); err != nil {
		return Envelope{}, fmt.Errorf("%w: entry: %w", ErrMalformed, err)
	}
	if len(in.Txns) > MaxTxns {
		return Envelope{}, fmt.Errorf("%w: %d transactions (at most %d)", ErrMalformed, len(in.Txns), MaxTxns)
	}
	if in.V == 1 && in.By != nil || in.V == 2 && len(in.By) != len(in.Txns) {
		return Envelope{}, fmt.Errorf("%w: %d transactions asked for by %d in format %d", ErrMalformed, len(in.Txns), len(in.By), in.V)
	}
	e := Envelope{V: in.V, At: in.At, Txns: make([]Txn, len(in.Txns))}
	for i, txn := range in.Txns {
		if in.By != nil {
			e.Txns[i].Asker = in.By[i]
		}
		if len(txn) > MaxCommands {
			return Envelope{}, fmt.Errorf("%w: transaction of %d commands (at most %d)", ErrMalformed, len(txn), MaxCommands)
		}
		do, err := commands(txn)
		if err != nil {
			return Envelope{}, err
		}
		e.Txns[i].Do = do
	}
	return e, nil
}

// commands reads the commands of a transaction.
func commands(list []tagged) ([]Command, error) {
	do := make([]Command, len(list))
	for i, t := range list {
		k, ok := kinds[t.T]
		if !ok || t.V < 1 || t.V > k.v {
			return nil, &UnknownTag{t.T, t.V}
		}
		c, err := k.decode(t.Do)
		if err != nil {
			return nil, fmt.Errorf("%w: command %s: %w", ErrMalformed, t.T, err)
		}
		if versionOf(c) > t.V {
			return nil, fmt.Errorf("%w: command %s of version %d has a later version's fields", ErrMalformed, t.T, t.V)
		}
		if f := feature(c); f > Feature {
			return nil, &UnknownTag{"feature", f}
		}
		do[i] = c
	}
	return do, nil
}

// feature is the level that a command commits, 0 if it commits none.
func feature(c Command) int {
	switch c := c.(type) {
	case Init:
		return c.Feature
	case SetFeature:
		return c.Feature
	}
	return 0
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
