package benchfile

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Machine is where figures were measured. It names no host.
type Machine struct {
	CPU         string  `json:"cpu"`
	Cores       int     `json:"cores"`
	MemoryGiB   float64 `json:"memory_gib"`
	Kernel      string  `json:"kernel"`
	Go          string  `json:"go"`
	ONNXRuntime string  `json:"onnxruntime"` // "" where it was not used
	GPU         string  `json:"gpu"`         // name and driver; "" where none was used
	LoadStart   float64 `json:"load_start"`  // load average of one minute, of all who use the machine
	LoadEnd     float64 `json:"load_end"`
	Date        string  `json:"date"` // of the start, UTC, RFC 3339
}

// Here describes this machine at the start of a run.
func Here(onnxRuntime string) (Machine, error) {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), ONNXRuntime: onnxRuntime, Date: time.Now().UTC().Format(time.RFC3339), CPU: runtime.GOARCH}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	m.Kernel = runtime.GOOS + " " + strings.TrimSpace(string(release))
	if name := field("/proc/cpuinfo", "model name"); name != "" {
		m.CPU = name
	}
	kib, kibErr := strconv.ParseFloat(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 64)
	m.MemoryGiB = math.Round(kib/(1<<20)*10) / 10
	load, loadErr := loadAverage()
	m.LoadStart = load
	if err := errors.Join(err, kibErr, loadErr); err != nil {
		return m, fmt.Errorf("benchfile: describe the machine: %w", err)
	}
	return m, nil
}

// End notes the load at the end of a run.
func (m *Machine) End() (err error) {
	m.LoadEnd, err = loadAverage()
	return err
}

func (m Machine) String() string {
	s := fmt.Sprintf("%s, %d cores, %.1f GiB, %s, %s", m.CPU, m.Cores, m.MemoryGiB, m.Kernel, m.Go)
	if m.ONNXRuntime != "" {
		s += ", ONNX Runtime " + m.ONNXRuntime
	}
	if m.GPU != "" {
		s += ", " + m.GPU
	}
	return s
}

// field finds the first line "NAME : VALUE" of a file.
func field(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func loadAverage() (float64, error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	one, _, _ := strings.Cut(string(text), " ")
	return strconv.ParseFloat(one, 64)
}

// Commit is what is checked out in the working directory, with "-dirty" where tracked files differ from it.
func Commit(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty").Output()
	if err != nil {
		return "", fmt.Errorf("benchfile: which commit: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
