package telemetry

import (
	"strings"
	"testing"
	"time"

	"github.com/skein-project/skein/gpu"
)

func TestGPUs(t *testing.T) {
	r := NewRegistry("v1")
	r.Add(func(s *Sheet) {
		GPUs(s, "m1", gpu.Inventory{{ID: "GPU-1", Kind: gpu.CUDA, Name: "NVIDIA H100"}, {ID: "GPU-2", Kind: gpu.CUDA, Name: "NVIDIA H100"}, {ID: "host-1", Kind: gpu.Host, Name: "host"}},
			[]gpu.Reading{{ID: "host-1", Used: gpu.GiB, Health: gpu.Healthy}, {ID: "GPU-1", Used: 3 * gpu.GiB, Free: gpu.GiB, Percent: 97, Health: gpu.Failed, Celsius: 61, Milliwatts: 350500, XID: 79}})
		Member(s, t.TempDir(), time.Now().Add(time.Hour))
	})
	_, text := scrape(t, r.Handler(), "/metrics")
	for _, want := range []string{
		`DCGM_FI_DEV_GPU_UTIL{Hostname="m1",UUID="GPU-1",gpu="0",modelName="NVIDIA H100"} 97`,
		`DCGM_FI_DEV_FB_USED{Hostname="m1",UUID="GPU-1",gpu="0",modelName="NVIDIA H100"} 3072`,
		`DCGM_FI_DEV_FB_FREE{Hostname="m1",UUID="GPU-1",gpu="0",modelName="NVIDIA H100"} 1024`,
		`DCGM_FI_DEV_GPU_TEMP{Hostname="m1",UUID="GPU-1",gpu="0",modelName="NVIDIA H100"} 61`,
		`DCGM_FI_DEV_POWER_USAGE{Hostname="m1",UUID="GPU-1",gpu="0",modelName="NVIDIA H100"} 350.5`,
		`DCGM_FI_DEV_XID_ERRORS{Hostname="m1",UUID="GPU-1",gpu="0",modelName="NVIDIA H100"} 79`,
		`DCGM_FI_DEV_FB_USED{Hostname="m1",UUID="host-1",gpu="2",modelName="host"} 1024`,
		`skein_gpu_healthy{Hostname="m1",UUID="GPU-1"} 0`,
		`skein_gpu_healthy{Hostname="m1",UUID="host-1"} 1`,
		"\nskein_disk_free_bytes ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not there", want)
		}
	}
	for _, bad := range []string{`UUID="GPU-2"`, `TEMP{Hostname="m1",UUID="host-1"`, `XID_ERRORS{Hostname="m1",UUID="host-1"`} {
		if strings.Contains(text, bad) {
			t.Errorf("%s is there", bad)
		}
	}
}
