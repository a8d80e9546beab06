package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/internal/benchfile"
	"github.com/skein-project/skein/internal/bigmodel"
	"github.com/skein-project/skein/internal/devfleet"
	"github.com/skein-project/skein/router"
)

// The model that is decoded, and how.
const (
	modelBytes  = 96 << 20 // of the layers in bfloat16; twice that in memory, since the runtime computes in float32
	modelHidden = 768
	prompted    = 128 // tokens of a prompt
	slots       = 8
	longest     = 256 // tokens of a sequence at most
	decodeShare = 150 * time.Second
)

var concurrencies = []int{1, 4, 8}

// placement is a way to hold the model, in a fleet of its own.
type placement struct {
	name  string
	site  *site
	route router.Route
}

// decoding measures the same model whole in one worker and cut in two stages on two nodes.
func (b *bench) decoding(ctx context.Context) ([]benchfile.Section, error) {
	dir := filepath.Join(b.dir, "model")
	if err := bigmodel.Write(dir, bigmodel.Options{Bytes: modelBytes, Hidden: modelHidden}); err != nil {
		return nil, err
	}
	half := max(1, runtime.NumCPU()/2)
	whole, need, err := b.whole(ctx, "whole", dir, "host:8GiB")
	if err != nil {
		return nil, err
	}
	defer whole.site.down()
	// A second device halves the node's cores for each; one of a MiB holds nothing.
	single, _, err := b.whole(ctx, "half", dir, "host:8GiB", "host:1MiB")
	if err != nil {
		return nil, err
	}
	defer single.site.down()
	cut, err := b.cut(ctx, dir, need)
	if err != nil {
		return nil, err
	}
	defer cut.site.down()
	peer, err := b.transformers(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer peer.close()

	m := newTally()
	err = b.each(ctx, decodeShare, func(round int) error {
		for _, n := range concurrencies {
			places := []*placement{whole, single, cut}
			for i := range places {
				p := places[(i+round)%len(places)]
				got, err := p.site.decode(ctx, p.route, n, prompted, b.tokens)
				if err != nil {
					return fmt.Errorf("decode %d streams, %s: %w", n, p.name, err)
				}
				m.take(p.name, n, got)
			}
			if len(peer) > 0 {
				got, err := peer.decode(n, prompted, max(2, b.tokens/peerPart))
				if err != nil {
					return err
				}
				m.take(peerName, n, got)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	how := []string{
		fmt.Sprintf("A Llama-shaped model with random weights, %d MiB of layers in bfloat16 (computed in float32), hidden size %d. Greedy,", modelBytes>>20, modelHidden),
		fmt.Sprintf("prompts of %d tokens, %d tokens each, asked straight from the head worker. Tokens are counted while all streams decode.", prompted, b.tokens),
		fmt.Sprintf("whole: one worker with all %d cores. half: one worker with %d. cut: two stages on two nodes, each worker with %d.", runtime.NumCPU(), half, half),
		"So cut/whole compares the same cores in all; cut/half says what a second device of the same size brings.",
		"A cut replica steps its sequences in several groups, so that its stages work at the same time: each step is for fewer sequences.",
	}
	return []benchfile.Section{{Title: "Decoding of one replica", How: how, Records: m.records(len(peer) > 0)}}, nil
}

// ask wants one replica of a version.
func ask(version string) *adminv1.ServeRequest {
	return &adminv1.ServeRequest{Model: version, Slots: slots, Context: longest}
}

// whole raises a fleet of one node that holds the model in one stage; need is the memory in bytes that this takes.
func (b *bench) whole(ctx context.Context, name, dir string, devices ...string) (p *placement, need int64, err error) {
	p = &placement{name: name}
	if p.site, err = b.raise(ctx, name, devfleet.Config{Coordinators: 1, Nodes: 1, Devices: devices}); err != nil {
		return nil, 0, err
	}
	version, err := p.site.push(ctx, dir, "big")
	if err == nil {
		need, err = p.site.reserve(ctx, ask(version))
	}
	if err == nil {
		err = p.place(ctx, version, 1)
	}
	if err != nil {
		p.site.down()
		return nil, 0, err
	}
	return p, need, nil
}

// cut raises a fleet of two nodes, neither of which can hold the model alone.
func (b *bench) cut(ctx context.Context, dir string, need int64) (p *placement, err error) {
	p = &placement{name: "cut"}
	memory := fmt.Sprintf("host:%dMiB", need*7/10>>20)
	if p.site, err = b.raise(ctx, p.name, devfleet.Config{Coordinators: 1, Nodes: 2, Devices: []string{memory, "host:1MiB"}}); err != nil {
		return nil, err
	}
	version, err := p.site.push(ctx, dir, "big")
	if err == nil {
		err = p.place(ctx, version, 2)
	}
	if err != nil {
		p.site.down()
		return nil, err
	}
	return p, nil
}

// place serves the model and checks into how many stages it was cut.
func (p *placement) place(ctx context.Context, version string, stages int) (err error) {
	if p.route, err = p.site.serve(ctx, ask(version)); err == nil && len(p.route.Endpoints) != stages {
		err = fmt.Errorf("%s: %d stages, want %d", p.name, len(p.route.Endpoints), stages)
	}
	return err
}

// tally collects the paces of all rounds.
type tally struct{ rates, firsts map[string][]float64 }

func newTally() tally { return tally{map[string][]float64{}, map[string][]float64{}} }

func key(name string, n int) string { return fmt.Sprintf("%s/%d", name, n) }

func (t tally) take(name string, n int, p pace) {
	t.rates[key(name, n)] = append(t.rates[key(name, n)], p.rate)
	t.firsts[key(name, n)] = append(t.firsts[key(name, n)], p.first)
}

// records makes the figures. Every record of cut has its peer among the others.
func (t tally) records(peer bool) (out []benchfile.Record) {
	against := func(of map[string][]float64, figure, name, other string, n int, unit string, better benchfile.Better, words string) {
		s := benchfile.Series{Values: of[key(name, n)]}
		if other != "" {
			s.Peers = of[key(other, n)]
		}
		out = append(out, s.Record(fmt.Sprintf("%s/%d", figure, n), unit, better, words))
	}
	other, words := "", ""
	if peer {
		other, words = peerName, "Hugging Face transformers, float32, static batch, threads that spin or not: the faster"
	}
	for _, n := range concurrencies {
		against(t.rates, "decode/whole", "whole", other, n, "tokens/s", benchfile.Higher, words)
	}
	for _, n := range concurrencies {
		against(t.rates, "decode/cut", "cut", "whole", n, "tokens/s", benchfile.Higher, "whole")
	}
	for _, n := range concurrencies {
		against(t.rates, "decode/cut-second-device", "cut", "half", n, "tokens/s", benchfile.Higher, "half")
	}
	against(t.firsts, "first-token/whole", "whole", other, 1, "ms", benchfile.Lower, words)
	against(t.firsts, "first-token/cut", "cut", "whole", 1, "ms", benchfile.Lower, "whole")
	return out
}
