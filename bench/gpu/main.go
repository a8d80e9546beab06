// Command gpu measures one GPU of this machine: prefill and decode of a model of a billion parameters in bfloat16, whole and cut in two.
//
// Weights are random and made here. The program runs alone: no cluster, no gateway, one thread that steps the stages.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/internal/benchfile"
	"github.com/skein-project/skein/internal/bigmodel"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
)

// options are the flags.
type options struct {
	out    string // folder for gpu.json and gpu.txt
	dir    string // folder for the model, on a disk with 3 GiB free
	commit string // what is measured; "" = ask git
	rounds int
	cpu    bool // the CPU's backend and a small model: to try the program itself
}

func main() {
	var o options
	flag.StringVar(&o.out, "out", filepath.Join("docs", "bench"), "folder for the results")
	flag.StringVar(&o.dir, "dir", os.TempDir(), "folder for the model")
	flag.StringVar(&o.commit, "commit", "", "commit that is measured (default: what git says)")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each figure")
	flag.BoolVar(&o.cpu, "cpu", false, "try the program on the CPU, with a small model")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	runtime.LockOSThread() // the provider keeps state per thread
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gpu:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.commit == "" {
		var err error
		if o.commit, err = benchfile.Commit(ctx); err != nil {
			return err
		}
	}
	rt, err := ort.Open(os.Getenv(ort.Variable))
	if err != nil {
		return err
	}
	machine, err := benchfile.Here(rt.Version())
	if err != nil {
		return err
	}
	b := &bench{rt: rt, rounds: o.rounds, backend: engine.CUDA}
	opt := bigmodel.Options{Bytes: weightBytes, Shard: 2 * weightBytes, Hidden: 2048, Intermediate: 8192, Positions: window}
	if o.cpu {
		b.backend, opt.Bytes, opt.Hidden, opt.Intermediate = engine.CPU, 1<<20, 128, 256
	} else if machine.GPU, err = query(ctx, "name,driver_version"); err != nil {
		return err
	}
	if b.manifest, b.paths, err = write(filepath.Join(o.dir, "gpu-model"), opt); err != nil {
		return err
	}
	sections, err := b.measure(ctx, o.cpu)
	if err != nil {
		return err
	}
	if err := machine.End(); err != nil {
		return err
	}
	return benchfile.Report{Title: "One GPU", Machine: machine, Commit: o.commit, Sections: sections}.Write(o.out, "gpu")
}

// write makes the model and its manifest.
func write(dir string, opt bigmodel.Options) (*model.Manifest, map[blob.Digest]string, error) {
	if err := bigmodel.Write(dir, opt); err != nil {
		return nil, nil, err
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, nil, err
	}
	sources, paths := map[string]convert.Source{}, map[blob.Digest]string{}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return nil, nil, err
		}
		defer f.Close()
		x, err := blob.Scan(f)
		if err != nil {
			return nil, nil, err
		}
		sources[filepath.Base(name)] = convert.Source{ReaderAt: io.ReaderAt(f), Size: x.Size, Digest: x.Digest()}
		if paths[x.Digest()], err = filepath.EvalSymlinks(name); err != nil {
			return nil, nil, err
		}
		if paths[x.Digest()], err = filepath.Abs(paths[x.Digest()]); err != nil {
			return nil, nil, err
		}
	}
	made, err := convert.Folder(sources)
	if err != nil {
		return nil, nil, err
	}
	return made.Manifest, paths, nil
}

// query asks the driver's own program about the first GPU: the values of the fields, separated by commas.
func query(ctx context.Context, fields string) (string, error) {
	out, err := exec.CommandContext(ctx, "nvidia-smi", "--id=0", "--format=csv,noheader,nounits", "--query-gpu="+fields).Output()
	if err != nil {
		return "", fmt.Errorf("ask nvidia-smi for %s: %w", fields, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// used is the memory in use on the first GPU, in MiB.
func used(ctx context.Context) (float64, error) {
	text, err := query(ctx, "memory.used")
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(text, 64)
}

// pipeline is a model in one stage or several, on the same device.
type pipeline []*engine.Stage

func (p pipeline) close() error {
	var errs []error
	for _, s := range p {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// load makes the stages between boundaries.
func (b *bench) load(boundaries ...int) (p pipeline, err error) {
	from := 0
	for _, to := range append(boundaries, b.manifest.Config.Layers) {
		spec := engine.StageSpec{Manifest: b.manifest, Span: shard.Span{From: from, To: to}, Serving: serving, Backend: b.backend, Threads: runtime.NumCPU()}
		s, err := engine.Load(b.rt, spec, func(d blob.Digest) (string, error) { return b.paths[d], nil })
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		p, from = append(p, s), to
	}
	return p, nil
}

// step runs tokens through all stages.
func (p pipeline) step(tokens, positions []int32, step engine.Step) ([]float32, error) {
	if err := p[0].Embed(tokens, positions, nil); err != nil {
		return nil, err
	}
	var out []float32
	for i, s := range p {
		if i > 0 {
			copy(s.Input(len(tokens)), out)
		}
		var err error
		if out, err = s.Run(step); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// prefill runs a prompt into a row, and says how many tokens a second that were.
func (p pipeline) prefill(row, n int) (perSecond float64, err error) {
	began := time.Now()
	for past := 0; past < n; past += shard.Chunk {
		part := min(shard.Chunk, n-past)
		tokens, positions := make([]int32, part), make([]int32, part)
		for i := range tokens {
			tokens[i], positions[i] = int32((row*31+(past+i)*7)%256), int32(past+i)
		}
		if _, err := p.step(tokens, positions, engine.Step{Prefill: true, Row: row, Past: past, Count: part, Want: []int{part - 1}}); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// decode runs steps tokens of rows sequences that have past tokens each, greedily, and says how many tokens a second that were.
func (p pipeline) decode(rows, past, steps, vocab int) (perSecond float64, err error) {
	tokens, positions, want := make([]int32, rows), make([]int32, rows), make([]int, rows)
	for i := range want {
		want[i] = i
	}
	began := time.Now()
	for n := range steps {
		for i := range positions {
			positions[i] = int32(past + n)
		}
		logits, err := p.step(tokens, positions, engine.Step{Rows: engine.Rows{Positions: positions}, Want: want})
		if err != nil {
			return 0, err
		}
		for i := range tokens {
			tokens[i] = best(logits[i*vocab:][:vocab])
		}
	}
	return float64(rows*steps) / time.Since(began).Seconds(), nil
}

func best(x []float32) int32 {
	at := 0
	for i, v := range x {
		if v > x[at] {
			at = i
		}
	}
	return int32(at)
}
