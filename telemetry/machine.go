package telemetry

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
)

// GPUs gives the readings of a machine's devices under dcgm-exporter's names. host is the name of the machine. What a device does not say is left out.
func GPUs(s *Sheet, host string, devices gpu.Inventory, readings []gpu.Reading) {
	for i, d := range devices {
		for _, r := range readings {
			if r.ID != d.ID {
				continue
			}
			labels := []string{fmt.Sprint(i), string(d.ID), d.Name, host}
			s.Gauge(GPUUtil, float64(r.Percent), labels...)
			s.Gauge(GPUUsed, float64(r.Used/gpu.MiB), labels...)
			s.Gauge(GPUFree, float64(r.Free/gpu.MiB), labels...)
			if d.Kind == gpu.CUDA {
				s.Gauge(GPUXID, float64(r.XID), labels...)
			}
			if r.Celsius != 0 {
				s.Gauge(GPUTemp, float64(r.Celsius), labels...)
			}
			if r.Milliwatts != 0 {
				s.Gauge(GPUPower, float64(r.Milliwatts)/1000, labels...)
			}
			healthy := 0.0
			if r.Health == gpu.Healthy {
				healthy = 1
			}
			s.Gauge(GPUHealthy, healthy, string(d.ID), host)
		}
	}
}

// Member gives what every member of the cluster has: when its certificate ends, and what is free on the disk of its data directory.
func Member(s *Sheet, dir string, certificate time.Time) {
	s.Gauge(CertificateLeft, time.Until(certificate).Seconds())
	if free, size, ok := Upkeep(dir, certificate).Disk(); ok {
		s.Gauge(DiskFree, float64(free))
		s.Gauge(DiskFreeRatio, float64(free)/float64(size))
	}
}

// Upkeep is the same for the leader. A file system that does not answer is left out.
func Upkeep(dir string, certificate time.Time) cluster.Upkeep {
	u := cluster.Upkeep{CertificateEnds: cluster.Millis(certificate.UnixMilli())}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err == nil {
		u.DiskFree, u.DiskSize = int64(st.Bavail)*st.Bsize, int64(st.Blocks)*st.Bsize
	}
	return u
}
