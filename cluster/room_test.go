package cluster

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// However puts and deletes of several gateways fall, each with a revision that may be old, a tenant never has more than there is room for, what
// fits is not refused, and neighbours do not count.
func TestRoomIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		room := Room{rapid.IntRange(1, 4).Draw(t, "documents"), rapid.Int64Range(1, 200).Draw(t, "size")}
		s, _ := Apply(State{}, 1, Envelope{V: EnvelopeFormat, Txns: []Txn{{Do: []Command{Init{ID: "c", Feature: 3}}}}})
		held := map[string]map[string]int64{"a": {}, "ab": {}}
		for index := range Index(rapid.IntRange(1, 30).Draw(t, "entries")) {
			var e Envelope
			type put struct{ tenant, id string }
			var puts []put
			for range rapid.IntRange(1, 4).Draw(t, "at once") {
				p := put{rapid.SampledFrom([]string{"a", "ab"}).Draw(t, "tenant"), fmt.Sprint("f", rapid.IntRange(0, 6).Draw(t, "file"))}
				id := DocumentID{File, p.tenant + "/" + p.id}
				old, _ := s.Document(id)
				if old.Rev != 0 && rapid.Bool().Draw(t, "delete") {
					e.Txns = append(e.Txns, Txn{Do: []Command{DeleteDocument{id, old.Rev}}})
				} else {
					e.Txns = append(e.Txns, Txn{Do: []Command{PutDocument{Document: Document{DocumentID: id, Body: []byte(`{}`), Size: rapid.Int64Range(0, 100).Draw(t, "size")}, Was: old.Rev, Room: &room}}})
				}
				puts = append(puts, p)
			}
			e.V = EnvelopeFormat
			var errs []error
			s, errs = Apply(s, index+2, e)
			for i, p := range puts {
				mine := held[p.tenant]
				c, ok := e.Txns[i].Do[0].(PutDocument)
				why, refused := errors.AsType[*Rejected](errs[i])
				switch {
				case !ok:
					if errs[i] == nil {
						delete(mine, p.id)
					}
					continue
				case refused && why.Reason != ReasonRoom:
					continue // another gateway was quicker
				}
				n, size := 1, c.Document.Size
				for id, bytes := range mine {
					if id != p.id {
						n++
						size += bytes
					}
				}
				if fits := n <= room.Documents && size <= room.Size; fits != (errs[i] == nil) {
					t.Fatalf("%s/%s of %d bytes in %+v beside %v: %v", p.tenant, p.id, c.Document.Size, room, mine, errs[i])
				}
				if errs[i] == nil {
					mine[p.id] = c.Document.Size
				}
			}
		}
	})
}

// What a put bounds is new in version 2 of its fields, also for kinds that are older; what bounds nothing is written as before.
func TestRoomIsWidened(t *testing.T) {
	d := Document{DocumentID: DocumentID{Setting, "s"}, Body: []byte(`{}`)}
	sized := d
	sized.Size = 1
	for _, c := range []struct {
		put     PutDocument
		version int
	}{{PutDocument{Document: d}, 1}, {PutDocument{Document: sized}, 2}, {PutDocument{Document: d, Room: &Room{}}, 2}} {
		if v := versionOf(c.put); v != c.version {
			t.Errorf("%+v: version %d, want %d", c.put, v, c.version)
		}
	}
}
