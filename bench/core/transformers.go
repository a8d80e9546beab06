package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

//go:embed transformers.py
var transformersScript string

const (
	peerName = "transformers" // in the tally
	peerPart = 4              // the peer decodes this part of the tokens, for its rate and to keep runs short
)

// transformers are Python processes that decode the same model, one for each way in which its threads can wait for each other: spinning is
// faster on a machine of one's own, and many times slower on a busy one. None = there is no peer.
type transformers []*python

// python is one of them.
type python struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	enc  *json.Encoder
	dec  *json.Decoder
	done context.CancelFunc
}

// transformers starts the peer, if there is a Python for it.
func (b *bench) transformers(ctx context.Context, model string) (t transformers, err error) {
	if b.python == "" {
		return nil, nil
	}
	for _, waiting := range []string{"", "OMP_WAIT_POLICY=PASSIVE"} {
		p, err := startPython(ctx, b.python, model, waiting)
		if err == nil {
			t = append(t, p)
			_, err = p.decode(1, 8, 8) // once, so that loading is not measured
		}
		if err != nil {
			t.close()
			return nil, err
		}
	}
	return t, nil
}

// decode is the pace of the one that is faster now.
func (t transformers) decode(n, prompted, tokens int) (best pace, err error) {
	for _, p := range t {
		got, err := p.decode(n, prompted, tokens)
		if err != nil {
			return pace{}, err
		}
		if got.rate > best.rate {
			best = got
		}
	}
	return best, nil
}

func (t transformers) close() {
	for _, p := range t {
		p.close()
	}
}

func startPython(ctx context.Context, program, model, environment string) (*python, error) {
	ctx, done := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, program, "-W", "ignore", "-c", transformersScript, model)
	cmd.Stderr = os.Stderr
	if environment != "" {
		cmd.Env = append(os.Environ(), environment)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		done()
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		done()
		return nil, err
	}
	return &python{cmd: cmd, in: in, enc: json.NewEncoder(in), dec: json.NewDecoder(bufio.NewReader(out)), done: done}, nil
}

// decode runs n sequences as one batch.
func (p *python) decode(n, prompted, tokens int) (pace, error) {
	ask := struct {
		Prompts [][]int32 `json:"prompts"`
		Tokens  int       `json:"tokens"`
	}{Tokens: tokens}
	for i := range n {
		ask.Prompts = append(ask.Prompts, prompt(i, prompted))
	}
	var got struct {
		Rate  float64 `json:"rate"`  // tokens/s after the first tokens
		First float64 `json:"first"` // ms
	}
	if err := p.enc.Encode(ask); err != nil {
		return pace{}, fmt.Errorf("ask transformers: %w", err)
	}
	if err := p.dec.Decode(&got); err != nil {
		return pace{}, fmt.Errorf("ask transformers: %w", err)
	}
	return pace{rate: got.Rate, first: got.First}, nil
}

func (p *python) close() {
	p.in.Close()
	p.done()
	p.cmd.Wait()
}
