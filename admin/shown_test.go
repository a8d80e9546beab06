package admin

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/skein-project/skein/blob"
)

// What was sent counts for an hour, for its tenant, as long as it is there, and there is a bound.
func TestShown(t *testing.T) {
	var s shown
	now := time.Unix(1_700_000_000, 0)
	x := blob.Of(make([]byte, 2*blob.ChunkSize+1))
	d := x.Digest()
	if got := s.begin(now, "a", x, nil); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("to be sent: %v", got)
	}
	for i := range 3 {
		if s.whole(now, "a", d) {
			t.Errorf("whole after %d chunks", i)
		}
		s.sent(now, "a", d, i)
	}
	s.sent(now, "a", d, 3)
	s.sent(now, "a", d, -1)
	if !s.whole(now, "a", d) || s.whole(now, "b", d) || s.begun(now, "b", d) {
		t.Error("it is not whole, or it is for another tenant")
	}
	if got := s.begin(now, "a", x, []int{1}); !slices.Equal(got, []int{1}) || s.whole(now, "a", d) {
		t.Errorf("what is gone: %v", got)
	}
	s.sent(now, "a", d, 1)
	now = now.Add(shownFor - 1)
	if !s.whole(now, "a", d) {
		t.Error("forgotten too early")
	}
	now = now.Add(shownFor)
	if s.whole(now, "a", d) || len(s.begin(now, "a", x, nil)) != 3 {
		t.Error("not forgotten")
	}
	for i := range maxShownBlobs + 10 {
		now = now.Add(time.Millisecond)
		s.begin(now, "a", blob.Of(binary.BigEndian.AppendUint64(nil, uint64(i))), nil)
		s.begin(now, "b", x, nil)
	}
	if len(s.of["a"]) != maxShownBlobs || s.begun(now, "a", d) || !s.begun(now, "b", d) {
		t.Errorf("%d blobs are remembered", len(s.of["a"]))
	}
}

// A tenant that announces many large blobs makes nobody forget but itself, and takes no more memory than all may.
func TestShownSize(t *testing.T) {
	var s shown
	now := time.Unix(1_700_000_000, 0)
	small := blob.Of([]byte("small"))
	s.begin(now, "modest", small, nil)
	s.sent(now, "modest", small.Digest(), 0)
	const chunks = 150_000 // as many as a request has room for
	for i := range maxShownSize/chunks + 50 {
		now = now.Add(time.Millisecond)
		var d blob.Digest
		binary.BigEndian.PutUint64(d[:], uint64(i))
		s.add(now, "greedy", d, &shownBlob{chunks: make([]bool, chunks), used: now})
	}
	sum := 0
	for _, list := range s.of {
		for _, b := range list {
			sum += b.size()
		}
	}
	if sum > maxShownSize || sum < maxShownSize/2 || sum != s.size {
		t.Errorf("%d bytes are taken, %d counted, of %d", sum, s.size, maxShownSize)
	}
	if !s.whole(now, "modest", small.Digest()) {
		t.Error("another tenant's blob was forgotten")
	}
}
