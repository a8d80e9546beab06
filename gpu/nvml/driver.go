//go:build linux && cgo

package nvml

import (
	"cmp"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/skein-project/skein/gpu"
)

// Pace of what is read less often than every round: these calls take milliseconds inside the driver's global lock.
const (
	occupantsEvery = 15 * time.Second
	checkEvery     = time.Minute // ECC, row remapping, number of devices; also right after every event
)

// reservedMost is the most memory that a driver without memory v2 is believed to keep for itself: its version 1 counts that as used,
// and so would a foreign process.
const reservedMost = gpu.GiB

// calls lists what the child asks of NVML, and the symbols that answer; any of them is enough. The binding calls a symbol without
// looking: one that is absent ends the process. nvmlInit cannot be looked up before it was called.
var calls = []struct {
	name    string
	symbols []string
	needed  bool
}{
	{errorString, []string{"nvmlErrorString"}, false},
	{getCount, []string{"nvmlDeviceGetCount_v2", "nvmlDeviceGetCount"}, true},
	{getHandle, []string{"nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex"}, true},
	{getUUID, []string{"nvmlDeviceGetUUID"}, true},
	{getName, []string{"nvmlDeviceGetName"}, true},
	{getMemory, []string{"nvmlDeviceGetMemoryInfo"}, true},
	{getMemoryV2, []string{"nvmlDeviceGetMemoryInfo_v2"}, false},
	{getVersion, []string{"nvmlSystemGetDriverVersion"}, false},
	{getCapability, []string{"nvmlDeviceGetCudaComputeCapability"}, false},
	{getMIG, []string{"nvmlDeviceGetMigMode"}, false},
	{getUtilisation, []string{"nvmlDeviceGetUtilizationRates"}, false},
	{getTemperature, []string{"nvmlDeviceGetTemperature"}, false},
	{getPower, []string{"nvmlDeviceGetPowerUsage"}, false},
	{getProcesses, []string{"nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2", "nvmlDeviceGetComputeRunningProcesses"}, false},
	{getRemapped, []string{"nvmlDeviceGetRemappedRows"}, false},
	{getRetired, []string{"nvmlDeviceGetRetiredPagesPendingStatus"}, false},
	{getECC, []string{"nvmlDeviceGetTotalEccErrors"}, false},
	{createSet, []string{"nvmlEventSetCreate"}, false},
	{freeSet, []string{"nvmlEventSetFree"}, false},
	{getSupported, []string{"nvmlDeviceGetSupportedEventTypes"}, false},
	{register, []string{"nvmlDeviceRegisterEvents"}, false},
	{waitSet, []string{"nvmlEventSetWait_v2", "nvmlEventSetWait"}, false},
}

// Names of calls, as people find them in NVIDIA's manual.
const (
	initialise     = "nvmlInit"
	errorString    = "nvmlErrorString"
	getCount       = "nvmlDeviceGetCount"
	getHandle      = "nvmlDeviceGetHandleByIndex"
	getUUID        = "nvmlDeviceGetUUID"
	getName        = "nvmlDeviceGetName"
	getMemory      = "nvmlDeviceGetMemoryInfo"
	getMemoryV2    = "nvmlDeviceGetMemoryInfo_v2"
	getVersion     = "nvmlSystemGetDriverVersion"
	getCapability  = "nvmlDeviceGetCudaComputeCapability"
	getMIG         = "nvmlDeviceGetMigMode"
	getUtilisation = "nvmlDeviceGetUtilizationRates"
	getTemperature = "nvmlDeviceGetTemperature"
	getPower       = "nvmlDeviceGetPowerUsage"
	getProcesses   = "nvmlDeviceGetComputeRunningProcesses"
	getRemapped    = "nvmlDeviceGetRemappedRows"
	getRetired     = "nvmlDeviceGetRetiredPagesPendingStatus"
	getECC         = "nvmlDeviceGetTotalEccErrors"
	createSet      = "nvmlEventSetCreate"
	freeSet        = "nvmlEventSetFree"
	getSupported   = "nvmlDeviceGetSupportedEventTypes"
	register       = "nvmlDeviceRegisterEvents"
	waitSet        = "nvmlEventSetWait"
)

