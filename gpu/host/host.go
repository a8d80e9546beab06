// Package host presents shares of the machine's own memory and cores as devices, so that a machine without GPUs can be part of a fleet.
package host

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/skein-project/skein/gpu"
)

// MaxDevices is the largest number of host devices of a node.
const MaxDevices = 64

// ErrSpec says that a text describes no host device.
var ErrSpec = errors.New("host: want host:MEMORY, for example host:2GiB")

// Devices makes the devices of a node from specs "host:2GiB". Cores are dealt out evenly, at least one each.
func Devices(node string, specs []string) (gpu.Inventory, error) {
	if len(specs) > MaxDevices {
		return nil, fmt.Errorf("host: %d devices, at most %d", len(specs), MaxDevices)
	}
	var out gpu.Inventory
	for i, spec := range specs {
		kind, size, ok := strings.Cut(spec, ":")
		if !ok || kind != string(gpu.Host) {
			return nil, fmt.Errorf("%w: %q", ErrSpec, spec)
		}
		memory, err := gpu.ParseBytes(size)
		if err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrSpec, spec, err)
		}
		if memory == 0 {
			return nil, fmt.Errorf("%w: %q has no memory", ErrSpec, spec)
		}
		out = append(out, gpu.Device{
			ID: gpu.DeviceID(fmt.Sprintf("host-%s-%d", node, i)), Kind: gpu.Host,
			Name: fmt.Sprintf("%s CPU", runtime.GOARCH), Memory: memory, Cores: max(1, runtime.NumCPU()/len(specs)),
		})
	}
	return out, nil
}

// Probe reads the host devices of a node.
type Probe struct{ devices gpu.Inventory }

// New makes a probe of devices.
func New(devices gpu.Inventory) *Probe { return &Probe{devices} }

// Inventory lists the devices.
func (p *Probe) Inventory() gpu.Inventory { return p.devices }

// Read says what each device has: used is what its stages were measured to hold.
func (p *Probe) Read(used map[gpu.DeviceID]gpu.Bytes) []gpu.Reading {
	out := make([]gpu.Reading, len(p.devices))
	for i, d := range p.devices {
		out[i] = gpu.Reading{ID: d.ID, Used: used[d.ID], Free: max(0, d.Memory-used[d.ID]), Health: gpu.Healthy}
	}
	return out
}
