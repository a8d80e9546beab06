// Package kept reads and writes what the truth keeps for alerting: rules, silences, receivers and incidents, as documents.
package kept

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/skein-project/skein/alert"
	"github.com/skein-project/skein/alert/defaults"
	"github.com/skein-project/skein/cluster"
)

// Read decodes a document's body.
func Read[T any](d cluster.Document) (v T, err error) {
	if err := json.Unmarshal(d.Body, &v); err != nil {
		return v, fmt.Errorf("read %s: %w", d.DocumentID, err)
	}
	return v, nil
}

// Document makes a document of a value.
func Document(k cluster.Kind, id string, v any) (cluster.Document, error) {
	body, err := json.Marshal(v)
	return cluster.Document{DocumentID: cluster.DocumentID{Kind: k, ID: id}, Body: body}, err
}

// Rules are the rules in force by id: the default ones, unless one of the same id replaces them, and the others.
func Rules(own []alert.Rule) []alert.Rule {
	all := defaults.Rules()
	for _, r := range own {
		if i := slices.IndexFunc(all, func(d alert.Rule) bool { return d.ID == r.ID }); i >= 0 {
			all[i] = r
			continue
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b alert.Rule) int { return strings.Compare(a.ID, b.ID) })
	return all
}
