package gateway

import (
	"math/rand/v2"
	"net/http"
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

// models lists the aliases that somebody may call, by name.
func (s *Server) models(who cluster.Principal) []Model {
	state := s.live.Now()
	table, _ := s.table()
	var out []Model
	for a := range state.Aliases() {
		v, ok := state.Version(a.Target)
		if !ok || !state.MayCall(who, a.Name) {
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

type modelJSON struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	Version string `json:"version"`
	Ready   int    `json:"ready_replicas"`
}

type modelsJSON struct {
	Object string      `json:"object"`
	Data   []modelJSON `json:"data"`
}

func modelOf(m Model) modelJSON {
	return modelJSON{ID: m.Name, Object: "model", Created: m.Created.Unix(), OwnedBy: "skein", Version: m.Version.String(), Ready: m.Ready}
}

func (s *Server) listModels(w http.ResponseWriter, r *http.Request) error {
	list := []modelJSON{}
	for _, m := range s.models(callOf(r.Context()).principal()) {
		list = append(list, modelOf(m))
	}
	w.(*answer).json(http.StatusOK, modelsJSON{Object: "list", Data: list})
	return nil
}

// getModel answers for every name that can be called: aliases, and versions.
func (s *Server) getModel(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("model")
	table, _ := s.table()
	target, _ := table.Target(name)
	v, err := s.callable(r.Context(), name, target)
	if err != nil {
		return err
	}
	w.(*answer).json(http.StatusOK, modelOf(Model{Name: name, Version: target, Ready: len(table.Routes(target)), Created: time.UnixMilli(int64(v.Created))}))
	return nil
}
