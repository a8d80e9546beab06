package nvml

import (
	"bytes"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/skein-project/skein/gpu"
)

// Whatever a child says, the probe keeps one reading per device, and every one of them has a health.
func FuzzLines(f *testing.F) {
	f.Add([]byte(`{"hello":{"driver":"1","devices":[{"id":"a","kind":"cuda","name":"x","memory":1}]}}` + "\n" + `{"round":{"read":1,"devices":[{"id":"a","used":1,"lost":true}]}}`))
	f.Add([]byte(`{"hello":{"devices":[{"id":"a","memory":1},{"id":"a","memory":1}]}}`))
	f.Add([]byte(`{"event":{"id":"a","kind":8,"code":79}}` + "\n" + `{"fault":{"sort":"library","text":"t"}}` + "\n" + `{"busy":"nvmlInit"}`))
	f.Add([]byte("{\"round\":{\"devices\":[{\"id\":\"b\",\"occupants\":[]}]}}\nnull\n[]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &Probe{log: slog.New(slog.DiscardHandler)}
		err := readLines(bytes.NewReader(b), func(l line) error {
			if err := l.check(); err != nil {
				return err
			}
			switch {
			case l.Hello != nil:
				_, err := p.welcome(*l.Hello)
				return err
			case l.Round != nil:
				p.round(time.Unix(1e9, 0), *l.Round)
			case l.Event != nil:
				p.strike(*l.Event)
			case l.Fault != nil:
				return *l.Fault
			}
			return nil
		})
		if err != nil && err.Error() == "" {
			t.Error("an error without a text")
		}
		for _, r := range p.Read(nil) {
			if _, ok := p.Inventory().Device(r.ID); !ok || r.Health == "" || (r.Health == gpu.Healthy) != (r.Why == "") {
				t.Errorf("reading %+v", r)
			}
		}
	})
}

// TestRecorded: what the child said on a real machine (an H100; bench/gpu/run.sh records it) is understood.
func TestRecorded(t *testing.T) {
	f, err := os.Open("testdata/h100.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var said []line
	if err := readLines(f, func(l line) error { said = append(said, l); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(said) != 2 || said[0].Hello == nil || said[1].Round == nil {
		t.Fatalf("%+v", said)
	}
	d, r := said[0].Hello.Devices, said[1].Round.Devices
	if len(d) != 1 || len(r) != 1 || d[0].ID != r[0].ID || d[0].Kind != gpu.CUDA || d[0].Compute != "9.0" || d[0].Memory < 79*gpu.GiB || d[0].Memory > 80*gpu.GiB {
		t.Errorf("devices %+v, readings %+v", d, r)
	}
	if r[0].Used+r[0].Free > d[0].Memory || r[0].Lost || r[0].Fault != "" || r[0].Occupants == nil {
		t.Errorf("reading %+v of %+v", r[0], d[0])
	}
}
