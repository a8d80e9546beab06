package hub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/skein-project/skein/blob"
)

// Sink keeps what is pulled.
type Sink interface {
	// Receive stores size bytes from elsewhere; see blob/disk.
	Receive(ctx context.Context, key string, size int64, open func(ctx context.Context, off int64) (io.ReadCloser, error), c blob.Claim) (blob.Index, error)
	// Import stores what r yields, which must be size bytes.
	Import(ctx context.Context, r io.Reader, size int64) (blob.Index, error)
	// Scratch makes a file that is no blob.
	Scratch(size int64) (blob.Scratch, error)
}

// Rules say which files a model has.
type Rules struct {
	Name   func(name string) error                // refuses a name that no file of a model may have
	Select func(names []string) ([]string, error) // chooses the files that are needed, or refuses all
}

// Progress is how far a pull is.
type Progress struct {
	Step       string // what else is being done, for people; "" while a file is fetched
	File       string
	Here, Size int64 // bytes of the file
	Done, All  int64 // bytes of all that is pulled, as far as it is known
}

// Pulled is a model that is here.
type Pulled struct {
	Source string                 // with its revision pinned
	Files  map[string]blob.Digest // by name
}

// pull is one under way.
type pull struct {
	src      Source
	sink     Sink
	rules    Rules
	tell     func(Progress)
	progress Progress
	files    map[string]blob.Digest
}

// Pull brings the files that a model needs from a source into a sink. What a cut pull brought is not fetched again. progress is told
// from the caller's goroutine. Errors: *Lied, *Status, those of the rules, of the sink, and of the network.
func Pull(ctx context.Context, src Source, sink Sink, rules Rules, progress func(Progress)) (Pulled, error) {
	p := &pull{src: src, sink: sink, rules: rules, tell: progress, files: map[string]blob.Digest{}}
	list, err := src.List(ctx)
	if err != nil {
		return Pulled{}, err
	}
	plain, packed, err := p.sort(list)
	if err != nil {
		return Pulled{}, err
	}
	for _, f := range packed {
		if err := p.unpack(ctx, f); err != nil {
			return Pulled{}, err
		}
	}
	names := slices.Sorted(maps.Keys(plain))
	for name := range p.files {
		if _, twice := plain[name]; twice {
			return Pulled{}, &Lied{src.String(), name, "is there as a file and in an archive"}
		}
		names = append(names, name)
	}
	if names, err = rules.Select(names); err != nil {
		return Pulled{}, err
	}
	for _, name := range names {
		if f, ok := plain[name]; ok {
			p.progress.All += f.Size
		}
	}
	out := Pulled{Source: src.String(), Files: map[string]blob.Digest{}}
	for _, name := range names {
		if f, ok := plain[name]; ok {
			if err := p.fetch(ctx, f); err != nil {
				return Pulled{}, err
			}
		}
		out.Files[name] = p.files[name]
	}
	return out, nil
}

// sort checks a list of files, and divides it into files by name, and archives.
func (p *pull) sort(list []File) (plain map[string]File, packed []File, err error) {
	lied := func(file, format string, args ...any) error {
		return &Lied{p.src.String(), file, fmt.Sprintf(format, args...)}
	}
	if len(list) > MaxFiles {
		return nil, nil, lied("", "has %d files, limit %d", len(list), MaxFiles)
	}
	plain = map[string]File{}
	for _, f := range list {
		if f.Size < 0 || f.Size > blob.MaxSize {
			return nil, nil, lied(f.Name, "has %d bytes, limit %d", f.Size, int64(blob.MaxSize))
		}
		if f.Packed != "" {
			packed = append(packed, f)
			p.progress.All += f.Size
			continue
		}
		if _, twice := plain[f.Name]; twice {
			return nil, nil, lied(f.Name, "is listed twice")
		}
		plain[f.Name] = f
	}
	return plain, packed, nil
}

// isWeights says that a file may be large.
func isWeights(name string) bool { return strings.HasSuffix(name, ".safetensors") }

// mayMatter says whether a file of an archive is kept until it is known which ones are needed.
func mayMatter(name string, size int64) bool {
	return isWeights(name) || size <= MaxSmall && (strings.HasSuffix(name, ".json") || strings.HasSuffix(name, ".txt") || strings.HasSuffix(name, ".jinja"))
}

// fetch brings one file into the sink.
func (p *pull) fetch(ctx context.Context, f File) error {
	if !isWeights(f.Name) && f.Size > MaxSmall {
		return &Lied{p.src.String(), f.Name, fmt.Sprintf("has %d bytes, limit %d for what is no weights", f.Size, MaxSmall)}
	}
	key := fmt.Sprintf("%s\n%s\n%d\n%s:%s\n%s", p.src, f.Name, f.Size, f.Sum.Kind, f.Sum.Hex, f.Tag)
	if (f.Sum == Sum{}) && f.Tag == "" {
		key += rand.Text() // what is there under this name the next time may be something else
	}
	body := new(steady)
	x, err := p.sink.Receive(ctx, key, f.Size, func(ctx context.Context, off int64) (_ io.ReadCloser, err error) {
		body, err = steadily(ctx, p.src, f, off)
		return body, err
	}, newClaim(p.src.String(), f, p.count(f)))
	if body.at > f.Size {
		return &Lied{p.src.String(), f.Name, fmt.Sprintf("goes on after the %d bytes that were announced", f.Size)}
	}
	if err != nil {
		return p.named(f, err)
	}
	p.files[f.Name] = x.Digest()
	return nil
}

// named adds which file an error is about.
func (p *pull) named(f File, err error) error {
	var lied *Lied
	if err == nil || errors.As(err, &lied) && lied.File != "" {
		return err
	}
	return fmt.Errorf("pull %q of %s: %w", f.Name, p.src, err)
}

// count makes a function that counts a file's bytes as they come.
func (p *pull) count(f File) func(int) {
	p.progress.File, p.progress.Here, p.progress.Size = f.Name, 0, f.Size
	p.tell(p.progress)
	return func(n int) {
		p.progress.Here += int64(n)
		p.progress.Done += int64(n)
		p.tell(p.progress)
	}
}
