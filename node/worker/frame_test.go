package worker

import (
	"errors"
	"reflect"
	"testing"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/engine/batch"
	"github.com/skein-project/skein/engine/sample"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/wire"
)

func example() message {
	return message{Kind: kindForward, Replica: cluster.ReplicaID{Version: cluster.VersionID{Model: "m", Number: 2}, Ordinal: 1}, Epoch: 7, Stage: 1,
		Group: 2, Number: 99, Row: 3, Past: []int32{5, 0, 17}, Count: 3,
		Wants:   []batch.Want{{Token: 2, Position: 18, Sampling: model.Sampling{Temperature: 0.5, Seed: 1 << 63}}},
		Choices: []sample.Choice{{Token: 4, Logprob: -1.5, Top: []sample.TokenLogprob{{Token: 4, Logprob: -1.5}}}},
		Trace:   []string{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, payload: []float32{1, -2.5, 3e-30, 0}}
}

func TestFrameRoundTrip(t *testing.T) {
	m := example()
	f, err := m.encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	back := message{payload: make([]float32, 100)}
	if err := back.decode(f); err != nil || !reflect.DeepEqual(back, m) {
		t.Errorf("decoded %+v, %v", back, err)
	}
	clear(f)
	if back.payload[1] != -2.5 {
		t.Error("the payload shares the frame's memory")
	}
}

// A frame with any bit flipped, or cut anywhere, is refused: silent corruption never reaches a model.
func TestFrameDamage(t *testing.T) {
	m := example()
	f, err := m.encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range f {
		bad := append(wire.Frame{}, f...)
		bad[i] ^= 1 << (i % 8)
		if err := new(message).decode(bad); !errors.Is(err, errFrame) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		if err := new(message).decode(f[:i]); !errors.Is(err, errFrame) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

// What the next stage would refuse is not sent; what one sequence begins with at its largest is.
func TestFrameHeader(t *testing.T) {
	m := example()
	m.Wants[0].Begin = &sample.Begin{Prompt: make([]byte, maxBegin*3/4-1000)}
	f, err := m.encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := new(message).decode(f); err != nil {
		t.Error(err)
	}
	m.Wants = append(m.Wants, m.Wants[0], m.Wants[0])
	if _, err := m.encode(nil); !errors.Is(err, errHeader) {
		t.Errorf("three beginnings: %v", err)
	}
}

func FuzzFrame(f *testing.F) {
	m := example()
	frame, err := m.encode(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(frame))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var got message
		if err := got.decode(b); err == nil {
			if _, err := got.encode(nil); err != nil && !errors.Is(err, errHeader) { // JSON may be shorter than ours
				t.Fatal(err)
			}
		} else if !errors.Is(err, errFrame) {
			t.Fatalf("untyped error %v", err)
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	m := example()
	m.payload = make([]float32, 4*896)
	var f wire.Frame
	var back message
	b.SetBytes(int64(4 * len(m.payload)))
	for b.Loop() {
		f, _ = m.encode(f)
		if err := back.decode(f); err != nil {
			b.Fatal(err)
		}
	}
}
