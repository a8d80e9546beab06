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
	feature int   // committed feature level that version 1 of its fields needs
	widened []int // levels that versions 2, 3, … need: fields are never repurposed, and adding one makes a new version
	decode  func([]byte) (Command, error)
	routine bool // the cluster's own bookkeeping: no record in the audit log
}

// newest is the newest version of the fields that this program knows.
func (k kind) newest() int { return 1 + len(k.widened) }

// kinds lists every command there is.
var kinds = map[string]kind{
	Init{}.tag():              {feature: 0, widened: []int{2}, decode: decode[Init]},
	SetFeature{}.tag():        {feature: 1, decode: decode[SetFeature]},
	DeleteMember{}.tag():      {feature: 1, decode: decode[DeleteMember]},
	PutNode{}.tag():           {feature: 1, decode: decode[PutNode]},
	SetNodeStatus{}.tag():     {feature: 1, decode: decode[SetNodeStatus]},
	DeleteNode{}.tag():        {feature: 1, decode: decode[DeleteNode]},
	PutJoinToken{}.tag():      {feature: 1, decode: decode[PutJoinToken]},
	UseJoinToken{}.tag():      {feature: 1, decode: decode[UseJoinToken]},
	SetHolders{}.tag():        {feature: 1, decode: decode[SetHolders]},
	DeleteVersion{}.tag():     {feature: 1, decode: decode[DeleteVersion]},
	RollbackAlias{}.tag():     {feature: 1, decode: decode[RollbackAlias]},
	DeleteAlias{}.tag():       {feature: 1, decode: decode[DeleteAlias]},
	DeleteDeployment{}.tag():  {feature: 1, decode: decode[DeleteDeployment]},
	PutMember{}.tag():         {feature: 1, decode: decode[PutMember]},
	PutKey{}.tag():            {feature: 1, widened: []int{2}, decode: decode[PutKey]},
	PutVersion{}.tag():        {feature: 1, widened: []int{2, 3}, decode: decode[PutVersion]},
	PutAlias{}.tag():          {feature: 1, widened: []int{2}, decode: decode[PutAlias]},
	PutDeployment{}.tag():     {feature: 1, widened: []int{2}, decode: decode[PutDeployment]},
	PlaceReplica{}.tag():      {feature: 1, decode: decode[PlaceReplica], routine: true},
	MarkReplica{}.tag():       {feature: 1, decode: decode[MarkReplica], routine: true},
	RemoveReplica{}.tag():     {feature: 1, decode: decode[RemoveReplica], routine: true},
	PutTenant{}.tag():         {feature: 2, decode: decode[PutTenant]},
	DeleteTenant{}.tag():      {feature: 2, decode: decode[DeleteTenant]},
	PutApplication{}.tag():    {feature: 2, decode: decode[PutApplication]},
	DeleteApplication{}.tag(): {feature: 2, decode: decode[DeleteApplication]},
	PutLimits{}.tag():         {feature: 2, decode: decode[PutLimits]},
	PutModel{}.tag():          {feature: 2, decode: decode[PutModel]},
	SetRollout{}.tag():        {feature: 2, decode: decode[SetRollout]},
	PutDocument{}.tag():       {feature: 2, widened: []int{3}, decode: decode[PutDocument]},
	DeleteDocument{}.tag():    {feature: 2, widened: []int{3}, decode: decode[DeleteDocument]},
	Refound{}.tag():           {feature: 2, decode: decode[Refound]},
	Settle{}.tag():            {feature: 2, decode: decode[Settle], routine: true},
	SetScale{}.tag():          {feature: 2, decode: decode[SetScale], routine: true},
	PutQuarantine{}.tag():     {feature: 3, decode: decode[PutQuarantine]},
	DeleteQuarantine{}.tag():  {feature: 3, decode: decode[DeleteQuarantine]},
	NoteRefusals{}.tag():      {feature: 3, decode: decode[NoteRefusals]},
	NoteDownload{}.tag():      {feature: 3, decode: decode[NoteDownload]},
	NoteResults{}.tag():       {feature: 3, decode: decode[NoteResults]},
}

// widened is a command whose fields became more.
type widened interface {
	// level is the feature level that brought the newest of what it uses, 0 where it uses nothing new.
	level() int
}

// versionOf is the lowest version that can hold a command, so that a coordinator of the release before can read what needs nothing new.
func versionOf(c Command) int {
	w, ok := c.(widened)
	if !ok {
		return 1
	}
	version, level := 1, w.level()
	for _, l := range kinds[c.tag()].widened {
		if l <= level {
			version++
		}
	}
	return version
}

// needs is the committed feature level that a command needs.
func needs(c Command) int {
	k, v := kinds[c.tag()], versionOf(c)
	if k.feature == 0 || v == 1 {
		return k.feature
	}
	return k.widened[v-2]
}

// since is the level where it counts.
func since(level int, used bool) int {
	if used {
		return level
	}
	return 0
}

func (c Init) level() int { return since(2, c.Feature != 0) }
func (c PutKey) level() int {
	k := c.Key
	return since(2, k.Tenant != "" || k.App != "" || len(k.Roles) > 0 || len(k.Models) > 0 || k.Expires != 0 || k.Replaces != "" || k.Suspended)
}
func (c PutVersion) level() int {
	v := c.Version
	return max(since(2, c.Owner != "" || v.Traits != nil || v.Source != "" || v.Bucket || !v.Folder.IsZero()), since(3, v.Proof != nil || v.Format != ""))
}
func (c PutAlias) level() int { return since(2, c.Accept) }
func (c PutDeployment) level() int {
	return since(2, c.Deployment.Owner != "" || c.Deployment.Need != nil)
}
func (c PutDocument) level() int {
	return max(documentKinds[c.Document.Kind].feature, since(3, c.Room != nil || c.Document.Size != 0))
}
func (c DeleteDocument) level() int { return documentKinds[c.ID.Kind].feature }

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
		if !ok || t.V < 1 || t.V > k.newest() {
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
