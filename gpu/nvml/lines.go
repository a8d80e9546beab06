package nvml

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/skein-project/skein/gpu"
)

// Bounds of what a child says.
const (
	maxDevices   = 64      // devices of a machine
	maxOccupants = 256     // processes of a device
	maxLine      = 1 << 20 // bytes
)

// ask is a line to the child: read the devices now.
type ask struct {
	Read uint64 `json:"read"`
}

// line is a line of the child. One field is set.
type line struct {
	Hello *hello `json:"hello,omitempty"` // the first line
	Fault *fault `json:"fault,omitempty"` // the last line of a child that gives up
	Round *round `json:"round,omitempty"` // the answer to an ask
	Busy  string `json:"busy,omitempty"`  // the call that keeps the child from answering an ask
	Event *event `json:"event,omitempty"`
}

// hello lists the devices.
type hello struct {
	Driver  string       `json:"driver"`
	Devices []gpu.Device `json:"devices"`
	Skipped []string     `json:"skipped,omitempty"` // devices that are not used, and why
}

// fault is why a child gives up: an error that crosses the pipe.
type fault struct {
	Sort string `json:"sort"` // a key of sorts; "" = ErrChild
	Text string `json:"text"`
}

// sorts names the errors that a fault wraps.
var sorts = map[string]error{"": ErrChild, "library": ErrLibrary, "driver": ErrDriver, "build": ErrBuild}

// Error implements error.
func (f fault) Error() string { return fmt.Sprintf("%v: %s", f.Unwrap(), f.Text) }

// Unwrap is the sentinel of the fault's sort.
func (f fault) Unwrap() error {
	if sort, ok := sorts[f.Sort]; ok {
		return sort
	}
	return ErrChild
}

// round is one reading of all devices.
type round struct {
	Read    uint64   `json:"read"`
	Devices []sample `json:"devices"`
}

// sample is one reading of one device.
type sample struct {
	ID         gpu.DeviceID `json:"id"`
	Used       gpu.Bytes    `json:"used"` // without memory v2 also what the driver keeps for itself
	Free       gpu.Bytes    `json:"free"`
	Percent    int          `json:"percent"`              // utilisation, 0..100; 0 where the device does not say
	Celsius    int          `json:"celsius,omitempty"`    // 0 where the device does not say
	Milliwatts int          `json:"milliwatts,omitempty"` // 0 where the device does not say
	Lost       bool         `json:"lost,omitempty"`
	Fault      string       `json:"fault,omitempty"`     // the call that failed
	Pending    string       `json:"pending,omitempty"`   // what a reset would cure
	Occupants  *[]Occupant  `json:"occupants,omitempty"` // nil in rounds that do not read them
}

// event is what the driver told of itself.
type event struct {
	ID   gpu.DeviceID `json:"id,omitempty"` // "" where the device does not tell
	Kind uint64       `json:"kind"`         // nvmlEventType…
	Code uint64       `json:"code"`         // the XID, where Kind is eventXID
}

// writer writes lines of JSON; several goroutines may use it.
type writer struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func newWriter(w io.Writer) *writer { return &writer{enc: json.NewEncoder(w)} }

func (w *writer) write(v any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.enc.Encode(v); err != nil {
		return fmt.Errorf("nvml: write to pipe: %w", err)
	}
	return nil
}

// readLines calls f with every line of r until r ends or f fails.
func readLines[T any](r io.Reader, f func(T) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for s.Scan() {
		var v T
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			return fmt.Errorf("nvml: read from pipe: %w", err)
		}
		if err := f(v); err != nil {
			return err
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("nvml: read from pipe: %w", err)
	}
	return nil
}

// check bounds what a child says, since the library in it is foreign.
func (l line) check() error {
	switch {
	case l.Hello != nil && len(l.Hello.Devices) > maxDevices, l.Round != nil && len(l.Round.Devices) > maxDevices:
		return fmt.Errorf("%w: it lists more than %d devices", ErrChild, maxDevices)
	case l.Hello != nil:
		seen := map[gpu.DeviceID]bool{}
		for _, d := range l.Hello.Devices {
			if d.ID == "" || d.Memory <= 0 || seen[d.ID] {
				return fmt.Errorf("%w: it lists a device %q of %v that has no name, no memory or a twin", ErrChild, d.ID, d.Memory)
			}
			seen[d.ID] = true
		}
	}
	return nil
}