// driver is NVML, loaded. One goroutine reads, another one watches.
type driver struct {
	lib     nvml.Interface
	has     map[string]bool        // by the names in calls
	call    atomic.Pointer[string] // what the reading goroutine waits for now
	version string
	listed  int // devices that NVML lists, also those that are not used
	devices []handle
	skipped []string

	occupants time.Time    // of the last reading of occupants
	checked   time.Time    // of the last check
	recheck   atomic.Bool  // an event came
	waiting   atomic.Int64 // when the watcher's wait began, in Unix nanoseconds; 0 = it does not wait
}

// handle is a device and what NVML knows it by.
type handle struct {
	nvml.Device
	gpu     gpu.Device
	v2      bool   // memory version 2 works
	pending string // result of the last check
}

// memory is what a device has.
type memory struct{ total, reserved, used, free gpu.Bytes }

// do makes a call under a name that people see while it hangs. Only the reading goroutine uses it.
func (d *driver) do(call string, f func() nvml.Return) nvml.Return {
	d.call.Store(&call)
	defer d.call.Store(nil)
	return f()
}

// failure says what NVML answered to a call.
func (d *driver) failure(call string, ret nvml.Return) string {
	if d.has[errorString] {
		return fmt.Sprintf("%s: %s", call, ret.Error())
	}
	return fmt.Sprintf("%s: error %d", call, int(ret))
}

// open loads the library and lists the devices.
func (d *driver) open(library string) error {
	var options []nvml.LibraryOption
	if library != "" {
		options = append(options, nvml.WithLibraryPath(library))
	}
	d.lib, d.has = nvml.New(options...), map[string]bool{}
	ret := d.do(initialise, d.lib.Init)
	if ret == nvml.ERROR_LIBRARY_NOT_FOUND {
		return fault{"library", cmp.Or(library, "libnvidia-ml.so.1") + " cannot be loaded"}
	}
	var missing []string
	for _, c := range calls {
		for _, symbol := range c.symbols {
			d.has[c.name] = d.has[c.name] || d.lib.Extensions().LookupSymbol(symbol) == nil
		}
		if c.needed && !d.has[c.name] {
			missing = append(missing, c.name)
		}
	}
	switch {
	case ret != nvml.SUCCESS:
		return fault{"driver", d.failure(initialise, ret)}
	case len(missing) > 0:
		return fault{"driver", fmt.Sprintf("it is too old: it has no %v", missing)}
	}
	if d.has[getVersion] {
		_ = d.do(getVersion, func() (ret nvml.Return) { d.version, ret = d.lib.SystemGetDriverVersion(); return }) // only told to people
	}
	return d.list()
}

// hello is what the parent hears first.
func (d *driver) hello() *hello {
	h := &hello{Driver: d.version, Skipped: d.skipped}
	for _, dev := range d.devices {
		h.Devices = append(h.Devices, dev.gpu)
	}
	return h
}

// list finds the devices, in NVML's order. One that does not even tell its name or memory is not used.
func (d *driver) list() error {
	if ret := d.do(getCount, func() (ret nvml.Return) { d.listed, ret = d.lib.DeviceGetCount(); return }); ret != nvml.SUCCESS {
		return fault{"driver", d.failure(getCount, ret)}
	}
	for i := range min(d.listed, maxDevices) {
		dev, why := d.identify(i)
		if why != "" {
			d.skipped = append(d.skipped, fmt.Sprintf("GPU %d: %s", i, why))
			continue
		}
		d.devices = append(d.devices, dev)
	}
	return nil
}

