package gpu

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestLedgerRefuses(t *testing.T) {
	l := Ledger{}.Add("a", 100)
	for _, c := range []struct {
		device DeviceID
		need   Bytes
		want   Oversold
	}{
		{"a", 101, Oversold{"a", 101, 100, true}},
		{"a", -1, Oversold{"a", -1, 100, true}},
		{"b", 1, Oversold{"b", 1, 0, false}},
		{"b", 0, Oversold{"b", 0, 0, false}},
	} {
		after, err := l.Reserve(c.device, c.need)
		var o *Oversold
		if !errors.As(err, &o) || *o != c.want {
			t.Errorf("reserve %d of %s: %v, want %v", c.need, c.device, err, &c.want)
		}
		if after != l {
			t.Errorf("reserve %d of %s was refused and changed the ledger", c.need, c.device)
		}
	}
}

func TestLedgerOutlivesDevices(t *testing.T) {
	l, err := Ledger{}.Add("a", 100).Reserve("a", 60)
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Add("a", 50).Free("a"); got != -10 {
		t.Errorf("free after shrinking: %d", got)
	}
	gone := l.Remove("a")
	if _, err := gone.Reserve("a", 0); err == nil {
		t.Error("reserved on a device that vanished")
	}
	if got := gone.Account("a"); got != (Account{Reserved: 60}) {
		t.Errorf("account of the vanished device: %+v", got)
	}
	if got := gone.Add("a", 100).Free("a"); got != 40 {
		t.Errorf("free after it came back: %d", got)
	}
	for d := range gone.Release("a", 60).All() {
		t.Errorf("%s is still known", d)
	}
	defer func() {
		if recover() == nil {
			t.Error("released more than was reserved")
		}
	}()
	l.Release("a", 61)
}

// The ledger agrees with a plain list of reservations, is never oversold, and old ledgers keep.
func TestLedgerProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		device := rapid.SampledFrom([]DeviceID{"a", "b", "c"})
		amount := rapid.Custom(func(t *rapid.T) Bytes { return Bytes(rapid.IntRange(0, 60).Draw(t, "n")) })
		type hold struct {
			device DeviceID
			n      Bytes
		}
		l, held, capacity := Ledger{}, []hold(nil), map[DeviceID]Bytes{}
		sum := func(d DeviceID) (n Bytes) {
			for _, h := range held {
				if h.device == d {
					n += h.n
				}
			}
			return n
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			old, before := l, maps.Collect(l.All())
			switch d := device.Draw(t, "device"); rapid.IntRange(0, 4).Draw(t, "op") {
			case 0:
				capacity[d] = amount.Draw(t, "capacity")
				l = l.Add(d, capacity[d])
			case 1:
				delete(capacity, d)
				l = l.Remove(d)
			case 2, 3:
				n := amount.Draw(t, "need")
				c, known := capacity[d]
				fits := known && sum(d)+n <= c
				after, err := l.Reserve(d, n)
				if (err == nil) != fits {
					t.Fatalf("reserve %d of %s: %v, want fits = %v", n, d, err, fits)
				}
				if l = after; fits {
					held = append(held, hold{d, n})
				}
			case 4:
				if len(held) > 0 {
					i := rapid.IntRange(0, len(held)-1).Draw(t, "which")
					l = l.Release(held[i].device, held[i].n)
					held = slices.Delete(held, i, i+1)
				}
			}
			rebuilt := Ledger{}
			for _, d := range slices.Sorted(maps.Keys(capacity)) {
				rebuilt = rebuilt.Add(d, capacity[d])
			}
			for _, h := range held {
				rebuilt = rebuilt.Restate(h.device, h.n)
			}
			if got, want := maps.Collect(l.All()), maps.Collect(rebuilt.All()); !maps.Equal(got, want) {
				t.Fatalf("ledger %v, rebuilt %v", got, want)
			}
			if !maps.Equal(maps.Collect(old.All()), before) {
				t.Fatal("an old ledger changed")
			}
		}
	})
}
