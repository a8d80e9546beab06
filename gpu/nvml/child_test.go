//go:build linux && cgo

package nvml

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skein-project/skein/gpu"
)

// guard is how long a test waits for what must happen within seconds.
const guard = time.Minute

const (
	first  gpu.DeviceID = "GPU-fa4e0000-0000-0000-0000-000000000000"
	second gpu.DeviceID = "GPU-fa4e0000-0000-0000-0000-000000000001"
)

// TestMain is also the child: a process can load only one library, so every test runs its own.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Subcommand {
		if err := Serve(context.Background(), os.Stdin, os.Stdout, os.Getenv(Variable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "fakenvml")
	if err != nil {
		panic(err)
	}
	libraries.dir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// libraries are the fakes that were built, by flags.
var libraries struct {
	mu    sync.Mutex
	dir   string
	paths map[string]string
}

// library builds the fake with symbols left out.
func library(t *testing.T, without ...string) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("the fake driver library is built with gcc, which is not installed")
	}
	libraries.mu.Lock()
	defer libraries.mu.Unlock()
	key := strings.Join(without, "+")
	if path, ok := libraries.paths[key]; ok {
		return path
	}
	path := filepath.Join(libraries.dir, "libnvidia-ml"+key+".so.1")
	args := []string{"-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-Wl,-soname,libnvidia-ml.so.1", "-o", path}
	for _, w := range without {
		args = append(args, "-DWITHOUT_"+w)
	}
	args = append(args, "testdata/fakenvml/fakenvml.c", "-lpthread")
	if out, err := exec.Command(gcc, args...).CombinedOutput(); err != nil {
		t.Fatalf("build the fake: %v\n%s", err, out)
	}
	if libraries.paths == nil {
		libraries.paths = map[string]string{}
	}
	libraries.paths[key] = path
	return path
}

// machine is what a test's child finds.
type machine struct {
	t     *testing.T
	state string
	env   []string
}

func newMachine(t *testing.T, library string, state ...string) machine {
	path := filepath.Join(t.TempDir(), "state")
	m := machine{t, path, append(os.Environ(), Variable+"="+library, "FAKE_NVML_STATE="+path)}
	m.set(state...)
	return m
}

// set replaces the state of the machine.
func (m machine) set(state ...string) {
	m.t.Helper()
	if err := os.WriteFile(m.state+".new", []byte(strings.Join(state, "\n")+"\n"), 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(m.state+".new", m.state); err != nil {
		m.t.Fatal(err)
	}
}

// child is the command that runs a child.
func (m machine) child() *exec.Cmd {
	cmd := exec.Command(os.Args[0], Subcommand)
	cmd.Env = m.env
	return cmd
}

// start probes the machine.
func (m machine) start() (*Probe, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), guard)
	m.t.Cleanup(cancel)
	p, err := start(ctx, slog.New(slog.DiscardHandler), m.child)
	if err == nil {
		m.t.Cleanup(p.Close)
	}
	return p, err
}

func (m machine) mustStart() *Probe {
	m.t.Helper()
	p, err := m.start()
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

// await waits until the readings are as wanted. Reading itself must never take long, whatever the child does.
func (m machine) await(p *Probe, what string, ok func(a, b gpu.Reading) bool) {
	m.t.Helper()
	deadline, tick := time.After(guard), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for {
		began := time.Now()
		got := p.Read(nil)
		if took := time.Since(began); took > answerWithin {
			m.t.Fatalf("reading took %s", took)
		}
		var b gpu.Reading
		if len(got) > 1 {
			b = got[1]
		}
		if ok(got[0], b) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			m.t.Fatalf("not seen: %s; readings %+v", what, got)
		}
	}
}

func healthy(a, b gpu.Reading) bool { return a.Health == gpu.Healthy && b.Health == gpu.Healthy }

func is(r gpu.Reading, h gpu.Health, why string) bool {
	return r.Health == h && strings.Contains(r.Why, why)
}

