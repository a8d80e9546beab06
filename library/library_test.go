package library

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
)

// A blob goes when nothing named or touched it for as long as is kept, counted from when this member first saw that; never while it is
// named, and never in a step that is not sure.
func TestGarbage(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const keep, tidy = 10 * time.Minute, 3 * time.Minute
		g := &Garbage{Keep: keep, Tidy: tidy}
		now := time.Unix(1e9, 0)
		touched := map[byte]time.Time{}
		free := map[byte]time.Time{} // the slow way: since when a blob could go
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 200).Draw(t, "seconds")) * time.Second)
			in := Needs{Named: map[blob.Digest]bool{}, Sure: rapid.IntRange(0, 4).Draw(t, "sure") > 0}
			if rapid.IntRange(0, 3).Draw(t, "short") == 0 {
				in.Short = rapid.Int64Range(1, 30).Draw(t, "bytes")
			}
			for id := byte(0); id < 5; id++ {
				if rapid.IntRange(0, 9).Draw(t, "touch") == 0 || touched[id].IsZero() {
					touched[id] = now
				}
				d := blob.Digest{id}
				in.Blobs = append(in.Blobs, Blob{d, 10, touched[id]})
				if in.Named[d] = rapid.IntRange(0, 5).Draw(t, "named") == 0; in.Named[d] && in.Sure {
					delete(free, id)
				} else if _, known := free[id]; !known && in.Sure {
					free[id] = now
				}
				if since, ok := free[id]; ok && touched[id].After(since) && in.Sure {
					free[id] = touched[id]
				}
			}
			got := g.Step(now, in)
			if !in.Sure {
				if len(got) > 0 {
					t.Fatalf("not sure, and %v goes", got)
				}
				continue
			}
			order := slices.SortedFunc(maps.Keys(free), func(a, b byte) int {
				if c := free[a].Compare(free[b]); c != 0 {
					return c
				}
				return int(a) - int(b)
			})
			var want []blob.Digest
			for _, id := range order {
				age := now.Sub(free[id])
				if age >= keep || age >= tidy && in.Short > 0 {
					want = append(want, blob.Digest{id})
					in.Short -= 10
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%v goes, want %v", got, want)
			}
		}
	})
}

// fleet is a world of coordinators in which copies are lost.
type fleet struct {
	members []cluster.NodeID
	down    map[cluster.NodeID]bool
	has     map[cluster.NodeID]map[cluster.VersionID]bool
	record  []cluster.Version
}

func (f *fleet) view() View {
	in := View{Versions: f.record, Coordinators: f.members, Answers: map[cluster.NodeID]Answer{}}
	for _, id := range f.members {
		if f.down[id] {
			continue
		}
		a := Answer{Lacks: map[cluster.VersionID]bool{}}
		for _, v := range f.record {
			a.Lacks[v.VersionID] = !f.has[id][v.VersionID]
		}
		in.Answers[id] = a
	}
	return in
}

