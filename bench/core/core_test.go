package main

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/skein-project/skein/raftstore"
)

// Tokens before every stream decodes, and after one has ended, do not count.
func TestPaceOf(t *testing.T) {
	t0 := time.Unix(0, 0)
	at := func(ms ...int) (a arrivals) {
		for _, m := range ms {
			a = append(a, t0.Add(time.Duration(m)*time.Millisecond))
		}
		return a
	}
	got, err := paceOf(t0, []arrivals{at(100, 200, 300, 400, 500), at(300, 400, 500, 600, 700), at(200, 250, 350, 450, 510)})
	if err != nil || got.rate != 6/0.2 || got.first != 200 { // (300, 500]: 2 of the first, 2 of the second, 2 of the third
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := paceOf(t0, []arrivals{at(100, 200), at(200, 300)}); err == nil {
		t.Error("streams that do not overlap have a pace")
	}
}

func TestPrompt(t *testing.T) {
	a, b := prompt(0, 50), prompt(1, 50)
	same := 0
	for i := range a {
		if a[i] < ' ' || a[i] > '~' {
			t.Errorf("token %d", a[i])
		}
		if a[i] == b[i] {
			same++
		}
	}
	if same > 25 {
		t.Error("streams have the same prompt")
	}
}

// What a stalled disk makes a store say is recognised.
func TestStalled(t *testing.T) {
	if !stalled(fmt.Errorf("benchmark: %w", raftstore.Stalled{Op: "append", Limit: time.Second})) || stalled(errors.New("disk full")) || stalled(nil) {
		t.Error("a stall is not told from other errors")
	}
}
