package cluster

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/skein-project/skein/audit"
)

// Audit is the head of the chain over the records of all changes that were asked for since feature level 2.
func (s State) Audit() audit.Head { return s.audit }

// recorded is the encoded record of a transaction that was just applied or rejected; nil for the cluster's own bookkeeping.
func (s State) recorded(t Txn, outcome error) []byte {
	if s.cluster.Feature < 2 || !slices.ContainsFunc(t.Do, func(c Command) bool { return !routine(c) }) {
		return nil
	}
	list := make([]tagged, len(t.Do))
	for i, c := range t.Do {
		do, err := json.Marshal(c)
		if err != nil { // it was decoded from JSON
			panic(fmt.Errorf("cluster: write command %s: %w", c.tag(), err))
		}
		list[i] = tagged{c.tag(), versionOf(c), do}
	}
	commands, err := json.Marshal(list)
	if err != nil {
		panic(fmt.Errorf("cluster: write commands: %w", err))
	}
	r := audit.Record{Seq: s.audit.Seq + 1, At: int64(s.at), Index: uint64(s.index), By: t.By, Request: t.Request, Commands: commands, Outcome: audit.Applied}
	if outcome != nil {
		r.Outcome = outcome.Error()
	}
	b, err := r.Encode()
	if err != nil {
		panic(fmt.Errorf("cluster: record of entry %d: %w", s.index, err))
	}
	return b
}

// routine says that a command is none of the changes that people ask for.
func routine(c Command) bool {
	switch c := c.(type) {
	case PutDocument:
		return c.Document.Kind.work()
	case DeleteDocument:
		return c.ID.Kind.work()
	}
	return kinds[c.tag()].routine
}

// Records are the encoded audit records of an entry, in order: what a coordinator keeps beside the state, which holds only the head of
// their chain. before is the state that the entry was applied to, and errs what Apply answered.
func Records(before State, index Index, e Envelope, errs []error) (encoded [][]byte) {
	if index <= before.index {
		return nil
	}
	at := before
	at.index, at.at = index, max(at.at, e.At)
	for i, txn := range e.Txns {
		if i >= MaxTxns {
			break
		}
		if errs[i] == nil {
			at.cluster.Feature = max(at.cluster.Feature, raises(txn))
		}
		if b := at.recorded(txn, errs[i]); b != nil {
			at.audit = at.audit.Next(b)
			encoded = append(encoded, b)
		}
	}
	return encoded
}

// Asked reads the commands of an audit record. The error is an *UnknownTag, or wraps ErrMalformed.
func Asked(r audit.Record) ([]Command, error) {
	var list []tagged
	if err := strict(r.Commands, &list); err != nil {
		return nil, fmt.Errorf("%w: record %d: %w", ErrMalformed, r.Seq, err)
	}
	return commands(list)
}

// raises is the feature level that a transaction commits.
func raises(t Txn) (level int) {
	for _, c := range t.Do {
		level = max(level, feature(c))
	}
	return level
}
