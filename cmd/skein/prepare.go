package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/shard"
)

// prepared is the model that skein dev serves.
type prepared struct {
	dir, shown, name string
	bytes            int64
	profile          shard.Profile
	serving          shard.Serving
}

// prepare finds the programs and the model, and makes the devices so small that the model must be cut in two, if nothing else was said.
func (d *development) prepare() (*prepared, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	d.fleet.Bin = filepath.Dir(exe)
	for _, program := range roles {
		if _, err := os.Stat(filepath.Join(d.fleet.Bin, program)); err != nil {
			return nil, fmt.Errorf("%s is not beside this program: run \"make build\" (%w)", program, err)
		}
	}
	m := &prepared{dir: d.model, shown: d.model}
	if m.dir == "" {
		if m.dir, err = example("calc", d.fleet.Bin); err != nil {
			return nil, err
		}
		m.shown = "examples/calc"
	}
	dir, err := filepath.Abs(m.dir)
	if err != nil {
		return nil, err
	}
	m.name = strings.ToLower(filepath.Base(dir))
	if err := m.read(); err != nil {
		return nil, err
	}
	if len(d.fleet.Devices) == 0 {
		device, err := m.device(d.fleet.Nodes)
		if err != nil {
			return nil, err
		}
		d.fleet.Devices = []string{device}
	}
	return m, nil
}

// example finds a model of this project: in the build tree, or where packages put it.
func example(name, bin string) (string, error) {
	for _, dir := range []string{filepath.Join(bin, "..", "examples", name), filepath.Join(bin, "..", "share", "skein", "examples", name), filepath.Join("examples", name)} {
		if _, err := os.Stat(filepath.Join(dir, "config.json")); err == nil {
			return filepath.Clean(dir), nil
		}
	}
	return "", fmt.Errorf("examples/%s is not beside this program: name a model's folder with --model", name)
}

// read makes the profile of the model as the cluster will.
func (m *prepared) read() error {
	files, err := client.Folder(m.dir, func(string) {})
	if err != nil {
		return err
	}
	sources := map[string]convert.Source{}
	for _, f := range files {
		r, err := os.Open(f.Path)
		if err != nil {
			return err
		}
		defer r.Close()
		sources[f.Name] = convert.Source{ReaderAt: r, Size: f.Index.Size, Digest: f.Index.Digest()}
		m.bytes += f.Index.Size
	}
	made, err := convert.Folder(sources)
	if err != nil {
		return err
	}
	m.profile = shard.ProfileOf(made.Manifest)
	m.serving = servingOf(m.profile)
	return nil
}

// errUncut says that no size of memory makes a model be cut in two.
var errUncut = errors.New("this model cannot be cut so that each half needs less than the whole: name the memory of the nodes with --device host:SIZE")

// device is a share of memory that holds half of the model and not the whole. A single node gets enough for the whole, and so do the nodes for
// a graph, which is not cut.
func (m *prepared) device(nodes int) (string, error) {
	whole := shard.Foot(m.profile, shard.Span{To: len(m.profile.Blocks)}, m.serving, gpu.Host).Total()
	if nodes == 1 || len(m.profile.Blocks) == 1 {
		return inMiB(whole + whole/8), nil
	}
	halves, err := shard.Uniform(m.profile, m.serving, 2, gpu.Host)
	if err != nil {
		return "", errUncut
	}
	half := max(halves.Stages[0].Footprint.Total(), halves.Stages[1].Footprint.Total())
	between := half + (whole-half)/2
	rounded := between / gpu.MiB * gpu.MiB
	switch {
	case half >= whole:
		return "", errUncut
	case rounded < half:
		return fmt.Sprintf("host:%d", between), nil
	}
	return inMiB(rounded), nil
}

func inMiB(b gpu.Bytes) string { return fmt.Sprintf("host:%dMiB", (b+gpu.MiB-1)/gpu.MiB) }
