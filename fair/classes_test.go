package fair

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// While both classes always wait, bulk gets one part in Share of what is popped, to within one item, and always in the end; tenants of a class
// take turns by their weights as if the other class were not there.
func TestBulkShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, alone := NewClasses(100), [2]*Queue{New(100), New(100)}
		most := rapid.Int64Range(1, 200).Draw(t, "largest")
		id := uint64(0)
		push := func(class Class) {
			id++
			x := Item{ID: id, Tenant: fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "tenant")), Weight: rapid.IntRange(1, 9).Draw(t, "weight"), Cost: rapid.Int64Range(1, most).Draw(t, "cost"), Class: class}
			c.Push(x)
			alone[class].Push(x)
		}
		for range 5 {
			push(Interactive)
			push(Bulk)
		}
		var served [2]int64
		for range 400 {
			x, ok := c.Pop(Leave(rapid.IntRange(int(DueBulk), int(SpareBulk)).Draw(t, "leave")))
			want, _ := alone[x.Class].Pop()
			if !ok || x.ID != want.ID {
				t.Fatalf("popped %+v, its class alone would give %+v", x, want)
			}
			served[x.Class] += x.Cost
			if served[Bulk]*(Share-1) > served[Interactive] {
				t.Fatalf("served %v: too much bulk", served)
			}
			if served[Interactive] > (served[Bulk]+most)*(Share-1)+most {
				t.Fatalf("served %v with items of up to %d: bulk starves", served, most)
			}
			push(x.Class)
		}
	})
}

// However items come and go: a bulk item is popped while somebody waits only if it is due, never without leave, nothing is lost, and bulk that did
// not wait has saved up nothing.
func TestPeopleFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, id := NewClasses(20), uint64(0)
		here := [2]map[uint64]Item{{}, {}}
		var earned, spent int64 // by bulk, of turns that it has although others wait
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				id++
				x := Item{ID: id, Tenant: fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "tenant")), Weight: 1, Cost: rapid.Int64Range(0, 50).Draw(t, "cost"), Class: Class(rapid.IntRange(0, 1).Draw(t, "class"))}
				if c.Push(x) != (len(here[x.Class]) < 20) {
					t.Fatal("the bound")
				}
				if len(here[x.Class]) < 20 {
					here[x.Class][x.ID] = x
				}
			},
			"pop": func(t *rapid.T) {
				l := Leave(rapid.IntRange(0, 2).Draw(t, "leave"))
				people, bulk := len(here[Interactive]) > 0, len(here[Bulk]) > 0
				x, ok := c.Pop(l)
				switch {
				case !ok && (people || bulk && l == SpareBulk):
					t.Fatal("nobody has a turn")
				case !ok:
				case x.Class == Interactive && bulk && l != NoBulk:
					earned += max(1, x.Cost)
				case x.Class == Interactive:
				case l == NoBulk:
					t.Fatalf("%+v is popped without leave", x)
				case people || l == DueBulk:
					spent += (Share - 1) * max(1, x.Cost)
				}
				if spent > earned {
					t.Fatalf("bulk has had turns for %d, and %d was due", spent, earned)
				}
				if ok && x.Class == Bulk && len(here[Bulk]) == 1 {
					spent = earned
				}
				if _, there := here[x.Class][x.ID]; ok && !there {
					t.Fatalf("%+v comes from nowhere", x)
				}
				if ok && rapid.Bool().Draw(t, "back") {
					c.Back(x)
				} else {
					delete(here[x.Class], x.ID)
				}
				if c.Len() != len(here[Interactive])+len(here[Bulk]) || c.Waiting(Bulk) != len(here[Bulk]) {
					t.Fatal("items are lost")
				}
			},
			"remove": func(t *rapid.T) {
				class, id := Class(rapid.IntRange(0, 1).Draw(t, "class")), rapid.Uint64Range(1, id+1).Draw(t, "id")
				_, there := here[class][id]
				if c.Remove(class, id) != there {
					t.Fatal("what is removed was there")
				}
				delete(here[class], id)
			},
		})
	})
}
