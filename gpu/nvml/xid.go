package nvml

import "fmt"

// Kinds of NVML events, as nvml.h numbers them (nvmlEventType…).
const (
	eventDoubleBitECC   uint64 = 0x0002
	eventXID            uint64 = 0x0008
	eventRetirementFail uint64 = 0x0800
	eventFatalPoison    uint64 = 0x2000
	eventUnavailable    uint64 = 0x4000
)

// kinds says what the events mean that are no XIDs.
var kinds = map[uint64]struct {
	what string
	action
}{
	eventDoubleBitECC:   {"double-bit ECC error", cordon},
	eventRetirementFail: {"DRAM retirement failed", cordon},
	eventFatalPoison:    {"poisoned memory was used", cordon},
	eventUnavailable:    {"the GPU is unavailable", fail},
}

// xids says what the driver's XID errors mean and ask for. Codes and their buckets are those of NVIDIA's XID catalogue for Ampere and
// newer: RESTART_APP and IGNORE are ignored here, since the worker that was hit dies of it and is started anew; RESET_GPU and the
// workflows that end in a reset are a cordon; RESTART_BM fails the device. Stricter than the catalogue are 63 and 92: memory that
// wears out is not a place for new work. 94 is mild by itself, because the check of ECC counters and row remapping that follows every
// event sees what it left behind. Spans are sorted and do not overlap.
var xids = []struct {
	first, last uint64
	what        string
	action
}{
	{8, 8, "GPU stopped working on a channel", ignore},
	{11, 11, "corrupt push buffer", ignore},
	{13, 13, "graphics engine exception", ignore},
	{14, 14, "injected error", ignore},
	{25, 25, "illegal push buffer", ignore},
	{31, 31, "memory page fault", ignore},
	{32, 32, "corrupt push buffer (DMA)", ignore},
	{37, 38, "firmware error of the driver", ignore},
	{39, 41, "copy engine exception", ignore},
	{43, 43, "an application was stopped", ignore},
	{44, 44, "fault during a context switch", ignore},
	{45, 45, "channels of an ended application were removed", ignore},
	{46, 46, "GPU timeout", cordon},
	{48, 48, "double-bit ECC error", cordon},
	{54, 54, "auxiliary power is not connected", cordon},
	{60, 60, "video processor exception", ignore},
	{62, 62, "internal micro-controller halted", cordon},
	{63, 63, "a memory row or page is to be replaced", cordon},
	{64, 64, "a memory row or page could not be replaced", cordon},
	{66, 67, "illegal access by the driver", ignore},
	{68, 68, "video decoder exception", ignore},
	{69, 69, "graphics engine class error", ignore},
	{70, 72, "copy engine exception", ignore},
	{74, 74, "NVLink error", cordon},
	{75, 77, "copy engine exception", ignore},
	{78, 78, "vGPU did not start", cordon},
	{79, 79, "GPU has fallen off the bus", fail},
	{80, 80, "corrupt bytes were sent to the GPU", ignore},
	{82, 82, "JPEG engine exception", ignore},
	{83, 84, "video decoder exception", ignore},
	{85, 85, "copy engine exception", ignore},
	{86, 86, "optical flow engine exception", ignore},
	{88, 89, "video decoder exception", ignore},
	{92, 92, "many single-bit ECC errors", cordon},
	{93, 93, "wear limit of the InfoROM", ignore},
	{94, 94, "memory error, contained in one application", ignore},
	{95, 95, "memory error, not contained", cordon},
	{96, 98, "video decoder exception", ignore},
	{99, 105, "JPEG engine exception", ignore},
	{106, 107, "test message", ignore},
	{108, 108, "NVLink translation error", ignore},
	{109, 109, "context switch timed out", cordon},
	{110, 110, "security fault", cordon},
	{119, 119, "GSP firmware did not answer", cordon},
	{120, 120, "GSP firmware error", cordon},
	{121, 121, "corrected errors of the link to the CPU", ignore},
	{126, 135, "copy engine exception", ignore},
	{136, 136, "link training failed", cordon},
	{137, 137, "illegal access over NVLink", ignore},
	{139, 139, "optical flow engine exception", ignore},
	{140, 140, "ECC error that could not be recovered", cordon},
	{141, 141, "CUDA fast path error", ignore},
	{142, 142, "video encoder exception", cordon},
	{143, 143, "GPU did not initialise", cordon},
	{144, 150, "NVLink error", cordon},
	{151, 151, "key rotation error", cordon},
	{152, 153, "deep learning accelerator error", ignore},
	{154, 154, "the driver asks for a recovery", cordon},
	{155, 155, "NVLink went down", cordon},
	{156, 156, "a resource was retired", cordon},
	{157, 157, "a resource could not be retired", ignore},
	{158, 158, "fatal GPU timeout", cordon},
	{159, 159, "error of the coherent link to the CPU", cordon},
	{160, 160, "a memory channel was retired", ignore},
	{161, 161, "a memory channel could not be retired", ignore},
	{162, 165, "power smoothing changed", ignore},
	{166, 166, "NVLink traffic before encryption was set up", cordon},
	{167, 167, "fatal PCIe timeout", cordon},
	{168, 168, "less memory than the GPU has", cordon},
	{169, 169, "security micro-controller halted", cordon},
	{170, 170, "NVLink interrupt under confidential computing", cordon},
	{171, 171, "uncorrected DRAM error", cordon},
	{172, 172, "uncorrected SRAM error", cordon},
}

// meaning names an event and says what it asks for. One that is in no table is a cordon: it may be worse than anything known.
func (e event) meaning() (string, action) {
	if k, ok := kinds[e.Kind]; ok {
		return k.what, k.action
	}
	if e.Kind != eventXID {
		return fmt.Sprintf("NVML event %#x, which is not known", e.Kind), cordon
	}
	for _, x := range xids {
		if x.first <= e.Code && e.Code <= x.last {
			return fmt.Sprintf("XID %d (%s)", e.Code, x.what), x.action
		}
	}
	return fmt.Sprintf("XID %d, which is not known", e.Code), cordon
}