// Whatever is lost, orders never name a holder that lacks a version and is not told to copy it, copy only from those who have it, and
// once nothing changes any more every version that somebody has is on two coordinators that answer.
func TestHolders(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := &fleet{down: map[cluster.NodeID]bool{}, has: map[cluster.NodeID]map[cluster.VersionID]bool{}}
		for i := range rapid.IntRange(1, 5).Draw(t, "members") {
			id := cluster.NodeID(fmt.Sprintf("c%d", i))
			f.members = append(f.members, id)
			f.has[id] = map[cluster.VersionID]bool{}
		}
		for i := range rapid.IntRange(1, 4).Draw(t, "versions") {
			v := cluster.Version{VersionID: cluster.VersionID{Model: "m", Number: i + 1}, Bucket: rapid.Bool().Draw(t, "bucket")}
			v.Holders = rapid.SliceOfNDistinct(rapid.SampledFrom(f.members), min(2, len(f.members)), min(2, len(f.members)), func(id cluster.NodeID) cluster.NodeID { return id }).Draw(t, "holders")
			slices.Sort(v.Holders)
			for _, id := range v.Holders {
				f.has[id][v.VersionID] = true
			}
			f.record = append(f.record, v)
		}
		h := &Holders{Patience: time.Minute}
		now := time.Unix(1e9, 0)
		step := func() (n int) {
			now = now.Add(20 * time.Second)
			for _, o := range h.Step(now, f.view()) {
				n++
				at := slices.IndexFunc(f.record, func(v cluster.Version) bool { return v.VersionID == o.Version })
				for _, id := range o.From {
					if f.down[id] || !f.has[id][o.Version] {
						t.Fatalf("%s is to be copied from %s", o.Version, id)
					}
				}
				if o.To != "" {
					if f.down[o.To] || len(o.From) == 0 && !f.record[at].Bucket {
						t.Fatalf("%s cannot be copied to %s", o.Version, o.To)
					}
					f.has[o.To][o.Version] = true
				}
				for _, id := range o.Holders {
					if !f.down[id] && !f.has[id][o.Version] {
						t.Fatalf("%s is said to be on %s", o.Version, id)
					}
				}
				if o.Why == "" || !slices.IsSorted(o.Holders) {
					t.Fatalf("order %+v", o)
				}
				f.record[at].Holders = o.Holders
			}
			return n
		}
		for range rapid.IntRange(0, 8).Draw(t, "faults") {
			id := rapid.SampledFrom(f.members).Draw(t, "member")
			switch rapid.IntRange(0, 2).Draw(t, "fault") {
			case 0:
				f.down[id] = true
			case 1:
				f.down[id] = false
			case 2:
				f.has[id] = map[cluster.VersionID]bool{}
			}
			step()
		}
		for range 10 { // time for patience to end, and for every copy
			step()
		}
		if step() != 0 {
			t.Fatal("it never comes to rest")
		}
		up := slices.DeleteFunc(slices.Clone(f.members), func(id cluster.NodeID) bool { return f.down[id] })
		for _, v := range f.record {
			good, source := 0, v.Bucket
			for _, id := range up {
				source = source || f.has[id][v.VersionID] && slices.Contains(v.Holders, id)
				if f.has[id][v.VersionID] && slices.Contains(v.Holders, id) {
					good++
				}
			}
			if source && good < min(Copies, len(up)) {
				t.Fatalf("%s is on %d of %d coordinators that answer: %+v", v.VersionID, good, len(up), v)
			}
		}
	})
}

// A coordinator that is silent for a while is waited for.
func TestPatience(t *testing.T) {
	t.Parallel()
	v := cluster.Version{VersionID: cluster.VersionID{Model: "m", Number: 1}, Holders: []cluster.NodeID{"a", "b"}}
	view := View{Versions: []cluster.Version{v}, Coordinators: []cluster.NodeID{"a", "b", "c"}, Answers: map[cluster.NodeID]Answer{"a": {}, "c": {Lacks: map[cluster.VersionID]bool{v.VersionID: true}}}}
	h := &Holders{Patience: time.Minute}
	now := time.Unix(1e9, 0)
	for _, seconds := range []int{0, 30, 59} {
		if got := h.Step(now.Add(time.Duration(seconds)*time.Second), view); len(got) != 0 {
			t.Errorf("after %d s: %+v", seconds, got)
		}
	}
	got := h.Step(now.Add(time.Minute), view)
	if len(got) != 1 || got[0].To != "c" || !slices.Equal(got[0].From, []cluster.NodeID{"a"}) || !slices.Equal(got[0].Holders, []cluster.NodeID{"a", "b", "c"}) {
		t.Errorf("after a minute: %+v", got)
	}
}

// A list of files reads back as it was written; one that was tampered with is refused.
func TestFolder(t *testing.T) {
	t.Parallel()
	f := FolderOf("hf:a/b@c", map[string]File{"b.json": {Digest: blob.Digest{1}, Size: 5}, "a/x.json": {Size: 0}})
	b, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string) error {
		if strings.Contains(name, "..") {
			return errors.New("no")
		}
		return nil
	}
	if got, err := DecodeFolder(b, check); err != nil || !slices.Equal(got.Files, f.Files) || got.Source != f.Source {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "{}", `{"format":2,"files":[]}`, strings.Replace(string(b), "a/x.json", "../x", 1), strings.Replace(string(b), ":5}", ":-5}", 1),
		strings.Replace(string(b), "a/x.json", "c.json", 1), strings.Replace(string(b), "a/x.json", "b.json", 1), string(b) + strings.Repeat(" ", MaxFolder)} {
		if _, err := DecodeFolder([]byte(bad), check); !errors.Is(err, ErrFolder) {
			t.Errorf("%.100s: %v", bad, err)
		}
	}
}

// FuzzFolder looks for a list of files that panics, or that has a file twice.
func FuzzFolder(f *testing.F) {
	f.Add([]byte(`{"format":1,"files":[{"name":"a","digest":"` + strings.Repeat("0", 64) + `","size":1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := DecodeFolder(b, func(string) error { return nil })
		if err == nil && !slices.IsSortedFunc(got.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("%+v", got)
		}
	})
}