func TestDevicesAndReadings(t *testing.T) {
	t.Parallel()
	m := newMachine(t, library(t), "mem 0 81920", "util 0 97", "util 1 3")
	p := m.mustStart()
	memory := (143771 - 600) * gpu.MiB
	want := gpu.Inventory{
		{ID: first, Kind: gpu.CUDA, Name: "NVIDIA H200", Memory: memory, Compute: "9.0"},
		{ID: second, Kind: gpu.CUDA, Name: "NVIDIA H200", Memory: memory, Compute: "9.0"},
	}
	if got := p.Inventory(); !slices.Equal(got, want) {
		t.Errorf("inventory %+v, want %+v", got, want)
	}
	m.await(p, "the first values", func(a, b gpu.Reading) bool {
		return a == gpu.Reading{ID: first, Used: 81920 * gpu.MiB, Free: memory - 81920*gpu.MiB, Percent: 97, Health: gpu.Healthy, Celsius: 40, Milliwatts: 100000} &&
			b == gpu.Reading{ID: second, Free: memory, Percent: 3, Health: gpu.Healthy, Celsius: 41, Milliwatts: 100500}
	})
	m.set("mem 1 100", "util 1 50")
	m.await(p, "the new values", func(a, b gpu.Reading) bool { return a.Used == 0 && b.Used == 100*gpu.MiB && b.Percent == 50 })
	if got := p.Occupants(first); len(got) != 2 || got[0].Used != 81920*gpu.MiB || got[1] != (Occupant{PID: 1}) {
		t.Errorf("occupants %+v, want the child with 80 GiB and process 1 with an unknown amount", got)
	}
}

func TestDriverWithoutMemoryV2(t *testing.T) {
	t.Parallel()
	m := newMachine(t, library(t, "MEMORY_V2"), "mem 0 512")
	p := m.mustStart()
	m.await(p, "version 1", func(a, b gpu.Reading) bool { return healthy(a, b) && a.Used == (512+600)*gpu.MiB })
	inv := p.Inventory()
	if inv[0].Memory != 143771*gpu.MiB-gpu.GiB || inv[1].Memory != (143771-600)*gpu.MiB {
		t.Errorf("memory %v and %v: want the total less what is used at the start, at most 1 GiB", inv[0].Memory, inv[1].Memory)
	}
}

func TestDriverWithOnlyTheNeededSymbols(t *testing.T) {
	t.Parallel()
	m := newMachine(t, library(t, "OPTIONAL"), "mem 0 100", "util 0 50")
	p := m.mustStart()
	m.await(p, "memory", func(a, b gpu.Reading) bool {
		return healthy(a, b) && a.Used == 100*gpu.MiB && a.Percent == 0
	})
	m.set("fail nvmlDeviceGetMemoryInfo_v2 999")
	m.await(p, "the failure by number", func(a, _ gpu.Reading) bool { return is(a, gpu.Unknown, "nvmlDeviceGetMemoryInfo_v2: error 999") })
}

func TestMachinesThatCannotBeProbed(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.so")
	if out, err := exec.Command("gcc", "-shared", "-o", empty, "-x", "c", "/dev/null").CombinedOutput(); err != nil {
		t.Skipf("gcc does not build an empty library: %v %s", err, out)
	}
	for name, c := range map[string]struct {
		library string
		state   string
		want    error
		why     string
	}{
		"no library":           {filepath.Join(t.TempDir(), "absent.so"), "", ErrLibrary, "absent.so"},
		"no library anywhere":  {"", "", nil, ""}, // or, on a machine with a driver, the real one
		"needed symbol absent": {library(t, "UUID"), "", ErrDriver, "nvmlDeviceGetUUID"},
		"no symbol at all":     {empty, "", ErrChild, "undefined symbol: nvmlInit"},
		"driver not loaded":    {library(t), "fail nvmlInit 9", ErrDriver, "nvmlInit: fake error 9"},
		"no device":            {library(t), "count 0", ErrDevices, ""},
		"only lost devices":    {library(t), "lost 0\nlost 1", ErrDevices, ""},
		"only split devices":   {library(t), "mig 0\nmig 1", ErrDevices, ""},
		"crash at the start":   {library(t), "crash nvmlDeviceGetName", ErrChild, "SIG"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, c.library, c.state)
			if c.want == nil {
				if _, err := m.start(); err != nil && !errors.Is(err, ErrLibrary) && !errors.Is(err, ErrDriver) {
					t.Errorf("error %v", err)
				}
				return
			}
			if _, err := m.start(); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("error %v, want %v with %q", err, c.want, c.why)
			}
		})
	}
}

func TestExecutableThatIsNoProbe(t *testing.T) {
	t.Parallel()
	for exe, why := range map[string]string{filepath.Join(t.TempDir(), "absent"): "no such file", "/bin/echo": "invalid character", "/bin/false": "exit status 1"} {
		if _, err := Child(t.Context(), slog.New(slog.DiscardHandler), exe); !errors.Is(err, ErrChild) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: error %v, want %q", exe, err, why)
		}
	}
}

func TestDevicesThatAreNotUsed(t *testing.T) {
	t.Parallel()
	m := newMachine(t, library(t), "count 4", "lost 0", "mig 2")
	p := m.mustStart()
	inv := p.Inventory()
	if len(inv) != 2 || inv[0].ID != second || inv[1].ID == first {
		t.Errorf("inventory %+v, want the second and the fourth", inv)
	}
	m.await(p, "the others work", healthy)
}

