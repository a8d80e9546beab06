package gateway

import (
	"math/rand/v2"
	"time"

	"github.com/skein-project/skein/cluster"
)

// Model is a name that clients can call.
type Model struct {
	Name    string
	Version cluster.VersionID
	Tasks   []string
	Ready   int // replicas that answer now
	Created time.Time
}

// models lists the aliases by name.
func (s *Server) models() []Model {
	state := s.live.Now()
	table, _ := s.table()
	var out []Model
	for a := range state.Aliases() {
		v, ok := state.Version(a.Target)
		if !ok {
			continue
		}
		out = append(out, Model{Name: a.Name, Version: a.Target, Tasks: v.Tasks, Ready: len(table.Routes(a.Target)), Created: time.UnixMilli(int64(v.Created))})
	}
	return out
}

// freshSeed is the seed that was asked for, or a random one. It is chosen here, once, so that a stream that moves to another
// replica goes on with the same one.
func freshSeed(seed *uint64) uint64 {
	if seed != nil {
		return *seed
	}
	return rand.Uint64()
}
