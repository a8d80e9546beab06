package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/quota"
	"github.com/skein-project/skein/wire"
)

// flaky is a leader that may not be there, or whose answer may be lost.
type flaky struct {
	applier
	mode string // "", "away", "lost"
}

var errAway = errors.New("away")

func (f *flaky) Settle(ctx context.Context, r *wire.SettleRequest) error {
	if f.mode == "away" {
		return errAway
	}
	err := f.applier.Settle(ctx, r)
	var rejected *cluster.Rejected
	if errors.As(err, &rejected) && rejected.Reason == cluster.ReasonStale { // as the leader answers
		err = nil
	}
	if f.mode == "lost" {
		return errAway
	}
	return err
}

// Whatever leaders and answers are lost, and however often the gateway ends and starts, everything is on the bill once.
func TestBilledOnce(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s, _ := watched(t, slog.New(slog.DiscardHandler))
		level2(t, s)
		s.live.Confirm()
		leader := &flaky{applier: applier{t, s}}
		account := Account{Gateway: "m", Settler: leader, Dir: t.TempDir()}
		teller, err := s.newTeller(account)
		if err != nil {
			t.Fatal(err)
		}
		want := cluster.Amounts{}
		turn := func() bool {
			done := teller.turn(context.Background(), teller.l.moment())
			teller.l.follow(s.live.Now(), "m")
			return done
		}
		kept := true // nothing is only in memory
		restart := func(crash bool) {
			if !crash {
				if err := teller.keep(); err != nil {
					t.Fatal(err)
				}
			}
			s.ledger = newLedger()
			if teller, err = s.newTeller(account); err != nil {
				t.Fatal(err)
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"use": func(r *rapid.T) {
				kept = false
				for range rapid.IntRange(1, 50).Draw(r, "rows") {
					k := usageKey{cluster.Millis(time.Now().UnixMilli()) - cluster.Millis(rapid.IntRange(0, 5).Draw(r, "minute"))*minuteMs, fmt.Sprint("t", rapid.IntRange(0, 3).Draw(r, "tenant")), "", "sk-1", cluster.VersionID{Model: "calc", Number: 1}}
					u := spending{calls: 1, prompt: rapid.Int64Range(0, 9).Draw(r, "prompt"), device: 2 * time.Millisecond}
					s.ledger.mu.Lock()
					s.ledger.bill(k, u)
					s.ledger.mu.Unlock()
					want = want.Plus(cluster.Amounts{Calls: 1, Prompt: u.prompt, DeviceMs: 2})
				}
			},
			"mode":    func(r *rapid.T) { leader.mode = rapid.SampledFrom([]string{"", "away", "lost"}).Draw(r, "mode") },
			"turn":    func(*rapid.T) { turn(); kept = true },
			"restart": func(*rapid.T) { restart(false) },
			"crash": func(*rapid.T) { // it loses what came since the last turn, and here nothing did
				if kept {
					restart(true)
				}
			},
			"seal": func(*rapid.T) { // as when there is too much for memory
				s.ledger.mu.Lock()
				defer s.ledger.mu.Unlock()
				if rows := s.ledger.drain(cluster.MaxUsed); len(rows) > 0 {
					if err := teller.spool.seal(rows); err != nil {
						t.Fatal(err)
					}
					if err := teller.write(); err != nil {
						t.Fatal(err)
					}
					teller.onDisk = true
				}
			},
		})
		leader.mode = ""
		restart(false)
		for i := 0; !turn() && i < 10_000; i++ {
		}
		got := cluster.Amounts{}
		for u := range s.live.Now().Usage(cluster.Millis(time.Now().UnixMilli())) {
			got = got.Plus(u.Amounts)
		}
		if got != want {
			r.Fatalf("billed %+v, want %+v", got, want)
		}
		if files, err := teller.spool.sealed(); err != nil || len(files) > 0 || teller.onDisk {
			r.Errorf("left on the disk: %v, %v", files, err)
		}
	})
}

// A clock that jumps never lets more through than a limit allows.
func TestClockJumps(t *testing.T) {
	s, _ := watched(t, slog.New(slog.DiscardHandler))
	level2(t, s)
	change(t, s, cluster.PutLimits{Set: cluster.LimitSet{Subject: cluster.KeySubject("sk-11111111"), Limits: []cluster.Limited{{Limit: quota.Limit{Meter: quota.Requests, Window: quota.Day, Amount: 10}}}}})
	var ahead atomic.Int64 // milliseconds
	s.ledger.wall = func() int64 { return time.Now().UnixMilli() + ahead.Load() }
	ctx, stop := context.WithCancel(t.Context())
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		if err := s.Settle(ctx, Account{Gateway: "m", Settler: applier{t, s}, Dir: t.TempDir()}); err != nil {
			t.Error(err)
		}
	}()
	who, refused := s.live.Now().Admit(wire.SecretHash(userKey), 0, netip.Addr{})
	if refused != "" {
		t.Fatal(refused)
	}
	passed := 0
	take := func() {
		h, _, err := s.ledger.reserve(ctx, s.live, who, cluster.VersionID{Model: "calc", Number: 1}, 5, 50*time.Millisecond)
		if err == nil {
			passed++
			s.ledger.release(h, who, spending{calls: 1, answer: 5}, true)
		}
	}
	for _, by := range []time.Duration{0, 25 * time.Hour, -25 * time.Hour, 40 * 24 * time.Hour, 0} {
		ahead.Store(by.Milliseconds())
		for range 6 {
			take()
		}
	}
	for i := 0; passed < 10 && i < 1000; i++ {
		take()
	}
	if passed != 10 {
		t.Errorf("%d passed", passed)
	}
	stop()
	<-settled
}
