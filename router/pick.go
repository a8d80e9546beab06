package router

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/skein-project/skein/cluster"
)

// Errors of Pick. Both come wrapped in *Unready or with the name.
var (
	ErrUnknownModel = errors.New("router: unknown model")
	ErrNoReplica    = errors.New("router: no replica is ready")
)

// Unready says that a known model has no replica for a request now, and what there is instead. It is an ErrNoReplica.
type Unready struct {
	Name     string
	Version  cluster.VersionID
	Deployed bool // false: nobody asked for it to be served
	Loading  int  // replicas that are being loaded: worth waiting for
	Lost     int  // replicas that wait to be placed anew
	Excluded int  // ready replicas that the request excludes
}

func (e *Unready) Error() string {
	switch {
	case e.Excluded > 0:
		return fmt.Sprintf("router: model %q (%s): all %d ready replicas failed this request", e.Name, e.Version, e.Excluded)
	case e.Loading > 0:
		return fmt.Sprintf("router: model %q (%s) is loading: %d replicas, none ready", e.Name, e.Version, e.Loading)
	case e.Lost > 0:
		return fmt.Sprintf("router: model %q (%s) lost its %d replicas, which are being placed anew", e.Name, e.Version, e.Lost)
	case e.Deployed:
		return fmt.Sprintf("router: model %q (%s) has no replica yet", e.Name, e.Version)
	}
	return fmt.Sprintf("router: model %q (%s) is not deployed", e.Name, e.Version)
}

// Unwrap gives ErrNoReplica.
func (e *Unready) Unwrap() error { return ErrNoReplica }

// Placed names one placement of a replica: what a request excludes after it failed there, and what load is counted by. A replica that was placed
// anew is another one.
type Placed struct {
	Replica cluster.ReplicaID
	Epoch   cluster.Epoch
}

// Placed names the route's placement.
func (r Route) Placed() Placed { return Placed{Replica: r.Replica, Epoch: r.Epoch} }

// Pick chooses a route for a name: of two replicas the one with less load (the power of two choices; Mitzenmacher, IEEE TPDS 12(10), 2001). draw is any
// number, from which the two are taken; the same table, load and draw give the same route. load says how many requests a placement has now and may be
// nil; excluded placements are left out. Errors: ErrUnknownModel, *Unready.
func Pick(t *Table, name string, load func(Placed) int, excluded []Placed, draw uint64) (Route, error) {
	c, ok := t.targets[name]
	if !ok {
		return Route{}, fmt.Errorf("%w: %.*q", ErrUnknownModel, cluster.MaxName, name)
	}
	return t.pick(name, c.target, load, excluded, draw)
}

// Pick chooses a route of a version as Pick does for a name. Errors: *Unready, also for a version that does not exist.
func (t *Table) Pick(v cluster.VersionID, load func(Placed) int, excluded []Placed, draw uint64) (Route, error) {
	return t.pick("", v, load, excluded, draw)
}

func (t *Table) pick(name string, v cluster.VersionID, load func(Placed) int, excluded []Placed, draw uint64) (Route, error) {
	d := t.versions[v]
	var room [8]int
	skip := d.positions(excluded, room[:0])
	n := len(d.routes) - len(skip)
	if n == 0 {
		return Route{}, &Unready{Name: cmp.Or(name, v.String()), Version: v, Deployed: d.deployed, Loading: d.loading, Lost: d.cut, Excluded: len(skip)}
	}
	at := int(draw % uint64(n))
	first := &d.routes[beyond(skip, at)]
	if n == 1 || load == nil {
		return *first, nil
	}
	at += int((draw/uint64(n))%uint64(n-1)) + 1 // a distance, so the two differ
	second := &d.routes[beyond(skip, at%n)]
	if load(second.Placed()) < load(first.Placed()) {
		return *second, nil
	}
	return *first, nil
}

// positions finds the routes of excluded placements, ascending, each once.
func (d *destination) positions(excluded []Placed, list []int) []int {
	for _, e := range excluded {
		i, ok := slices.BinarySearchFunc(d.routes, e, func(r Route, e Placed) int { return cmp.Compare(r.Replica.Ordinal, e.Replica.Ordinal) })
		if !ok || d.routes[i].Placed() != e {
			continue
		}
		if at, seen := slices.BinarySearch(list, i); !seen {
			list = slices.Insert(list, at, i)
		}
	}
	return list
}

// beyond is the position of the i-th route that is not skipped.
func beyond(skip []int, i int) int {
	for _, s := range skip {
		if s <= i {
			i++
		}
	}
	return i
}