// identify asks a device who it is. why says why it cannot be used.
func (d *driver) identify(index int) (h handle, why string) {
	h.gpu.Kind = gpu.CUDA
	for _, c := range []struct {
		name string
		f    func() nvml.Return
	}{
		{getHandle, func() (ret nvml.Return) { h.Device, ret = d.lib.DeviceGetHandleByIndex(index); return }},
		{getUUID, func() nvml.Return { uuid, ret := h.GetUUID(); h.gpu.ID = gpu.DeviceID(uuid); return ret }},
		{getName, func() (ret nvml.Return) { h.gpu.Name, ret = h.GetName(); return }},
	} {
		if ret := d.do(c.name, c.f); ret != nvml.SUCCESS {
			return h, d.failure(c.name, ret)
		}
	}
	h.v2 = d.has[getMemoryV2]
	m, call, ret := d.memory(&h)
	if ret != nvml.SUCCESS {
		return h, d.failure(call, ret)
	}
	if h.gpu.Memory = m.total - m.reserved; h.gpu.Memory <= 0 {
		return h, "it has no memory"
	}
	if d.has[getCapability] {
		_ = d.do(getCapability, func() nvml.Return { // without an answer it stays unknown
			major, minor, ret := h.GetCudaComputeCapability()
			if ret == nvml.SUCCESS {
				h.gpu.Compute = fmt.Sprintf("%d.%d", major, minor)
			}
			return ret
		})
	}
	if d.has[getMIG] {
		var mode int
		ret := d.do(getMIG, func() (ret nvml.Return) { mode, _, ret = h.GetMigMode(); return })
		if ret == nvml.SUCCESS && mode == nvml.DEVICE_MIG_ENABLE {
			return h, fmt.Sprintf("%s is split into MIG instances, which are not supported", h.gpu.ID)
		}
	}
	return h, ""
}

// memory reads version 2, or version 1 of a driver that has no better.
func (d *driver) memory(h *handle) (m memory, call string, ret nvml.Return) {
	if h.v2 {
		var v2 nvml.Memory_v2
		switch ret = d.do(getMemoryV2, func() (ret nvml.Return) { v2, ret = h.GetMemoryInfo_v2(); return }); ret {
		case nvml.ERROR_ARGUMENT_VERSION_MISMATCH, nvml.ERROR_NOT_SUPPORTED, nvml.ERROR_FUNCTION_NOT_FOUND:
			h.v2 = false
		default:
			return memory{gpu.Bytes(v2.Total), gpu.Bytes(v2.Reserved), gpu.Bytes(v2.Used), gpu.Bytes(v2.Free)}, getMemoryV2, ret
		}
	}
	var v1 nvml.Memory
	ret = d.do(getMemory, func() (ret nvml.Return) { v1, ret = h.GetMemoryInfo(); return })
	return memory{gpu.Bytes(v1.Total), min(gpu.Bytes(v1.Used), reservedMost), gpu.Bytes(v1.Used), gpu.Bytes(v1.Free)}, getMemory, ret
}

// read makes one round.
func (d *driver) read() ([]sample, error) {
	now := time.Now()
	if began := d.waiting.Load(); began != 0 && now.Sub(time.Unix(0, began)) > waitHangs {
		return nil, fault{"", waitSet + " does not return"}
	}
	occupants, check := now.Sub(d.occupants) >= occupantsEvery, now.Sub(d.checked) >= checkEvery
	if occupants {
		d.occupants = now
	}
	if d.recheck.Swap(false) || check {
		check, d.checked = true, now
		var n int
		ret := d.do(getCount, func() (ret nvml.Return) { n, ret = d.lib.DeviceGetCount(); return })
		if ret == nvml.SUCCESS && n != d.listed {
			return nil, fault{"", fmt.Sprintf("the driver lists %d GPUs, and listed %d", n, d.listed)}
		}
	}
	samples := make([]sample, len(d.devices))
	for i := range d.devices {
		samples[i] = d.sample(&d.devices[i], occupants, check)
	}
	return samples, nil
}

