// Package router chooses the replica that serves a request.
package router

import (
	"slices"

	"github.com/skein-project/skein/cluster"
)

// Route is one replica that answers requests now.
type Route struct {
	Replica   cluster.ReplicaID
	Epoch     cluster.Epoch // what the workers compare: a route of an older epoch is refused there
	Endpoints []string      // host:port of the worker of each stage; requests go to the first, the head
}

// Head is the endpoint that requests are sent to.
func (r Route) Head() string { return r.Endpoints[0] }

// Table maps the names that clients call to routes. It is derived from one state and never changes, so that readers share a pointer and a
// moved alias is seen by every request at once or not at all.
type Table struct {
	of       cluster.Routing
	targets  map[string]choice                 // aliases, and every version by its own name
	versions map[cluster.VersionID]destination // what answers
}

type destination struct {
	routes   []Route // by ordinal
	loading  int     // placed, not ready yet
	cut      int     // ready, but a node of theirs is lost
	deployed bool
}

// TableOf derives the table of a state: ready replicas of which no node is lost. Stopping and loading ones have no route.
func TableOf(s cluster.State) *Table {
	t := &Table{of: s.Routing(), targets: map[string]choice{}, versions: map[cluster.VersionID]destination{}}
	for v := range s.Versions() {
		t.targets[v.VersionID.String()] = choice{target: v.VersionID}
		t.versions[v.VersionID] = destinationOf(s, v.VersionID)
	}
	for a := range s.Aliases() {
		t.targets[a.Name] = choiceOf(a)
	}
	return t
}

func destinationOf(s cluster.State, v cluster.VersionID) destination {
	var d destination
	_, d.deployed = s.Deployment(v)
	for r := range s.ReplicasOf(v) {
		switch {
		case s.Routable(r):
			route := Route{Replica: r.ReplicaID, Epoch: r.Epoch}
			for _, st := range r.Stages {
				route.Endpoints = append(route.Endpoints, st.Endpoint)
			}
			d.routes = append(d.routes, route)
		case r.Status == cluster.Loading:
			d.loading++
		case r.Status == cluster.Ready:
			d.cut++
		}
	}
	return d
}

// Shows says that nothing which the table is derived from differs in a state, so that TableOf would give the same table.
func (t *Table) Shows(s cluster.State) bool { return t.of == s.Routing() }

// Names lists what clients can call, sorted.
func (t *Table) Names() []string {
	names := make([]string, 0, len(t.targets))
	for name := range t.targets {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Target is the version that a name means, canaries apart.
func (t *Table) Target(name string) (cluster.VersionID, bool) {
	c, ok := t.targets[name]
	return c.target, ok
}

// Routes lists the routes of a version by ordinal. The slice is shared and must not be written to.
func (t *Table) Routes(v cluster.VersionID) []Route { return t.versions[v].routes }