func TestXIDs(t *testing.T) {
	t.Parallel()
	m := newMachine(t, library(t))
	p := m.mustStart()
	m.await(p, "start", healthy)
	m.set("xid 0 31 1", "util 0 1")
	m.await(p, "a round after an application's XID", func(a, b gpu.Reading) bool { return healthy(a, b) && a.Percent == 1 && a.XID == 31 && b.XID == 0 })
	m.set("xid 0 94 2", "pending 0")
	m.await(p, "what a contained error left behind", func(a, b gpu.Reading) bool {
		return is(a, gpu.Unknown, "a memory row waits") && b.Health == gpu.Healthy
	})
	m.set("xid 0 45 3", "ecc 0 2")
	m.await(p, "uncorrected errors", func(a, _ gpu.Reading) bool { return is(a, gpu.Unknown, "2 uncorrected memory errors") })
	m.set("xid 0 45 4")
	m.await(p, "reset", healthy)
	m.set("xid 1 119 5")
	m.await(p, "cordon", func(a, b gpu.Reading) bool { return a.Health == gpu.Healthy && is(b, gpu.Unknown, "XID 119") })
	m.set("xid 1 79 6", "lost 1") // a lost device does not tell its UUID any more
	m.await(p, "off the bus", func(a, b gpu.Reading) bool { return a.Health == gpu.Healthy && is(b, gpu.Failed, "XID 79") })
	m.set("util 0 2")
	m.await(p, "sticky", func(a, b gpu.Reading) bool { return a.Percent == 2 && is(b, gpu.Failed, "XID 79") })
}

func TestLostDevice(t *testing.T) {
	t.Parallel()
	m := newMachine(t, library(t), "mem 0 100")
	p := m.mustStart()
	m.await(p, "start", healthy)
	m.set("lost 0", "util 1 7")
	m.await(p, "lost, with the last values", func(a, b gpu.Reading) bool {
		return is(a, gpu.Failed, "lost") && a.Used == 100*gpu.MiB && b.Health == gpu.Healthy && b.Percent == 7
	})
	m.set()
	m.await(p, "still failed, though it answers", func(a, b gpu.Reading) bool { return is(a, gpu.Failed, "must answer for") && a.Used == 0 })
}

func TestCallThatFails(t *testing.T) {
	t.Parallel()
	m := newMachine(t, library(t))
	p := m.mustStart()
	m.set("fail nvmlDeviceGetMemoryInfo_v2 16")
	m.await(p, "failure", func(a, b gpu.Reading) bool {
		return is(a, gpu.Unknown, "nvmlDeviceGetMemoryInfo_v2: fake error 16") && b.Health == gpu.Unknown
	})
	m.set("fail nvmlDeviceGetUtilizationRates 3", "util 0 50")
	m.await(p, "utilisation that is not supported", func(a, b gpu.Reading) bool { return healthy(a, b) && a.Percent == 0 })
}

func TestCallThatHangs(t *testing.T) {
	t.Parallel()
	m := newMachine(t, library(t), "mem 0 100", "xid 1 48 1")
	p := m.mustStart()
	m.await(p, "start", healthy)
	m.set("xid 1 48 2")
	m.await(p, "cordon", func(_, b gpu.Reading) bool { return is(b, gpu.Unknown, "XID 48") })
	m.set("hang nvmlDeviceGetUtilizationRates")
	m.await(p, "hang", func(a, b gpu.Reading) bool {
		return is(a, gpu.Unknown, "no answer in time from nvmlDeviceGetUtilizationRates") && a.Used == 100*gpu.MiB && b.Health == gpu.Unknown
	})
	m.set("mem 0 200")
	m.await(p, "a new child, and what was known of the devices", func(a, b gpu.Reading) bool {
		return a.Health == gpu.Healthy && a.Used == 200*gpu.MiB && is(b, gpu.Unknown, "XID 48")
	})
}

func TestWaitForEventsThatHangs(t *testing.T) {
	t.Parallel()
	m := newMachine(t, library(t))
	p := m.mustStart()
	m.await(p, "start", healthy)
	m.set("hang nvmlEventSetWait")
	m.await(p, "hang", func(a, _ gpu.Reading) bool { return is(a, gpu.Unknown, "nvmlEventSetWait does not return") })
	m.set()
	m.await(p, "a new child", healthy)
}

func TestChildThatCrashes(t *testing.T) {
	t.Parallel()
	m := newMachine(t, library(t))
	p := m.mustStart()
	m.await(p, "start", healthy)
	m.set("crash nvmlDeviceGetMemoryInfo_v2")
	m.await(p, "crash", func(a, b gpu.Reading) bool { return is(a, gpu.Unknown, "SIG") && b.Health == gpu.Unknown })
	m.set("mem 0 5")
	m.await(p, "a new child", func(a, b gpu.Reading) bool { return healthy(a, b) && a.Used == 5*gpu.MiB })
}

