// Package gpu says what accelerators a machine has and how much memory each has left.
package gpu

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is an amount of memory in bytes.
type Bytes int64

// Units of memory (powers of 1024).
const (
	KiB Bytes = 1 << 10
	MiB Bytes = 1 << 20
	GiB Bytes = 1 << 30
	TiB Bytes = 1 << 40
)

// String prints the amount with one decimal in the largest unit that keeps it at or above one.
func (b Bytes) String() string {
	switch abs := max(b, -b); {
	case abs >= TiB:
		return fmt.Sprintf("%.1f TiB", float64(b)/float64(TiB))
	case abs >= GiB:
		return fmt.Sprintf("%.1f GiB", float64(b)/float64(GiB))
	case abs >= MiB:
		return fmt.Sprintf("%.1f MiB", float64(b)/float64(MiB))
	case abs >= KiB:
		return fmt.Sprintf("%.1f KiB", float64(b)/float64(KiB))
	}
	return fmt.Sprintf("%d B", int64(b))
}

// ErrSize says that a text is no amount of memory.
var ErrSize = errors.New("gpu: not an amount of memory")

// ParseBytes reads "512", "64KiB", "1.5GiB", "2TiB" (case-insensitive, optional space; a plain number is bytes).
func ParseBytes(text string) (Bytes, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	unit := Bytes(1)
	for _, u := range []struct {
		suffix string
		unit   Bytes
	}{{"kib", KiB}, {"mib", MiB}, {"gib", GiB}, {"tib", TiB}, {"b", 1}} {
		if rest, ok := strings.CutSuffix(s, u.suffix); ok {
			s, unit = strings.TrimSpace(rest), u.unit
			break
		}
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v < 0 || math.IsNaN(v) || v*float64(unit) >= math.MaxInt64 {
		return 0, fmt.Errorf("%w: %q (want for example 512MiB or 2GiB)", ErrSize, text)
	}
	return Bytes(v * float64(unit)), nil
}

// DeviceID names one accelerator in the whole fleet: the UUID that NVML reports, or "host-<node>-<n>".
type DeviceID string

// Kind is the sort of a device, and with it the execution provider that runs on it.
type Kind string

// Kinds of devices.
const (
	CUDA Kind = "cuda" // an NVIDIA GPU, read through NVML
	Host Kind = "host" // a share of the machine's own memory and cores, presented as a device
)

// Device is what does not change about an accelerator while its node runs.
type Device struct {
	ID      DeviceID `json:"id"`
	Kind    Kind     `json:"kind"`
	Name    string   `json:"name"`
	Memory  Bytes    `json:"memory"`            // schedulable memory: total less what driver and firmware keep
	Compute string   `json:"compute,omitempty"` // CUDA compute capability, for example "9.0"
	Cores   int      `json:"cores,omitempty"`   // host devices: cores that its runtime may use
}

// Health says whether work may be placed on a device.
type Health string

// States of health.
const (
	Healthy Health = "healthy"
	Unknown Health = "unknown" // the probe does not answer; nothing new is placed here
	Failed  Health = "failed"  // lost, or an XID error that condemns it; nothing runs here
)

// Reading is what a probe last read from a device.
type Reading struct {
	ID      DeviceID `json:"id"`
	Used    Bytes    `json:"used"`
	Free    Bytes    `json:"free"`
	Percent int      `json:"percent"` // utilisation, 0..100
	Health  Health   `json:"health"`
	Why     string   `json:"why,omitempty"` // reason of a health other than healthy

	Celsius    int    `json:"celsius,omitempty"`    // temperature; 0 = not known
	Milliwatts int    `json:"milliwatts,omitempty"` // power draw; 0 = not known
	XID        uint64 `json:"xid,omitempty"`        // number of the last XID error; 0 = there was none
}

// Inventory is the list of devices of one machine, in a stable order.
type Inventory []Device

// Device finds a device by its id.
func (inv Inventory) Device(id DeviceID) (Device, bool) {
	for _, d := range inv {
		if d.ID == id {
			return d, true
		}
	}
	return Device{}, false
}
