package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/engine/sample"
	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/benchfile"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/quota"
	"github.com/skein-project/skein/router"
	"github.com/skein-project/skein/wire"
)

const (
	warm   = 50 // requests before any counts
	tokens = 16 // of an answer
)

// counted is what a fleet allocated while it did something n times, less what it allocates while it does nothing.
func counted(b *testing.B, do func()) {
	b.Helper()
	for range warm {
		do()
	}
	mallocs := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.Mallocs
	}
	before, began := mallocs(), time.Now()
	<-time.After(2 * time.Second)
	idle := float64(mallocs()-before) / time.Since(began).Seconds()
	var all []float64
	before, began = mallocs(), time.Now()
	for b.Loop() {
		at := time.Now()
		do()
		all = append(all, time.Since(at).Seconds()*1e6)
	}
	b.ReportMetric((float64(mallocs()-before)-idle*time.Since(began).Seconds())/float64(len(all)), "allocs")
	b.ReportMetric(benchfile.Quantile(all, 0.5), "p50-us")
}

// caller is a client with one connection, which allocates nothing.
type caller struct {
	conn    net.Conn
	request []byte
	answer  []byte
}

func (c *caller) to(key string, tokens int) {
	body := fmt.Sprintf(`{"model": "calc", "prompt": "12+34=", "max_tokens": %d, "temperature": 0}`, tokens)
	c.request = fmt.Appendf(nil, "POST /v1/completions HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", key, len(body), body)
}

func dial(b *testing.B, g *fleettest.Gateway) *caller {
	b.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.URL, "http://"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return &caller{conn: conn, answer: make([]byte, 64<<10)}
}

var errAnswer = errors.New("not an answer")

// ask makes the request and reads the whole answer.
func (c *caller) ask() error {
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	for n, want := 0, -1; ; {
		got, err := c.conn.Read(c.answer[n:])
		if err != nil {
			return err
		}
		n += got
		if want < 0 {
			if want, err = length(c.answer[:n]); err != nil {
				return err
			}
		}
		switch {
		case want >= 0 && n >= want:
			if !bytes.HasPrefix(c.answer, []byte("HTTP/1.1 200 ")) {
				return fmt.Errorf("%w: %s", errAnswer, c.answer[:n])
			}
			return nil
		case n == len(c.answer):
			return io.ErrShortBuffer
		}
	}
}

// length is how long an answer is, with its head; −1 = its head is not whole yet.
func length(b []byte) (int, error) {
	head := bytes.Index(b, []byte("\r\n\r\n"))
	if head < 0 {
		return -1, nil
	}
	field := []byte("\r\nContent-Length: ")
	at := bytes.Index(b[:head+2], field)
	if at < 0 {
		return 0, fmt.Errorf("%w: without a length: %s", errAnswer, b)
	}
	digits := b[at+len(field) : head+2]
	n, err := strconv.Atoi(string(digits[:bytes.IndexByte(digits, '\r')]))
	return head + 4 + n, err
}

