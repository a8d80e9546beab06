package cluster

import (
	"cmp"
	"encoding/json"
	"iter"
	"math"
	"slices"
	"strings"
)

// Kind says what a document is. The set is closed.
type Kind string

// Kinds of documents.
const (
	AlertRule    Kind = "alert_rule"    // alert.Rule
	AlertSilence Kind = "alert_silence" // alert.Silence
	Receiver     Kind = "receiver"      // alert.Receiver
	Incident     Kind = "incident"      // alert.Incident
	PriceList    Kind = "price_list"    // what is asked for what was used
	Provider     Kind = "oidc_provider" // people.Provider
	RoleBinding  Kind = "role_binding"  // people.Binding
	Setting      Kind = "setting"       // of the whole cluster, by name
	KeepPolicy   Kind = "keep_policy"   // what of calls and answers is kept, of a tenant and model
	AnswerView   Kind = "answer_view"   // view.Kept: the form that a tenant wants answers in
	Batch        Kind = "batch"         // job.Batch: a job of many requests, and how far it is
	File         Kind = "file"          // job.File: what goes into batches and what comes out of them
)

// tenantKinds are the kinds whose documents belong to a tenant and go with it: their ids begin with "TENANT/".
var tenantKinds = []Kind{KeepPolicy, AnswerView, Batch, File}

// work says that documents of a kind are no part of how the cluster is run: they come and go with calls, and the audit log has no records of them.
func (k Kind) work() bool { return k == Batch || k == File }

// documentKinds says of each kind how many documents there may be, and which feature level brought it after PutDocument itself.
var documentKinds = map[Kind]struct{ limit, feature int }{
	AlertRule: {limit: 16384}, AlertSilence: {limit: 4096}, Receiver: {limit: 256}, Incident: {limit: 16384}, PriceList: {limit: 64},
	Provider: {limit: 16}, RoleBinding: {limit: 16384}, Setting: {limit: 64},
	KeepPolicy: {limit: 16384, feature: 3}, AnswerView: {limit: 16384, feature: 3}, Batch: {limit: 16384, feature: 3},
	File: {limit: 16384, feature: 3},
}

// DocumentID names a document.
type DocumentID struct {
	Kind Kind   `json:"kind"`
	ID   string `json:"id"`
}

// Compare orders documents by kind and id.
func (d DocumentID) Compare(o DocumentID) int {
	return cmp.Or(strings.Compare(string(d.Kind), string(o.Kind)), strings.Compare(d.ID, o.ID))
}

func (d DocumentID) String() string { return string(d.Kind) + " " + d.ID }

// Document is a value that belongs to another package: the truth keeps it and compares its revision, and asks no more of it than that
// it be JSON. Whoever proposes it has checked it.
type Document struct {
	DocumentID
	Body    json.RawMessage `json:"body"`
	Size    int64           `json:"size,omitempty"` // bytes that it stands for, where that is bounded (Room)
	Changed Millis          `json:"changed"`
	Rev     Index           `json:"rev"`
}

// Document finds a document.
func (s State) Document(id DocumentID) (Document, bool) { return s.documents.Get(id) }

// Documents yields the documents of a kind by id.
func (s State) Documents(k Kind) iter.Seq[Document] {
	return prefix(s.documents, DocumentID{Kind: k}, func(d DocumentID) bool { return d.Kind == k })
}

// DocumentsUnder yields the documents of a kind whose ids begin with a prefix, by id.
func (s State) DocumentsUnder(k Kind, start string) iter.Seq[Document] {
	return prefix(s.documents, DocumentID{Kind: k, ID: start}, func(d DocumentID) bool { return d.Kind == k && strings.HasPrefix(d.ID, start) })
}

// dropDocuments forgets what belongs to a tenant.
func (s *State) dropDocuments(tenant string) {
	for _, k := range tenantKinds {
		for d := range s.DocumentsUnder(k, tenant+"/") {
			s.documents = s.documents.Delete(d.DocumentID)
			s.count(k, -1)
		}
	}
}

