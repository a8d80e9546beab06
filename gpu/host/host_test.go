package host

import (
	"errors"
	"testing"

	"github.com/skein-project/skein/gpu"
)

func TestDevices(t *testing.T) {
	inv, err := Devices("n1", []string{"host:512MiB", "host:1.5GiB"})
	if err != nil {
		t.Fatal(err)
	}
	if len(inv) != 2 || inv[0].ID == inv[1].ID || inv[0].Memory != 512*gpu.MiB || inv[1].Memory != 1536*gpu.MiB || inv[1].Cores < 1 {
		t.Errorf("devices %+v", inv)
	}
	r := New(inv).Read(map[gpu.DeviceID]gpu.Bytes{inv[0].ID: 600 * gpu.MiB})[0]
	if r.Free != 0 || r.Used != 600*gpu.MiB || r.Health != gpu.Healthy {
		t.Errorf("an overfull device reads %+v", r)
	}
	for _, bad := range []string{"", "host", "host:", "cuda:1GiB", "host:-1", "host:0", "host:NaN", "host:99999999TiB"} {
		if _, err := Devices("n", []string{bad}); !errors.Is(err, ErrSpec) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := Devices("n", make([]string, MaxDevices+1)); err == nil {
		t.Error("too many devices were accepted")
	}
}
