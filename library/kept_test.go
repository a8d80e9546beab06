package library

import (
	"testing"

	"github.com/skein-project/skein/cluster"
)

// A copy counts where its coordinator answers and was asked; a bucket is enough by itself.
func TestKept(t *testing.T) {
	v := cluster.Version{VersionID: cluster.VersionID{Model: "calc", Number: 1}}
	has := Answer{Lacks: map[cluster.VersionID]bool{v.VersionID: false}}
	lacks := Answer{Lacks: map[cluster.VersionID]bool{v.VersionID: true}}
	three := []cluster.NodeID{"c1", "c2", "c3"}
	for _, c := range []struct {
		name   string
		in     View
		bucket bool
		want   Kept
	}{
		{"all have it", View{Coordinators: three, Answers: map[cluster.NodeID]Answer{"c1": has, "c2": has, "c3": has}}, false, Kept{3, 2}},
		{"one is silent, one lost it", View{Coordinators: three, Answers: map[cluster.NodeID]Answer{"c1": has, "c2": lacks}}, false, Kept{1, 2}},
		{"only the bucket has it", View{Coordinators: three, Answers: map[cluster.NodeID]Answer{"c1": lacks}}, true, Kept{0, 0}},
		{"nobody knows its blobs", View{Coordinators: three, Answers: map[cluster.NodeID]Answer{"c1": {}, "c2": {}}}, false, Kept{0, 2}},
		{"there is one coordinator", View{Coordinators: three[:1], Answers: map[cluster.NodeID]Answer{"c1": has}}, false, Kept{1, 1}},
	} {
		v.Bucket = c.bucket
		if got := c.in.Kept(v); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}