func TestNumberOfDevicesChanges(t *testing.T) {
	t.Parallel()
	m := newMachine(t, library(t))
	p := m.mustStart()
	m.await(p, "start", healthy)
	m.set("count 1", "xid 0 45 1") // an event brings the check forward
	m.await(p, "one is gone", func(a, b gpu.Reading) bool { return a.Health == gpu.Healthy && is(b, gpu.Failed, "no longer lists") })
	m.set("count 3", "xid 0 45 2")
	m.await(p, "back, and one more", func(a, b gpu.Reading) bool { return a.Health == gpu.Healthy && is(b, gpu.Failed, "must answer for") })
	if n := len(p.Inventory()); n != 2 {
		t.Errorf("%d devices, want the 2 of the start", n)
	}
}

func TestCloseWhileACallHangs(t *testing.T) {
	t.Parallel()
	m := newMachine(t, library(t), "hang nvmlDeviceGetUtilizationRates") // which the start does not need
	p := m.mustStart()
	closed := make(chan struct{})
	go func() { p.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(guard):
		t.Fatal("Close does not return")
	}
}

func TestStartThatHangs(t *testing.T) {
	t.Parallel()
	m := newMachine(t, library(t), "hang nvmlInit")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := start(ctx, slog.New(slog.DiscardHandler), m.child); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// What the parent does when it hears nothing, in simulated time.
func TestSilenceIsBounded(t *testing.T) {
	t.Parallel()
	hello := line{Hello: &hello{Devices: []gpu.Device{{ID: "a", Memory: 1}}}}
	for name, c := range map[string]struct {
		says []line
		want time.Duration
	}{
		"no hello":        {nil, helloWithin},
		"only busy":       {[]line{{Busy: "nvmlInit"}}, helloWithin},
		"hello, no round": {[]line{hello, {Busy: "nvmlX"}}, answerWithin},
		"one round":       {[]line{hello, {Round: &round{}}}, roundEvery + answerWithin},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &Probe{log: slog.New(slog.DiscardHandler)}
				lines := make(chan line, len(c.says))
				for _, l := range c.says {
					lines <- l
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				began := time.Now()
				err := p.talk(ctx, newWriter(io.Discard), lines, nil, make(chan struct{}))
				if took := time.Since(began); !errors.Is(err, errHangs) || took != c.want {
					t.Errorf("%v after %s, want it after %s", err, took, c.want)
				}
			})
		})
	}
}

// A process that is stuck in the kernel survives a kill. There is no second child meanwhile, and closing does not wait for it.
func TestChildThatCannotBeKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Probe{log: slog.New(slog.DiscardHandler)}
		if _, err := p.welcome(hello{Devices: []gpu.Device{{ID: "a", Memory: 1}}}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var killed atomic.Int64
		release, buried := make(chan error, 1), make(chan error, 1)
		go func() {
			buried <- p.bury(ctx, func() { killed.Add(1) }, func() error { return <-release }, errHangs, &head{})
		}()
		for at, why := range []string{"it hangs", "it hangs; its process is stuck"} {
			if at > 0 {
				<-time.After(killWithin)
			}
			synctest.Wait()
			if r := p.Read(nil)[0]; !is(r, gpu.Unknown, why) || killed.Load() != int64(at+1) {
				t.Errorf("reading %+v after %d kills", r, killed.Load())
			}
		}
		<-time.After(time.Hour)
		synctest.Wait()
		if len(buried) > 0 {
			t.Error("it is not dead and was given up")
		}
		cancel()
		<-time.After(killWithin)
		synctest.Wait()
		if len(buried) == 0 {
			t.Error("closing waits for it")
		}
		release <- nil
	})
}

// The child alone. A real driver is looked at the same way: (echo '{"read":1}'; sleep 2) | skein-node nvml-probe
func TestServeEndsWithItsInput(t *testing.T) {
	t.Parallel()
	cmd := newMachine(t, library(t)).child()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []line
	err = readLines(out, func(l line) error {
		if said = append(said, l); l.Hello != nil {
			return newWriter(in).write(ask{7})
		}
		return in.Close()
	})
	if end := cmd.Wait(); err != nil || end != nil {
		t.Errorf("%v, %v", err, end)
	}
	if len(said) != 2 || said[0].Hello.Driver != "580.159.03" || said[1].Round == nil || said[1].Round.Read != 7 || len(said[1].Round.Devices) != 2 {
		t.Errorf("it said %+v", said)
	}
}
