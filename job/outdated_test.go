package job

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
)

// stateOf is a state with files and batches.
func stateOf(t *testing.T, docs map[cluster.DocumentID]any) cluster.State {
	t.Helper()
	var do []cluster.Command
	for id, v := range docs {
		body, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		do = append(do, cluster.PutDocument{Document: cluster.Document{DocumentID: id, Body: body}})
	}
	slices.SortFunc(do, func(a, b cluster.Command) int {
		return a.(cluster.PutDocument).Document.DocumentID.Compare(b.(cluster.PutDocument).Document.DocumentID)
	})
	state, errs := cluster.Apply(cluster.State{}, 1, cluster.Envelope{V: cluster.EnvelopeFormat, Txns: []cluster.Txn{{Do: []cluster.Command{cluster.Init{ID: "c", Feature: cluster.Feature}}}}})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	state, errs = cluster.Apply(state, 2, cluster.Envelope{V: cluster.EnvelopeFormat, Txns: []cluster.Txn{{Do: do}}})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	return state
}

// What is over goes, an input that a batch needs stays, and every blob that is named is known.
func TestOutdated(t *testing.T) {
	part := func(b byte) []Part { return []Part{{Digest: blob.Digest{b}, Bytes: 1}} }
	id := func(k cluster.Kind, name string) cluster.DocumentID { return cluster.DocumentID{Kind: k, ID: name} }
	state := stateOf(t, map[cluster.DocumentID]any{
		id(cluster.File, "a/old"):    File{ID: "old", Expires: 10, Parts: part(1)},
		id(cluster.File, "a/needed"): File{ID: "needed", Expires: 10, Parts: part(2)},
		id(cluster.File, "b/needed"): File{ID: "needed", Expires: 10, Parts: part(3)}, // of another tenant
		id(cluster.File, "a/new"):    File{ID: "new", Expires: 11, Parts: part(4)},
		id(cluster.Batch, "a/runs"):  Batch{ID: "runs", Status: InProgress, Input: "needed", Output: part(5), Errors: part(6)},
		id(cluster.Batch, "a/over"):  Batch{ID: "over", Status: Completed, Gone: 10},
		id(cluster.Batch, "a/young"): Batch{ID: "young", Status: Failed, Gone: 11},
	})
	var gone []string
	for _, c := range Outdated(state, 10) {
		gone = append(gone, c.ID.ID)
	}
	if want := "[a/over a/old b/needed]"; fmt.Sprint(gone) != want {
		t.Errorf("%v go, want %s", gone, want)
	}
	var named []byte
	if !Blobs(state, func(d blob.Digest) { named = append(named, d[0]) }) {
		t.Error("a document cannot be read")
	}
	if slices.Sort(named); fmt.Sprint(named) != "[1 2 3 4 5 6]" {
		t.Errorf("blobs %v", named)
	}
	if Blobs(stateOf(t, map[cluster.DocumentID]any{id(cluster.File, "a/x"): map[string]any{"parts": []string{"?"}}}), func(blob.Digest) {}) {
		t.Error("a document that cannot be read is no reason to be unsure")
	}
}

// Of batches that nobody works, those are taken first whose tenant has the fewest, and of these the oldest.
func TestPick(t *testing.T) {
	held := func(id string, since Millis, owner string) Held {
		return Held{Doc: cluster.Document{DocumentID: cluster.DocumentID{Kind: cluster.Batch, ID: id}}, Batch: Batch{Status: InProgress, Since: map[Status]Millis{Validating: since}, Owner: owner, Lease: 100}}
	}
	all := []Held{held("a/1", 1, ""), held("a/2", 2, ""), held("a/3", 0, "x"), held("b/1", 9, ""), held("c/1", 8, "x"), held("c/2", 3, "")}
	for room, want := range []string{"[]", "[b/1]", "[b/1 a/1]", "[b/1 a/1 c/2]", "[b/1 a/1 c/2 a/2]"} {
		var got []string
		for _, h := range Pick(all, room, 50) {
			got = append(got, h.Doc.ID)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("room for %d: %v, want %s", room, got, want)
		}
	}
	if got := Pick(all, 9, 100); len(got) != 6 {
		t.Errorf("when leases are over %d are free", len(got))
	}
}
