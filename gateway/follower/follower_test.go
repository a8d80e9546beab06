package follower_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway/follower"
	"github.com/skein-project/skein/internal/fleettest"
)

// bulk makes n commands whose entry is large.
func bulk(from, n int) (list []cluster.Command) {
	for i := from; i < from+n; i++ {
		id := fmt.Sprintf("k%06d", i)
		list = append(list, cluster.PutKey{Key: cluster.Key{ID: id, Name: strings.Repeat("n", cluster.MaxName), Hash: id + strings.Repeat("h", 4000)}})
	}
	return list
}

func state(t *testing.T, s cluster.State) string {
	t.Helper()
	h := sha256.New()
	if _, err := s.WriteTo(h); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %x", s.Index(), h.Sum(nil))
}

// A follower starts from a snapshot, takes entries as they come, leaves a coordinator that is gone, and gets a snapshot again when it comes
// back after more was written than anybody keeps. Snapshots and entries may be larger than one message.
func TestFollow(t *testing.T) {
	f := fleettest.New(t, 3, "")
	large := 18 // entries of 1 MiB: more than wire.MaxMessage, and than what is kept
	if testing.Short() {
		large = 2 // everything comes as entries, and in one piece
	}
	for i := range large {
		f.Do(f.Leader(), bulk(i*cluster.MaxCommands, cluster.MaxCommands)...)
	}
	member := f.Enrol(cluster.RoleGateway, "g")
	fol := follower.New(f.Dialer(member), member.Coordinators, fleettest.Log())
	follow := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); fol.Run(ctx) }()
		return func() { cancel(); <-ended }
	}
	same := func(what string) {
		t.Helper()
		want := state(t, f.Leader().Live().Now())
		fleettest.Within(t, what, func() bool { return fol.Live().Now().Index() == f.Leader().Live().Now().Index() })
		if got := state(t, fol.Live().Now()); got != want {
			t.Errorf("%s: state %s, want %s", what, got, want)
		}
	}
	stop := follow()
	same("from a snapshot")
	f.Do(f.Leader(), bulk(100_000, 3)...)
	same("an entry")
	f.Stop(f.Coordinators[0]) // the one that it follows
	f.Do(f.Leader(), bulk(100_100, 3)...)
	same("at another coordinator")
	stop()
	for i := range 3 { // fewer bytes than are kept: as entries
		f.Do(f.Leader(), bulk(110_000+i*cluster.MaxCommands, cluster.MaxCommands)...)
	}
	stop = follow()
	same("entries that it missed")
	stop()
	for i := range large {
		f.Do(f.Leader(), bulk(200_000+i*cluster.MaxCommands, cluster.MaxCommands)...)
	}
	stop = follow()
	same("a snapshot again")

	data := []byte("what a gateway reads of a model")
	x := blob.Of(data)
	holder := f.Leader()
	if _, err := holder.BeginBlob(x); err != nil {
		t.Fatal(err)
	}
	if err := holder.WriteChunk(x.Digest(), 0, data); err != nil {
		t.Fatal(err)
	}
	if got, err := fol.ReadBlob(t.Context(), blob.Ref{Digest: x.Digest(), Off: 5, Len: 9}); err != nil || string(got) != "a gateway" {
		t.Errorf("ReadBlob: %q, %v", got, err)
	}
	if n, err := fol.BlobSize(t.Context(), x.Digest()); err != nil || n != int64(len(data)) {
		t.Errorf("BlobSize: %d, %v", n, err)
	}
	before := state(t, fol.Live().Now())
	for _, c := range f.Running() {
		f.Stop(c)
	}
	stop()
	if got := state(t, fol.Live().Now()); got != before {
		t.Error("without coordinators the last state does not stay")
	}
}
