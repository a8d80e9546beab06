package gpu

import (
	"fmt"
	"iter"
	"strings"

	"github.com/skein-project/skein/internal/table"
)

// Compare orders device ids.
func (d DeviceID) Compare(o DeviceID) int { return strings.Compare(string(d), string(o)) }

// MaxMemory bounds the memory of one device and one reservation (1 PiB), so that no sum of them overflows.
const MaxMemory = 1024 * TiB

// Oversold says that a device has less memory left than is needed.
type Oversold struct {
	Device DeviceID `json:"device"`
	Need   Bytes    `json:"need"`  // asked for
	Free   Bytes    `json:"free"`  // left; negative if the device shrank under its reservations
	Known  bool     `json:"known"` // false: no such device (or it vanished)
}

func (e *Oversold) Error() string {
	if !e.Known {
		return fmt.Sprintf("gpu: device %s is not known", e.Device)
	}
	return fmt.Sprintf("gpu: device %s needs %v and has %v free", e.Device, e.Need, e.Free)
}

// Account is the memory of one device.
type Account struct {
	Capacity Bytes
	Reserved Bytes
	Known    bool // false: reservations outlived the device
}

// Free is what is left; negative if the device shrank or vanished under its reservations.
func (a Account) Free() Bytes { return a.Capacity - a.Reserved }

// Ledger holds the capacity and the reservations of devices. It is a value: every change returns a new ledger and the old one
// stays as it was, so a search may try and drop. The zero value knows no device. Placement proposes and cluster.Apply verifies
// with this one arithmetic.
//
// A device that vanishes keeps its reservations, so that whoever made them can still release them; nothing can be reserved on it.
type Ledger struct {
	accounts table.Table[DeviceID, Account]
}

// Add makes a device known, or changes the capacity of one that is. Reservations stay.
func (l Ledger) Add(d DeviceID, capacity Bytes) Ledger {
	a, _ := l.accounts.Get(d)
	a.Capacity, a.Known = capacity, true
	return Ledger{l.accounts.Set(d, a)}
}

// Remove makes a device unknown. Its reservations stay until they are released.
func (l Ledger) Remove(d DeviceID) Ledger {
	a, _ := l.accounts.Get(d)
	a.Capacity, a.Known = 0, false
	return l.keep(d, a)
}

// Reserve takes n bytes of a device, or returns the ledger as it was and an *Oversold. A negative n is refused the same way.
func (l Ledger) Reserve(d DeviceID, n Bytes) (Ledger, error) {
	a, _ := l.accounts.Get(d)
	if !a.Known || n < 0 || n > a.Free() {
		return l, &Oversold{Device: d, Need: n, Free: a.Free(), Known: a.Known}
	}
	a.Reserved += n
	return l.keep(d, a), nil
}

// Restate records a reservation that is already a fact, even one beyond the capacity or on an unknown device: it is how a ledger
// is rebuilt from records.
func (l Ledger) Restate(d DeviceID, n Bytes) Ledger {
	a, _ := l.accounts.Get(d)
	a.Reserved += n
	return l.keep(d, a)
}

// Release gives n bytes back. Giving back more than was reserved is a broken invariant of the caller and panics.
func (l Ledger) Release(d DeviceID, n Bytes) Ledger {
	a, _ := l.accounts.Get(d)
	if n < 0 || n > a.Reserved {
		panic(fmt.Sprintf("gpu: release of %d bytes of device %s, which has %d reserved", n, d, a.Reserved))
	}
	a.Reserved -= n
	return l.keep(d, a)
}

func (l Ledger) keep(d DeviceID, a Account) Ledger {
	if !a.Known && a.Reserved == 0 {
		return Ledger{l.accounts.Delete(d)}
	}
	return Ledger{l.accounts.Set(d, a)}
}

// Free is the memory left on a device; zero or negative for an unknown one.
func (l Ledger) Free(d DeviceID) Bytes { return l.Account(d).Free() }

// Reserved is the sum of the reservations on a device.
func (l Ledger) Reserved(d DeviceID) Bytes { return l.Account(d).Reserved }

// Account is the whole account of a device, zero for an unknown one without reservations.
func (l Ledger) Account(d DeviceID) Account {
	a, _ := l.accounts.Get(d)
	return a
}

// All yields every account in the order of device ids.
func (l Ledger) All() iter.Seq2[DeviceID, Account] { return l.accounts.All() }
