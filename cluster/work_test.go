package cluster

import "testing"

// Files and batches come and go with calls: the audit log has nothing of them, and they go with their tenant.
func TestWorkIsNoChange(t *testing.T) {
	put := func(k Kind, id string) Txn {
		return Txn{Do: []Command{PutDocument{Document: Document{DocumentID: DocumentID{k, id}, Body: []byte(`{}`)}}}}
	}
	s, errs := Apply(State{}, 1, Envelope{V: EnvelopeFormat, Txns: []Txn{{Do: []Command{Init{ID: "c", Feature: Feature}}}, {Do: []Command{PutTenant{Tenant: Tenant{ID: "a", Weight: 1}}}}}})
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := s.Audit()
	s, errs = Apply(s, 2, Envelope{V: EnvelopeFormat, Txns: []Txn{put(File, "a/f"), put(Batch, "a/b"), put(File, "ab/f"), {Do: []Command{DeleteDocument{ID: DocumentID{File, "a/f"}, Was: 2}}}}})
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	if s.Audit() != before {
		t.Error("files and batches are in the audit log")
	}
	tenant, _ := s.Tenant("a")
	s, errs = Apply(s, 3, Envelope{V: EnvelopeFormat, Txns: []Txn{put(AlertRule, "r"), {Do: []Command{DeleteTenant{ID: "a", Was: tenant.Rev}}}}})
	if errs[0] != nil || errs[1] != nil || s.Audit() == before {
		t.Errorf("another document: %v", errs)
	}
	if _, there := s.Document(DocumentID{Batch, "a/b"}); there {
		t.Error("a batch outlives its tenant")
	}
	if _, there := s.Document(DocumentID{File, "ab/f"}); !there {
		t.Error("another tenant's file is gone")
	}
}
