package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/live"
	"github.com/skein-project/skein/job"
	"github.com/skein-project/skein/wire"
)

// away is coordinators that keep blobs and answer no commit.
type away struct{ Depot }

func (away) Deposit(_ context.Context, data []byte) (blob.Digest, error) {
	return blob.Of(data).Digest(), nil
}

func (away) Commit(context.Context, *wire.CommitRequest) (*wire.CommitResponse, error) {
	return nil, errors.New("no coordinator answers")
}

// What was answered and could not be laid down is still there to be laid down: it was paid for.
func TestLayFails(t *testing.T) {
	b := job.Batch{ID: "batch_1", Status: job.InProgress, Total: 10, Owner: "g/1", Offset: 100}
	body, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	id := cluster.DocumentID{Kind: cluster.Batch, ID: "acme/batch_1"}
	state := live.New()
	next, errs := cluster.Apply(state.Now(), 1, cluster.Envelope{V: cluster.EnvelopeFormat, At: 1, Txns: []cluster.Txn{
		{Do: []cluster.Command{cluster.Init{ID: "c", CACert: []byte("c"), CAKey: []byte("k"), Feature: 3}}},
		{Do: []cluster.Command{cluster.PutTenant{Tenant: cluster.Tenant{ID: "acme", Weight: 1}}}},
		{Do: []cluster.Command{cluster.PutDocument{Document: cluster.Document{DocumentID: id, Body: body}}}},
	}})
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	state.Store(next)
	w := &worker{id: id, batching: &batching{Works: Works{Depot: away{}}, owner: "g/1", s: &Server{live: state}}}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	l := &laid{Progress: job.Progress{From: 100, To: 150, OK: 1}, output: []byte("an answer\n")}
	if b, err = w.lay(ctx, b, l); err == nil {
		t.Fatal("it was laid down")
	}
	if b.Offset != 100 || l.From != 100 || l.To != 150 || string(l.output) != "an answer\n" {
		t.Errorf("the batch is at %d, and %+v is left", b.Offset, l)
	}
}
