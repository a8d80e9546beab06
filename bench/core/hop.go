package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/benchfile"
	"github.com/skein-project/skein/wire"
)

// echoCommand makes this program the other end of a hop.
const echoCommand = "echo"

// A hop is a frame one way and an answer of ackBytes back.
const (
	ackBytes = 8
	hopShare = 30 * time.Second
)

var hopSizes = []struct {
	name  string
	bytes int
	times int // per round
}{{"8KB", 8 << 10, 2000}, {"256KB", 256 << 10, 300}}

// ends is where the other process listens.
type ends struct {
	Stage string `json:"stage"` // Skein's stage stream, over mutual TLS
	TCP   string `json:"tcp"`
}

// echo answers frames until its input ends.
func echo(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dec := json.NewDecoder(in)
	var papers wire.Papers
	if err := dec.Decode(&papers); err != nil {
		return err
	}
	creds, err := wire.NewCredentials(papers)
	if err != nil {
		return err
	}
	l, err := wire.Listen("127.0.0.1:0", creds, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer l.Close()
	mux := wire.NewMux()
	wire.HandleFrames(mux, echoFrames)
	ended := make(chan error, 2)
	go func() { ended <- l.Serve(ctx, mux) }()
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer raw.Close()
	go echoTCP(raw)
	if err := json.NewEncoder(out).Encode(ends{Stage: l.Addr().String(), TCP: raw.Addr().String()}); err != nil {
		return err
	}
	go func() {
		_, err := io.Copy(io.Discard, in)
		ended <- err
	}()
	return <-ended
}

func echoFrames(_ context.Context, s *connect.BidiStream[wire.Frame, wire.Frame]) error {
	ack := make(wire.Frame, ackBytes)
	for {
		if _, err := s.Receive(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.Send(&ack); err != nil {
			return err
		}
	}
}

// echoTCP answers frames with a length of 4 bytes before them, one connection after another.
func echoTCP(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		var head [4]byte
		var body []byte
		ack := make([]byte, ackBytes)
		for {
			if _, err := io.ReadFull(conn, head[:]); err != nil {
				break
			}
			n := int(binary.LittleEndian.Uint32(head[:]))
			if n > wire.MaxMessage {
				break
			}
			if n > len(body) {
				body = make([]byte, n)
			}
			if _, err := io.ReadFull(conn, body[:n]); err != nil {
				break
			}
			if _, err := conn.Write(ack); err != nil {
				break
			}
		}
		conn.Close()
	}
}

// node makes papers of a node of a cluster that exists only for this.
func node(ca *wire.Authority, clusterID string) (wire.Papers, error) {
	key, csr, err := wire.Request()
	if err != nil {
		return wire.Papers{}, err
	}
	der, err := ca.Sign(csr, wire.Identity{Cluster: clusterID, Role: cluster.RoleNode, ID: wire.NewID()}, time.Now())
	if err != nil {
		return wire.Papers{}, err
	}
	return wire.NewPapers(der, key, ca.Cert)
}

// hop is one round trip of a frame.
type hop func(frame []byte) error

// hops measures the way between two stages.
func (b *bench) hops(ctx context.Context) ([]benchfile.Section, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stage, tcp, end, err := otherEnd(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	p50, p99 := make([]benchfile.Series, len(hopSizes)), make([]benchfile.Series, len(hopSizes))
	err = b.each(ctx, hopShare, func(int) error {
		for i, size := range hopSizes {
			var all [2][]float64
			frame := make([]byte, size.bytes)
			for n := range size.times + size.times/10 { // the first tenth warms up
				for side, hop := range []hop{stage, tcp} {
					began := time.Now()
					if err := hop(frame); err != nil {
						return err
					}
					if n >= size.times/10 {
						all[side] = append(all[side], float64(time.Since(began).Nanoseconds())/1e3)
					}
				}
			}
			p50[i].AddPair(benchfile.Quantile(all[0], 0.5), benchfile.Quantile(all[1], 0.5))
			p99[i].AddPair(benchfile.Quantile(all[0], 0.99), benchfile.Quantile(all[1], 0.99))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var out []benchfile.Record
	for i, size := range hopSizes {
		out = append(out, p50[i].Record("hop/"+size.name+"/p50", "us", benchfile.Lower, "raw TCP"), p99[i].Record("hop/"+size.name+"/p99", "us", benchfile.Lower, "raw TCP"))
	}
	return []benchfile.Section{{Title: "A hop between stages", Records: out, How: []string{
		fmt.Sprintf("A frame to another process over a stage stream (Connect, HTTP/2, mutual TLS) and %d bytes back, one after the other,", ackBytes),
		"in turn with the same over a plain TCP connection without encryption."}}}, nil
}

// otherEnd starts this program as the other end, and opens a stage stream and a TCP connection to it.
func otherEnd(ctx context.Context) (stage, tcp hop, end func(), err error) {
	clusterID := strings.Repeat("be", 16)
	ca, err := wire.NewAuthority(clusterID, time.Now())
	if err != nil {
		return nil, nil, nil, err
	}
	ours, err := node(ca, clusterID)
	if err != nil {
		return nil, nil, nil, err
	}
	theirs, err := node(ca, clusterID)
	if err != nil {
		return nil, nil, nil, err
	}
	at, end, err := startEcho(ctx, theirs)
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err != nil {
			end()
		}
	}()
	creds, err := wire.NewCredentials(ours)
	if err != nil {
		return nil, nil, nil, err
	}
	stream := wire.Frames(ctx, wire.NewDialer(creds), at.Stage)
	stage = func(frame []byte) error {
		f := wire.Frame(frame)
		if err := stream.Send(&f); err != nil {
			return err
		}
		_, err := stream.Receive()
		return err
	}
	conn, err := net.Dial("tcp", at.TCP)
	if err != nil {
		return nil, nil, nil, err
	}
	head, ack := make([]byte, 4), make([]byte, ackBytes)
	tcp = func(frame []byte) error {
		binary.LittleEndian.PutUint32(head, uint32(len(frame)))
		buffers := net.Buffers{head, frame}
		if _, err := buffers.WriteTo(conn); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, ack)
		return err
	}
	stop := end
	return stage, tcp, func() { conn.Close(); stop() }, nil
}

// startEcho runs echo in a process of its own.
func startEcho(ctx context.Context, papers wire.Papers) (at ends, end func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return at, nil, err
	}
	cmd := exec.CommandContext(ctx, self, echoCommand)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return at, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return at, nil, err
	}
	if err := cmd.Start(); err != nil {
		return at, nil, err
	}
	end = func() {
		in.Close()
		cmd.Wait()
	}
	if err = json.NewEncoder(in).Encode(papers); err == nil {
		err = json.NewDecoder(out).Decode(&at)
	}
	if err != nil {
		end()
		return at, nil, fmt.Errorf("start the other end of a hop: %w", err)
	}
	return at, end, nil
}