// sample reads one device.
func (d *driver) sample(h *handle, occupants, check bool) sample {
	s := sample{ID: h.gpu.ID}
	m, call, ret := d.memory(h)
	if ret == nvml.SUCCESS {
		s.Used, s.Free = m.used, m.free
		if d.has[getUtilisation] {
			call = getUtilisation
			ret = d.do(call, func() nvml.Return {
				u, ret := h.GetUtilizationRates()
				if ret == nvml.SUCCESS {
					s.Percent = min(int(u.Gpu), 100)
				}
				return ret
			})
		}
	}
	switch {
	case ret == nvml.ERROR_GPU_IS_LOST || ret == nvml.ERROR_GPU_NOT_FOUND:
		s.Lost = true
		return s
	case call == getUtilisation && (ret == nvml.ERROR_NOT_SUPPORTED || ret == nvml.ERROR_NO_PERMISSION): // it is only for the eye
	case ret != nvml.SUCCESS:
		s.Fault = d.failure(call, ret)
		return s
	}
	d.feel(h, &s)
	if occupants && d.has[getProcesses] {
		s.Occupants = d.processes(h)
	}
	if check {
		h.pending = d.check(h)
	}
	s.Pending = h.pending
	return s
}

// feel reads what is only for the eye: a device that does not say is no failure.
func (d *driver) feel(h *handle, s *sample) {
	if d.has[getTemperature] {
		_ = d.do(getTemperature, func() nvml.Return {
			celsius, ret := h.GetTemperature(nvml.TEMPERATURE_GPU)
			if ret == nvml.SUCCESS {
				s.Celsius = int(celsius)
			}
			return ret
		})
	}
	if d.has[getPower] {
		_ = d.do(getPower, func() nvml.Return {
			milliwatts, ret := h.GetPowerUsage()
			if ret == nvml.SUCCESS {
				s.Milliwatts = int(milliwatts)
			}
			return ret
		})
	}
}

// processes lists who computes on a device; nil where the driver does not say.
func (d *driver) processes(h *handle) *[]Occupant {
	var list []nvml.ProcessInfo
	if ret := d.do(getProcesses, func() (ret nvml.Return) { list, ret = h.GetComputeRunningProcesses(); return }); ret != nvml.SUCCESS {
		return nil
	}
	out := make([]Occupant, 0, min(len(list), maxOccupants))
	for _, p := range list[:min(len(list), maxOccupants)] {
		o := Occupant{PID: int(p.Pid)}
		if used := gpu.Bytes(p.UsedGpuMemory); used > 0 { // all ones, so −1, where it is not known
			o.Used = used
		}
		out = append(out, o)
	}
	return &out
}

// check says what a reset of the device would cure: memory errors, and rows or pages that wait to be replaced.
func (d *driver) check(h *handle) string {
	if d.has[getRemapped] {
		var waits, failed bool
		ret := d.do(getRemapped, func() (ret nvml.Return) { _, _, waits, failed, ret = h.GetRemappedRows(); return })
		switch {
		case ret == nvml.SUCCESS && failed:
			return "a memory row could not be remapped"
		case ret == nvml.SUCCESS && waits:
			return "a memory row waits for a reset to be remapped"
		}
	}
	if d.has[getRetired] {
		var waits nvml.EnableState
		ret := d.do(getRetired, func() (ret nvml.Return) { waits, ret = h.GetRetiredPagesPendingStatus(); return })
		if ret == nvml.SUCCESS && waits == nvml.FEATURE_ENABLED {
			return "a memory page waits for a reset to be retired"
		}
	}
	if d.has[getECC] {
		var n uint64
		ret := d.do(getECC, func() (ret nvml.Return) {
			n, ret = h.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_UNCORRECTED, nvml.VOLATILE_ECC)
			return
		})
		if ret == nvml.SUCCESS && n > 0 {
			return fmt.Sprintf("%d uncorrected memory errors since the last reset", n)
		}
	}
	return ""
}
