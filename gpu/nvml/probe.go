// Package nvml reads the NVIDIA GPUs of a machine through the driver's management library, in a child process that may hang or die.
package nvml

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/skein-project/skein/gpu"
)

// Errors of a machine whose GPUs cannot be read.
var (
	ErrLibrary = errors.New("nvml: the NVIDIA driver's library is missing")
	ErrDriver  = errors.New("nvml: the NVIDIA driver does not work")
	ErrDevices = errors.New("nvml: no usable NVIDIA GPU")
	ErrBuild   = errors.New("nvml: this program was built without cgo or not for Linux, and cannot read NVIDIA GPUs")
	ErrChild   = errors.New("nvml: the probe's process failed")
)

// Occupant is a process that computes on a device.
type Occupant struct {
	PID  int       `json:"pid"`  // as the host numbers it, also where this program runs in a container
	Used gpu.Bytes `json:"used"` // 0 where the driver does not say
}

// Probe knows what the child last read. Its methods never wait for the driver.
type Probe struct {
	log     *slog.Logger
	command func() *exec.Cmd // makes a child
	stop    context.CancelFunc
	ended   chan struct{} // closed when the child and all that watches it are gone

	mu        sync.Mutex
	inventory gpu.Inventory // the first child's; nil until then
	devices   map[gpu.DeviceID]*device
}

// device is the last state of one device.
type device struct {
	reading   gpu.Reading
	condition condition
	occupants []Occupant
}

// Inventory lists the devices in NVML's order. It does not change: a device that disappears fails, one that is new is served after a
// restart of the node.
func (p *Probe) Inventory() gpu.Inventory {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.inventory)
}

// Read says what each device has, in the inventory's order. Memory is what NVML counts, of all processes; what the node's own stages
// were measured to hold is not needed.
func (p *Probe) Read(map[gpu.DeviceID]gpu.Bytes) []gpu.Reading {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]gpu.Reading, len(p.inventory))
	for i, d := range p.inventory {
		out[i] = p.devices[d.ID].reading
	}
	return out
}

// Occupants lists the processes that compute on a device, at most occupantsEvery old.
func (p *Probe) Occupants(id gpu.DeviceID) []Occupant {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := p.devices[id]; d != nil {
		return slices.Clone(d.occupants)
	}
	return nil
}

// Close ends the child and waits for that. Readings stay as they are.
func (p *Probe) Close() {
	p.stop()
	<-p.ended
}

// welcome takes a child's list of devices. It says whether it was the first.
func (p *Probe) welcome(h hello) (first bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inventory == nil {
		if len(h.Devices) == 0 {
			return false, ErrDevices
		}
		p.devices = map[gpu.DeviceID]*device{}
		for _, d := range h.Devices {
			p.devices[d.ID] = &device{reading: gpu.Reading{ID: d.ID}}
			p.settle(d.ID, condition{})
		}
		p.inventory = h.Devices
		return true, nil
	}
	for _, d := range p.inventory {
		if _, ok := gpu.Inventory(h.Devices).Device(d.ID); !ok {
			p.settle(d.ID, p.devices[d.ID].condition.lost("the driver no longer lists the GPU"))
		}
	}
	for _, d := range h.Devices {
		if p.devices[d.ID] == nil {
			p.log.Warn("a GPU is new: restart the node to use it", "device", d.ID, "name", d.Name)
		}
	}
	return false, nil
}

// round takes what a child read.
func (p *Probe) round(now time.Time, r round) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range r.Devices {
		d := p.devices[s.ID]
		if d == nil {
			continue
		}
		if !s.Lost && s.Fault == "" {
			d.reading.Used, d.reading.Free, d.reading.Percent = s.Used, s.Free, s.Percent
			d.reading.Celsius, d.reading.Milliwatts = s.Celsius, s.Milliwatts
		}
		if s.Occupants != nil {
			d.occupants = *s.Occupants
		}
		p.settle(s.ID, d.condition.sampled(now, s))
	}
}

// strike takes an event. One whose device does not even tell its name is only logged: the next round finds that device lost.
func (p *Probe) strike(e event) {
	what, a := e.meaning()
	p.log.Warn("GPU event", "device", e.ID, "event", what, "condemned", a != ignore)
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := p.devices[e.ID]; d != nil {
		if e.Kind == eventXID {
			d.reading.XID = e.Code
		}
		p.settle(e.ID, d.condition.struck(e))
	}
}

// quiet says that the child does not answer.
func (p *Probe) quiet(why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(p.devices)) {
		p.settle(id, p.devices[id].condition.quiet(why))
	}
}

// settle gives a device a condition, with the lock held.
func (p *Probe) settle(id gpu.DeviceID, c condition) {
	d := p.devices[id]
	was := d.reading.Health
	d.condition = c
	if d.reading.Health, d.reading.Why = c.verdict(); d.reading.Health != was {
		p.log.Info("GPU health", "device", id, "health", d.reading.Health, "why", d.reading.Why)
	}
}