// PutDocument creates or changes a document.
type PutDocument struct {
	Document Document `json:"document"`
	Was      Index    `json:"was"`
	Room     *Room    `json:"room,omitempty"` // for those of its tenant; nil = as much as they need
}

// Room bounds the documents of a kind that belong to one tenant, with the one that comes. Whoever proposes a document knows the bounds, and
// only the truth knows what is there when its turn comes.
type Room struct {
	Documents int   `json:"documents"`
	Size      int64 `json:"size"` // bytes that they stand for together
}

// DeleteDocument removes a document.
type DeleteDocument struct {
	ID  DocumentID `json:"id"`
	Was Index      `json:"was"`
}

func (PutDocument) tag() string    { return "put_document" }
func (DeleteDocument) tag() string { return "delete_document" }

func (s *State) putDocument(c PutDocument) error {
	d, subject := c.Document, c.Document.DocumentID.String()
	of, ok := documentKinds[d.Kind]
	if !ok {
		return reject(ReasonInvalid, "document", "unknown kind %.64q", d.Kind)
	}
	if _, found := s.documents.Get(d.DocumentID); !found && s.documentsOf(d.Kind) >= of.limit {
		return reject(ReasonLimit, subject, "there are %d already", of.limit)
	}
	if _, _, err := before(s.documents, d.DocumentID, c.Was, subject, MaxDocuments); err != nil {
		return err
	}
	switch {
	case !visible(d.ID, MaxName):
		return reject(ReasonInvalid, subject, "malformed id")
	case len(d.Body) > MaxDocument:
		return reject(ReasonLimit, subject, "%d bytes, at most %d are allowed", len(d.Body), MaxDocument)
	case !json.Valid(d.Body) || d.Body[0] != '{':
		return reject(ReasonInvalid, subject, "its body is no JSON object")
	case d.Size < 0 || d.Size > MaxStands:
		return reject(ReasonInvalid, subject, "it stands for %d bytes, want 0 to %d", d.Size, int64(MaxStands))
	}
	if err := s.fits(d, c.Room); err != nil {
		return err
	}
	d.Body, d.Changed, d.Rev = slices.Clone(d.Body), s.at, s.index
	s.documents = s.documents.Set(d.DocumentID, d)
	if c.Was == 0 {
		s.count(d.Kind, 1)
	}
	return nil
}

// fits refuses a document for which its tenant has no room.
func (s *State) fits(d Document, r *Room) error {
	if r == nil {
		return nil
	}
	tenant, _, ok := strings.Cut(d.ID, "/")
	if !ok || !slices.Contains(tenantKinds, d.Kind) {
		return reject(ReasonInvalid, d.DocumentID.String(), "it belongs to no tenant")
	}
	n, size := 1, d.Size
	for other := range s.DocumentsUnder(d.Kind, tenant+"/") {
		if other.ID != d.ID {
			n++
			size += min(other.Size, math.MaxInt64-size)
		}
	}
	if n > r.Documents || size > r.Size {
		return reject(ReasonRoom, d.DocumentID.String(), "with it there are %d that stand for %d bytes, at most %d and %d bytes are allowed", n, size, r.Documents, r.Size)
	}
	return nil
}

func (s *State) deleteDocument(c DeleteDocument) error {
	if _, err := existing(s.documents, c.ID, c.Was, c.ID.String()); err != nil {
		return err
	}
	s.documents = s.documents.Delete(c.ID)
	s.count(c.ID.Kind, -1)
	return nil
}

func (d *derived) documentsOf(k Kind) int {
	n, _ := d.documentCounts.Get(text(k))
	return n
}

func (d *derived) count(k Kind, more int) {
	d.documentCounts = d.documentCounts.Set(text(k), d.documentsOf(k)+more)
}
