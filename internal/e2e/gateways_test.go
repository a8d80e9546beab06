package e2e

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect"

	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/api/skein/inference/v1/inferencev1connect"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/internal/devfleet"
)

// A client that knows all gateways: those of the model come first, a stream goes on without a gap when its gateway dies, and the next calls go elsewhere.
func TestClientOfAllGateways(t *testing.T) {
	s := serving(t, devfleet.Config{Coordinators: 1, Gateway: true}, map[string]offer{"gpt2": {dir: fixture("gpt2"), slots: 4, context: 256, whole: true}})
	fresh := func() *client.Gateways {
		g, err := client.NewGateways(client.Profile{URL: s.AdminURL(), Key: s.Key})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	g := fresh()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	route, err := client.Ask(ctx, g, "gpt2", inferencev1connect.InferenceServiceClient.Route, &inferencev1.RouteRequest{Model: "gpt2"})
	if err != nil || len(route.Gateways) != 2 || !route.Gateways[0].Near || route.ModelVersion != "gpt2@1" || route.Ready != 1 {
		t.Fatalf("%v %v", route, err)
	}
	one, top := 1.0, int32(40)
	ask := &inferencev1.GenerateRequest{Model: "gpt2", Input: &inferencev1.GenerateRequest_Prompt{Prompt: "The scheduler"}, Sampling: &inferencev1.Sampling{Temperature: &one, TopK: &top, Seed: new(uint64)}}
	read := func(kill bool) (text string, tokens int32) {
		var usage *inferencev1.Usage
		for m, err := range g.Generate(ctx, ask) {
			if err != nil {
				t.Fatal(err)
			}
			text, tokens = text+m.Text, tokens+int32(len(m.Tokens))
			if kill && tokens >= 5 {
				kill = false
				if err := s.Process("gateway-1").Kill(); err != nil {
					t.Fatal(err)
				}
			}
			usage = m.Usage
		}
		if usage == nil || usage.CompletionTokens != tokens {
			t.Errorf("%d tokens, and the end says %v", tokens, usage)
		}
		return text, tokens
	}
	whole, n := read(false)
	if n < 50 {
		t.Fatalf("%d tokens", n)
	}
	victim := s.Process("gateway-1")
	for range 5 { // one of two gateways is called, by chance: at least once it is the one that dies
		g = fresh()
		if cut, _ := read(true); cut != whole {
			t.Fatalf("a stream that was cut says %q, want %q", cut, whole)
		}
		if again, _ := read(false); again != whole {
			t.Fatalf("with one gateway dead it says %q, want %q", again, whole)
		}
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		s.until("the gateway to be back", func(ctx context.Context) error {
			c, err := client.New(client.Profile{URL: "http://" + victim.API, Key: s.Key})
			if err == nil {
				_, err = c.Inference.ListModels(ctx, connect.NewRequest(&inferencev1.ListModelsRequest{}))
			}
			return err
		})
	}
}
