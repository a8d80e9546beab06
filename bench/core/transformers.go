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

// transformers is a Python process that decodes the same model. A nil one is none.
type transformers struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	enc  *json.Encoder
	dec  *json.Decoder
	done context.CancelFunc
}

// transformers starts the peer, if there is a Python for it.
func (b *bench) transformers(ctx context.Context, model string) (*transformers, error) {
	if b.python == "" {
		return nil, nil
	}
	ctx, done := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, b.python, "-W", "ignore", "-c", transformersScript, model)
	cmd.Stderr = os.Stderr
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
	t := &transformers{cmd: cmd, in: in, enc: json.NewEncoder(in), dec: json.NewDecoder(bufio.NewReader(out)), done: done}
	if _, err := t.decode(1, 8, 8); err != nil { // once, so that loading is not measured
		t.close()
		return nil, err
	}
	return t, nil
}

// decode runs n sequences as one batch.
func (t *transformers) decode(n, prompted, tokens int) (pace, error) {
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
	if err := t.enc.Encode(ask); err != nil {
		return pace{}, fmt.Errorf("ask transformers: %w", err)
	}
	if err := t.dec.Decode(&got); err != nil {
		return pace{}, fmt.Errorf("ask transformers: %w", err)
	}
	return pace{rate: got.Rate, first: got.First}, nil
}

func (t *transformers) close() {
	if t == nil {
		return
	}
	t.in.Close()
	t.done()
	t.cmd.Wait()
}
