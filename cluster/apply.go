package cluster

import (
	"fmt"

	"github.com/skein-project/skein/internal/table"
)

// Apply is the only way a state changes. It applies the transactions of the entry at index in order, each whole or not at all, and
// returns the new state with one error per transaction: nil, or a *Rejected. It is a pure function, so coordinators that applied
// the same entries hold the same state. An entry at or below the state's index was applied before: all its transactions are rejected
// as stale and the state is returned as it is.
func Apply(s State, index Index, e Envelope) (State, []error) {
	errs := make([]error, len(e.Txns))
	if index <= s.index {
		for i := range errs {
			errs[i] = reject(ReasonStale, fmt.Sprintf("entry %d", index), "the state is at entry %d", s.index)
		}
		return s, errs
	}
	s.index, s.at = index, max(s.at, e.At)
	for i, txn := range e.Txns {
		if i >= MaxTxns {
			errs[i] = reject(ReasonLimit, fmt.Sprintf("transaction %d", i), "an entry has at most %d transactions", MaxTxns)
			continue
		}
		draft := s
		if errs[i] = draft.transact(txn); errs[i] == nil {
			s = draft
		}
		if encoded := s.recorded(txn, errs[i]); encoded != nil {
			s.audit = s.audit.Next(encoded)
		}
	}
	return s, errs
}

func (s *State) transact(txn Txn) error {
	if len(txn.Do) > MaxCommands {
		return reject(ReasonLimit, "transaction", "%d commands, at most %d are allowed", len(txn.Do), MaxCommands)
	}
	was := *s
	for _, c := range txn.Do {
		if err := s.do(c); err != nil {
			return err
		}
	}
	return was.checkAdmins(txn, *s)
}

// do applies one command to a draft. The draft is thrown away if it fails, so a command may fail half-way.
func (s *State) do(c Command) error {
	if need := needs(c); s.cluster.Feature < need {
		return reject(ReasonFeature, "command "+c.tag(), "it needs feature level %d, the cluster is at %d (0 = not initialised)",
			need, s.cluster.Feature)
	}
	switch c := c.(type) {
	case Init:
		return s.init(c)
	case SetFeature:
		return s.setFeature(c)
	case PutMember:
		return s.putMember(c)
	case DeleteMember:
		return s.deleteMember(c)
	case PutNode:
		return s.putNode(c)
	case SetNodeStatus:
		return s.setNodeStatus(c)
	case DeleteNode:
		return s.deleteNode(c)
	case PutJoinToken:
		return s.putJoinToken(c)
	case UseJoinToken:
		return s.useJoinToken(c)
	case PutKey:
		return s.putKey(c)
	case PutVersion:
		return s.putVersion(c)
	case SetHolders:
		return s.setHolders(c)
	case DeleteVersion:
		return s.deleteVersion(c)
	case PutAlias:
		return s.putAlias(c)
	case RollbackAlias:
		return s.rollbackAlias(c)
	case DeleteAlias:
		return s.deleteAlias(c)
	case PutDeployment:
		return s.putDeployment(c)
	case DeleteDeployment:
		return s.deleteDeployment(c)
	case PlaceReplica:
		return s.placeReplica(c)
	case MarkReplica:
		return s.markReplica(c)
	case RemoveReplica:
		return s.removeReplica(c)
	}
	return s.doPlatform(c)
}

// doPlatform applies the commands of feature levels 2 and 3.
func (s *State) doPlatform(c Command) error {
	switch c := c.(type) {
	case PutTenant:
		return s.putTenant(c)
	case DeleteTenant:
		return s.deleteTenant(c)
	case PutApplication:
		return s.putApplication(c)
	case DeleteApplication:
		return s.deleteApplication(c)
	case PutLimits:
		return s.putLimits(c)
	case Settle:
		return s.settle(c)
	case PutModel:
		return s.putModel(c)
	case SetRollout:
		return s.setRollout(c)
	case SetScale:
		return s.setScale(c)
	case PutDocument:
		return s.putDocument(c)
	case DeleteDocument:
		return s.deleteDocument(c)
	case Refound:
		return s.refound(c)
	case PutQuarantine:
		return s.putQuarantine(c)
	case DeleteQuarantine:
		return s.deleteQuarantine(c)
	case NoteRefusals:
		return s.noteRefusals(c)
	case NoteDownload:
		return s.noteDownload(c)
	case NoteResults:
		return s.noteResults(c)
	}
	panic(fmt.Sprintf("cluster: command %T has no case in Apply", c))
}

// record is a row with a revision, which is what compare-and-set compares.
type record interface{ rev() Index }

func (m Member) rev() Index      { return m.Rev }
func (n Node) rev() Index        { return n.Rev }
func (k Key) rev() Index         { return k.Rev }
func (v Version) rev() Index     { return v.Rev }
func (a Alias) rev() Index       { return a.Rev }
func (d Deployment) rev() Index  { return d.Rev }
func (t Tenant) rev() Index      { return t.Rev }
func (a Application) rev() Index { return a.Rev }
func (l LimitSet) rev() Index    { return l.Rev }
func (m Model) rev() Index       { return m.Rev }
func (d Document) rev() Index    { return d.Rev }

// before finds the record that a put replaces; found is false if it creates one. was is what the proposer read; limit is how many
// records the table may have.
func before[K table.Key[K], V record](t table.Table[K, V], k K, was Index, subject string, limit int) (old V, found bool, err error) {
	old, found = t.Get(k)
	switch {
	case !found && was != 0:
		err = reject(ReasonNotFound, subject, "it does not exist")
	case !found && t.Len() >= limit:
		err = reject(ReasonLimit, subject, "there are %d already", limit)
	case found && was == 0:
		err = reject(ReasonExists, subject, "it exists")
	case found && old.rev() != was:
		err = reject(ReasonStale, subject, "it is at revision %d, not %d", old.rev(), was)
	}
	return old, found, err
}

// existing finds the record that a command changes or deletes.
func existing[K table.Key[K], V record](t table.Table[K, V], k K, was Index, subject string) (V, error) {
	old, found := t.Get(k)
	if !found {
		return old, reject(ReasonNotFound, subject, "it does not exist")
	}
	if old.rev() != was {
		return old, reject(ReasonStale, subject, "it is at revision %d, not %d", old.rev(), was)
	}
	return old, nil
}
