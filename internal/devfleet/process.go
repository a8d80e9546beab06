package devfleet

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopWithin is how long a process may take to end before it is killed.
const stopWithin = 20 * time.Second

// ErrEnded says that a process of the fleet ended by itself.
var ErrEnded = errors.New("devfleet: a process ended")

// Process is one program of the fleet. It may be killed and started again; its address, data and log stay.
type Process struct {
	Name string
	Log  string // file
	API  string // host:port of its client API, "" on nodes

	program string
	args    []string
	env     []string
	spawn   *spawner

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
}

// Start starts the program.
func (p *Process) Start() error {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.program, p.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, log, log
	// A group of its own, so that Ctrl-C in the terminal reaches this program alone, which stops the fleet in order; and death with
	// its parent, so that nothing is left behind when that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.spawn.start(cmd); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		close(done)
	}()
	p.mu.Lock()
	p.cmd, p.done = cmd, done
	p.mu.Unlock()
	return nil
}

// Ended is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// Signal sends a signal to the program, not to its children.
func (p *Process) Signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Signal(s)
}

// Pid is the process id of the program.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// Kill ends the program without warning (SIGKILL) and waits for it. Its workers die with it.
func (p *Process) Kill() error {
	err := p.Signal(syscall.SIGKILL)
	<-p.Ended()
	return err
}

// Stop asks the program to end, and kills it if it takes too long.
func (p *Process) Stop() {
	ended := p.Ended()
	if ended == nil || p.Signal(syscall.SIGTERM) != nil {
		return
	}
	select {
	case <-ended:
	case <-time.After(stopWithin):
		_ = p.Kill() // it fails where the program has ended meanwhile
	}
}

// Tail is the end of the log, at most so many lines.
func (p *Process) Tail(lines int) string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

// failure says how the program ended, with the end of its log.
func (p *Process) failure() error {
	p.mu.Lock()
	state := p.cmd.ProcessState
	p.mu.Unlock()
	return fmt.Errorf("%w: %s: %s; the end of %s:\n%s", ErrEnded, p.Name, state, p.Log, indent(p.Tail(8)))
}

func indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }

// spawner starts all processes from one thread that lives as long as it: the kernel kills a child when the thread that made it ends.
type spawner struct {
	jobs chan func()
	once sync.Once
}

func newSpawner() *spawner {
	s := &spawner{jobs: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range s.jobs {
			f()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	err := make(chan error)
	s.jobs <- func() { err <- cmd.Start() }
	return <-err
}

func (s *spawner) close() { s.once.Do(func() { close(s.jobs) }) }
