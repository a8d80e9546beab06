package job

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/skein-project/skein/cluster"
)

// What is said of each tenant's batches; a word of the owner alone is no movement, and a line that is answered is.
func TestFigures(t *testing.T) {
	b := Batch{Window: 1e6, Callback: &Callback{}}.New(1000)
	b, err := b.Claim("g", 1500)
	if err == nil {
		b, err = b.Read("g", 10, nil, 2000)
	}
	if err == nil {
		b, err = b.Advance("g", Progress{To: 50, OK: 2, Bad: 1}, 3000)
	}
	if err == nil {
		b, err = b.Renew("g", 9000)
	}
	if err == nil {
		b, err = b.Advance("g", Progress{From: 50, To: 50}, 9500)
	}
	if err != nil {
		t.Fatal(err)
	}
	over := Batch{Status: Completed, Callback: &Callback{State: GivenUp}}
	state := cluster.State{}
	for i, x := range []struct {
		id string
		b  Batch
	}{{"acme/1", b}, {"acme/2", Batch{}.New(500)}, {"acme/3", over}, {"done/1", over}, {"idle/1", Batch{}.New(4000)}} {
		body, err := json.Marshal(x.b)
		if err != nil {
			t.Fatal(err)
		}
		do := []cluster.Command{cluster.PutDocument{Document: cluster.Document{DocumentID: cluster.DocumentID{Kind: cluster.Batch, ID: x.id}, Body: body}}}
		if i == 0 {
			do = append([]cluster.Command{cluster.Init{ID: "c", Feature: 3}}, do...)
		}
		var errs []error
		if state, errs = cluster.Apply(state, cluster.Index(i+1), cluster.Envelope{V: 1, Txns: []cluster.Txn{{Do: do}}}); errs[0] != nil {
			t.Fatal(errs[0])
		}
	}
	want := map[string]Figures{
		"acme": {Waiting: 1, Running: 1, Answered: 2, Failed: 1, Left: 7, Oldest: 9500, Still: 7000, GivenUp: 1},
		"done": {GivenUp: 1},
		"idle": {Waiting: 1, Oldest: 6000, Still: 6000},
	}
	if got := FiguresOf(state, 10_000); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