func TestLength(t *testing.T) {
	for text, want := range map[string]int{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhel": 49, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n": 51, "HTTP/1.1 200 OK\r\nContent-Len": -1,
	} {
		if got, err := length([]byte(text)); got != want || err != nil {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	if _, err := length([]byte("HTTP/1.1 200 OK\r\n\r\n")); err == nil {
		t.Error("an answer without a length has one")
	}
}

// limit gives a subject plenty of requests, tokens and slots.
func limit(f *fleettest.Fleet, subjects ...string) {
	for i, subject := range subjects {
		f.Do(f.Leader(), cluster.PutLimits{Set: cluster.LimitSet{Subject: subject, Limits: []cluster.Limited{
			{Limit: quota.Limit{Meter: quota.Requests, Window: quota.Minute, Amount: quota.MaxAmount - int64(i)}},
			{Limit: quota.Limit{Meter: quota.Tokens, Window: quota.Day, Amount: quota.MaxAmount - int64(i)}},
			{Limit: quota.Limit{Meter: quota.Concurrent, Amount: 1000}}}}})
	}
}

// BenchmarkRequest is a whole request: a client, a gateway alone, with an application's key and limits of all four kinds, and a worker.
func BenchmarkRequest(b *testing.B) {
	f := fleettest.New(b, 1, "")
	f.Machine("m1", 8*gpu.GiB)
	f.Publish("calc", 1)
	app := cluster.AppID{Tenant: "acme", ID: "portal"}
	f.Do(f.Leader(), cluster.PutTenant{Tenant: cluster.Tenant{ID: app.Tenant, Weight: 100, Models: []string{"*"}}},
		cluster.PutApplication{Application: cluster.Application{AppID: app, Models: []string{"*"}}},
		cluster.PutKey{Key: cluster.Key{ID: "sk-app", Tenant: app.Tenant, App: app.ID, Hash: wire.SecretHash("app-secret")}})
	limit(f, cluster.TotalSubject, cluster.TenantSubject(app.Tenant), cluster.AppSubject(app), cluster.KeySubject("sk-app"))
	c := dial(b, f.Gateway("g", gateway.Config{}))
	c.to("app-secret", tokens)
	fleettest.Within(b, "it is served", func() bool { return c.ask() == nil })
	counted(b, func() {
		if err := c.ask(); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkWorker is the part of it that is the call of the worker.
func BenchmarkWorker(b *testing.B) {
	f := fleettest.New(b, 1, "")
	f.Machine("m1", 8*gpu.GiB)
	v := f.Publish("calc", 1)
	d := f.Dialer(f.Enrol(cluster.RoleGateway, "g"))
	route, err := router.TableOf(f.Leader().Live().Now()).Pick(v, nil, nil, 0)
	if err != nil {
		b.Fatal(err)
	}
	generate(b, d, route.Head(), &wire.GenerateRequest{Replica: route.Replica, Epoch: route.Epoch, Tokens: []int32{1, 2, 3, 4, 5, 6}, MaxTokens: tokens})
}

// workerVariable makes the test program a worker: its value is the folder of the worker's membership.
const workerVariable = "SKEIN_BENCH_WORKER"

func TestMain(m *testing.M) {
	dir := os.Getenv(workerVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := work(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// work answers generations in a process of its own, says where, and ends with its standard input.
func work(dir string) error {
	member, err := wire.LoadMembership(dir)
	if err != nil {
		return err
	}
	creds, err := wire.NewCredentials(member.Papers)
	if err != nil {
		return err
	}
	l, err := wire.Listen("127.0.0.1:0", creds, fleettest.Log())
	if err != nil {
		return err
	}
	mux := wire.NewMux()
	wire.HandleStream(mux, wire.Generate, func(_ context.Context, r *wire.GenerateRequest, send func(*wire.GenerateResponse) error) error {
		for range r.MaxTokens {
			if err := send(&wire.GenerateResponse{Tokens: make([]sample.Choice, 1)}); err != nil {
				return err
			}
		}
		return nil
	})
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until it ends, however
		stop()
	}()
	fmt.Println(l.Addr())
	return l.Serve(ctx, mux)
}

// BenchmarkCall is the same call of a worker in another process: the half of it that is the gateway's.
func BenchmarkCall(b *testing.B) {
	f := fleettest.New(b, 1, "")
	d, dir := f.Dialer(f.Enrol(cluster.RoleGateway, "g")), b.TempDir()
	if err := f.Enrol(cluster.RoleNode, "w").Save(dir); err != nil {
		b.Fatal(err)
	}
	worker := exec.Command(os.Args[0])
	worker.Env, worker.Stderr = append(os.Environ(), workerVariable+"="+dir), os.Stderr
	stdin, err1 := worker.StdinPipe()
	stdout, err2 := worker.StdoutPipe()
	if err := errors.Join(err1, err2, worker.Start()); err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := errors.Join(stdin.Close(), worker.Wait()); err != nil {
			b.Error(err)
		}
	}()
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	generate(b, d, strings.TrimSpace(addr), &wire.GenerateRequest{Tokens: []int32{1, 2, 3, 4, 5, 6}, MaxTokens: tokens})
}

// generate counts calls of a worker.
func generate(b *testing.B, d *wire.Dialer, addr string, req *wire.GenerateRequest) {
	b.Helper()
	counted(b, func() {
		given := 0
		err := wire.Read(b.Context(), d, cluster.RoleNode, addr, wire.Generate, req, func(r *wire.GenerateResponse) error {
			given += len(r.Tokens)
			return nil
		})
		if err != nil || given != tokens {
			b.Fatalf("%d tokens, %v", given, err)
		}
	})
}

// BenchmarkRefill is a tenant's first request, whose purse is empty, and its second one, at the leader's gateway and at that of a follower.
func BenchmarkRefill(b *testing.B) {
	f := fleettest.New(b, 3, "")
	f.Machine("m1", 8*gpu.GiB)
	f.Publish("calc", 1)
	callers := []*caller{dial(b, f.GatewayOn(f.Leader(), gateway.Config{})), dial(b, f.GatewayOn(f.Follower(), gateway.Config{}))}
	const atOnce = 64
	first, next := make([][]float64, len(callers)), []float64(nil)
	for n := 0; b.Loop(); n++ {
		secret := fmt.Sprintf("secret-%d", n)
		if n%atOnce == 0 {
			tenants(b, f, n, atOnce)
			for _, c := range callers {
				c.to(fmt.Sprintf("secret-%d", n+atOnce-1), 1)
				fleettest.Within(b, "the gateway knows them", func() bool { return c.ask() == nil })
			}
		}
		side := n % len(callers)
		callers[side].to(secret, 1)
		for _, to := range []*[]float64{&first[side], &next} {
			at := time.Now()
			if err := callers[side].ask(); err != nil {
				b.Fatal(err)
			}
			*to = append(*to, time.Since(at).Seconds()*1e3)
		}
	}
	b.ReportMetric(benchfile.Quantile(first[0], 0.5), "leader-p50-ms")
	b.ReportMetric(benchfile.Quantile(first[1], 0.5), "follower-p50-ms")
	b.ReportMetric(benchfile.Quantile(next, 0.5), "next-p50-ms")
}

// tenants makes tenants with a key and limits each.
func tenants(b *testing.B, f *fleettest.Fleet, from, n int) {
	b.Helper()
	var list []cluster.Command
	for i := from; i < from+n; i++ {
		id := tenantName(i)
		list = append(list, cluster.PutTenant{Tenant: cluster.Tenant{ID: id, Weight: 100, Models: []string{"*"}}},
			cluster.PutKey{Key: cluster.Key{ID: keyName(i, 0), Tenant: id, Hash: wire.SecretHash(fmt.Sprintf("secret-%d", i))}},
			cluster.PutLimits{Set: cluster.LimitSet{Subject: cluster.TenantSubject(id), Limits: limits()}})
	}
	f.Do(f.Leader(), list...)
}
