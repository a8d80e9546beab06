// Package oip compares the Open Inference Protocol with the native call, on the same gateway and model in one run.
package oip

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	oipv2 "github.com/skein-project/skein/api/inference"
	oipconnect "github.com/skein-project/skein/api/inference/inferenceconnect"
	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/api/skein/inference/v1/inferencev1connect"
	"github.com/skein-project/skein/gateway/oip"
	"github.com/skein-project/skein/tensor"
)

// Setup says what is compared: a model with one input and one output of FP32 [any, 1].
type Setup struct {
	URL, Key      string
	Model         string
	Input, Output string
	Bytes         int // of the input
	Calls         int // of a way in a round
	Rounds        int
	Workers       int // calls at once
}

// Figure is the throughput of one way of calling: input bytes per second.
type Figure struct {
	Way    string
	Median float64 // of the rounds
	Best   float64
}

// Ways of calling.
const (
	Native      = "Connect"                                 // as its clients do by default: the answer is compressed
	NativePlain = "Connect, not compressed"                 //
	Binary      = "Open Inference Protocol, binary tensors" // HTTP/1.1
	RPC         = "Open Inference Protocol, gRPC"           // raw contents
)

// way is a way of calling a model once. It returns the output's bytes.
type way struct {
	name string
	call func(context.Context) ([]byte, error)
}

// Compare measures every way in turns, so that what else the machine does hits all of them: first the native call. Each has to give the
// same output.
func Compare(ctx context.Context, s Setup) ([]Figure, error) {
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	h2.Protocols.SetHTTP2(true)
	defer h2.CloseIdleConnections()
	h1 := &http.Transport{MaxIdleConnsPerHost: 2 * s.Workers}
	defer h1.CloseIdleConnections()
	in := tensor.OfFloats(s.Input, []int64{int64(s.Bytes / 4), 1}, make([]float32, s.Bytes/4))
	for i := range in.Data {
		in.Data[i] = byte(i*2654435761>>13) & 0x3f // finite, and not easily compressed
	}
	ways := []way{s.native(h1, in, Native), s.native(h1, in, NativePlain, connect.WithAcceptCompression("gzip", nil, nil)), s.binary(h1, in), s.rpc(h2, in)}
	rates := make([][]float64, len(ways))
	var want []byte
	for round := range s.Rounds + 1 { // the first warms up
		for i, w := range ways {
			got, took, err := s.round(ctx, w)
			switch {
			case err != nil:
				return nil, fmt.Errorf("%s: %w", w.name, err)
			case want == nil:
				want = got
			case !bytes.Equal(got, want):
				return nil, fmt.Errorf("%s gives another output than %s", w.name, ways[0].name)
			}
			if round > 0 {
				rates[i] = append(rates[i], float64(s.Bytes)*float64(s.Calls)/took.Seconds())
			}
		}
	}
	var out []Figure
	for i, w := range ways {
		slices.Sort(rates[i])
		out = append(out, Figure{w.name, rates[i][len(rates[i])/2], rates[i][len(rates[i])-1]})
	}
	return out, nil
}

// round makes the calls of a way.
func (s Setup) round(ctx context.Context, w way) (last []byte, took time.Duration, err error) {
	began := time.Now()
	var mu sync.Mutex
	var all sync.WaitGroup
	left := s.Calls
	for range s.Workers {
		all.Go(func() {
			for {
				mu.Lock()
				if left == 0 || err != nil {
					mu.Unlock()
					return
				}
				left--
				mu.Unlock()
				got, failed := w.call(ctx)
				mu.Lock()
				last = got
				if failed != nil {
					err = failed
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return last, time.Since(began), err
}

// bearer adds a key.
type bearer struct {
	next http.RoundTripper
	key  string
}

// RoundTrip implements http.RoundTripper.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.key)
	return b.next.RoundTrip(r)
}

func (s Setup) native(t http.RoundTripper, in tensor.Tensor, name string, opts ...connect.ClientOption) way {
	c := inferencev1connect.NewInferenceServiceClient(&http.Client{Transport: bearer{t, s.Key}}, s.URL, opts...)
	return way{name, func(ctx context.Context) ([]byte, error) {
		res, err := c.Infer(ctx, connect.NewRequest(&inferencev1.InferRequest{Model: s.Model, Outputs: []string{s.Output},
			Inputs: []*inferencev1.Tensor{{Name: in.Name, Dtype: string(in.DType), Shape: in.Shape, Data: in.Data}}}))
		if err != nil {
			return nil, err
		}
		return res.Msg.Outputs[0].Data, nil
	}}
}

func (s Setup) rpc(t http.RoundTripper, in tensor.Tensor) way {
	c := oipconnect.NewGRPCInferenceServiceClient(&http.Client{Transport: bearer{t, s.Key}}, s.URL, connect.WithGRPC())
	return way{RPC, func(ctx context.Context) ([]byte, error) {
		res, err := c.ModelInfer(ctx, connect.NewRequest(&oipv2.ModelInferRequest{ModelName: s.Model, RawInputContents: [][]byte{in.Data},
			Inputs:  []*oipv2.ModelInferRequest_InferInputTensor{{Name: in.Name, Datatype: oip.Datatype(in.DType), Shape: in.Shape}},
			Outputs: []*oipv2.ModelInferRequest_InferRequestedOutputTensor{{Name: s.Output}}}))
		if err != nil {
			return nil, err
		}
		return res.Msg.RawOutputContents[0], nil
	}}
}

func (s Setup) binary(t http.RoundTripper, in tensor.Tensor) way {
	c := &http.Client{Transport: bearer{t, s.Key}}
	return way{Binary, func(ctx context.Context) ([]byte, error) {
		head, err := json.Marshal(oip.RequestJSON{
			Inputs:  []oip.TensorJSON{{Name: in.Name, Datatype: oip.Datatype(in.DType), Shape: in.Shape, Parameters: map[string]any{"binary_data_size": len(in.Data)}}},
			Outputs: []oip.OutputJSON{{Name: s.Output, Parameters: map[string]any{"binary_data": true}}}})
		if err != nil {
			return nil, err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/v2/models/"+s.Model+"/infer", io.MultiReader(bytes.NewReader(head), bytes.NewReader(in.Data)))
		if err != nil {
			return nil, err
		}
		r.ContentLength = int64(len(head) + len(in.Data))
		r.Header.Set(oip.HeaderLength, strconv.Itoa(len(head)))
		res, err := c.Do(r)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		body := make([]byte, max(0, res.ContentLength))
		if _, err := io.ReadFull(res.Body, body); err != nil {
			return nil, err
		}
		n, err := strconv.Atoi(res.Header.Get(oip.HeaderLength))
		if err != nil || n > len(body) {
			return nil, fmt.Errorf("%s: %s", res.Status, body[:min(len(body), 400)])
		}
		return body[n:], nil
	}}
}

// Ratio is the throughput of one way in that of another, by their medians.
func Ratio(figures []Figure, way, of string) float64 {
	find := func(name string) float64 {
		i := slices.IndexFunc(figures, func(f Figure) bool { return f.Way == name })
		if i < 0 {
			return 0
		}
		return figures[i].Median
	}
	return find(way) / find(of)
}

// String is the figure in a line.
func (f Figure) String() string {
	return fmt.Sprintf("%-40s %7.1f MiB/s (best %.1f)", strings.TrimSpace(f.Way), f.Median/(1<<20), f.Best/(1<<20))
}
