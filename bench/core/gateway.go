package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/internal/benchfile"
	"github.com/skein-project/skein/internal/bigmodel"
	"github.com/skein-project/skein/internal/devfleet"
)

// The requests whose way is measured: one token of a model that hardly computes.
const (
	smallBytes     = 1 << 20
	smallHidden    = 128
	question       = "How long is the way through the gateway?"
	gatewayAsks    = 150 // per round
	gatewayWarm    = 20
	gatewayShare   = 45 * time.Second
	gatewayContext = 64
)

// gateway measures a one-token request through a stand-alone gateway and straight to the head worker.
func (b *bench) gateway(ctx context.Context) ([]benchfile.Section, error) {
	dir := filepath.Join(b.dir, "small")
	if err := bigmodel.Write(dir, bigmodel.Options{Bytes: smallBytes, Hidden: smallHidden}); err != nil {
		return nil, err
	}
	s, err := b.raise(ctx, "gateway", devfleet.Config{Coordinators: 1, Nodes: 1, Gateway: true, Devices: []string{"host:1GiB"}})
	if err != nil {
		return nil, err
	}
	defer s.down()
	version, err := s.push(ctx, dir, "small")
	if err != nil {
		return nil, err
	}
	route, err := s.serve(ctx, &adminv1.ServeRequest{Model: version, Slots: 4, Context: gatewayContext})
	if err != nil {
		return nil, err
	}
	through, err := client.New(client.Profile{URL: s.URL(), Key: s.Key})
	if err != nil {
		return nil, err
	}
	ids := make([]int32, len(question)) // the tokenizer of these models has a token per byte
	for i, c := range []byte(question) {
		ids[i] = int32(c)
	}
	direct := func() error {
		_, err := s.stream(ctx, route, ids, 1)
		return err
	}
	var p50, p99, added benchfile.Series
	err = b.each(ctx, gatewayShare, func(int) error {
		var all [2][]float64
		for n := range gatewayAsks + gatewayWarm {
			for side, ask := range []func() error{func() error { return generateOne(ctx, through, version) }, direct} {
				began := time.Now()
				if err := ask(); err != nil {
					return err
				}
				if n >= gatewayWarm {
					all[side] = append(all[side], time.Since(began).Seconds()*1e3)
				}
			}
		}
		half, halfDirect := benchfile.Quantile(all[0], 0.5), benchfile.Quantile(all[1], 0.5)
		p50.AddPair(half, halfDirect)
		added.Add(half - halfDirect)
		p99.AddPair(benchfile.Quantile(all[0], 0.99), benchfile.Quantile(all[1], 0.99))
		return nil
	})
	if err != nil {
		return nil, err
	}
	const peer = "straight to the head worker"
	return []benchfile.Section{{Title: "Through the gateway", Records: []benchfile.Record{
		p50.Record("gateway/p50", "ms", benchfile.Lower, peer), p99.Record("gateway/p99", "ms", benchfile.Lower, peer),
		added.Record("gateway/added-p50", "ms", benchfile.Lower, ""),
	}, How: []string{
		"One token of a small model, one request after the other, kept connections: from the client through a stand-alone gateway",
		"(key, tokenizer, route, journal, text), in turn with the internal call that the gateway itself makes."}}}, nil
}

// generateOne asks a gateway for one token.
func generateOne(ctx context.Context, c *client.Client, version string) error {
	one, zero := int32(1), 0.0
	out, err := c.Inference.Generate(ctx, connect.NewRequest(&inferencev1.GenerateRequest{Model: version,
		Input:    &inferencev1.GenerateRequest_Prompt{Prompt: question},
		Sampling: &inferencev1.Sampling{Temperature: &zero, MaxTokens: &one}}))
	if err != nil {
		return err
	}
	defer out.Close()
	done := false
	for out.Receive() {
		done = done || out.Msg().FinishReason != inferencev1.FinishReason_FINISH_REASON_UNSPECIFIED
	}
	if out.Err() == nil && !done {
		return errors.New("the answer has no end")
	}
	return out.Err()
}
