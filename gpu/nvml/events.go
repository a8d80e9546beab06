//go:build linux && cgo

package nvml

import (
	"context"
	"runtime"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/skein-project/skein/gpu"
)

// Pace of waiting for events.
const (
	waitFor   = time.Second
	waitHangs = 5 * waitFor // a wait that lasts this long does not return any more
)

// watch tells the events of devices as they come, until ctx ends. Events that come while no child runs are lost; the check of the next
// child finds what they left behind.
func (d *driver) watch(ctx context.Context, devices []handle, tell func(event)) {
	for _, call := range []string{createSet, freeSet, register, waitSet} {
		if !d.has[call] {
			return
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	set, ret := d.lib.EventSetCreate()
	if ret != nvml.SUCCESS {
		return
	}
	defer func() { _ = set.Free() }() // the process, which holds it, ends next
	watched := 0
	for _, h := range devices {
		if kinds := d.wanted(h); kinds != 0 && h.RegisterEvents(kinds, set) == nvml.SUCCESS {
			watched++
		}
	}
	if watched == 0 {
		return
	}
	for ctx.Err() == nil {
		d.waiting.Store(time.Now().UnixNano())
		e, ret := set.Wait(uint32(waitFor.Milliseconds()))
		d.waiting.Store(0)
		switch ret {
		case nvml.SUCCESS:
			tell(event{ID: owner(devices, e.Device), Kind: e.EventType, Code: e.EventData})
			d.recheck.Store(true)
		case nvml.ERROR_TIMEOUT:
		default: // as while a device is lost, which the rounds see
			select {
			case <-time.After(waitFor):
			case <-ctx.Done():
			}
		}
	}
}

// wanted is the set of event kinds that a device has and that mean something here.
func (d *driver) wanted(h handle) uint64 {
	all := eventXID
	for kind := range kinds {
		all |= kind
	}
	if d.has[getSupported] {
		if has, ret := h.GetSupportedEventTypes(); ret == nvml.SUCCESS {
			return all & has
		}
	}
	return eventXID | eventDoubleBitECC
}

// owner is the device that a driver's handle stands for. A lost device no longer tells its UUID, so handles are compared first.
func owner(devices []handle, dev nvml.Device) gpu.DeviceID {
	for _, h := range devices {
		if h.Device == dev {
			return h.gpu.ID
		}
	}
	if dev == nil {
		return ""
	}
	if uuid, ret := dev.GetUUID(); ret == nvml.SUCCESS {
		return gpu.DeviceID(uuid)
	}
	return ""
}
