package backup

import (
	"encoding/json"

	"github.com/skein-project/skein/cluster"
)

// NoteID is the document that says when the cluster was backed up last.
var NoteID = cluster.DocumentID{Kind: cluster.Setting, ID: "last-backup"}

// Note is what a cluster notes of a backup of itself.
type Note struct {
	At    cluster.Millis `json:"at"`    // when it was begun
	Index cluster.Index  `json:"index"` // of the state in it
	Blobs bool           `json:"blobs"` // of models are in it
}

// Last is what is noted of the newest backup; ok is false if there was none.
func Last(s cluster.State) (n Note, ok bool) {
	d, ok := s.Document(NoteID)
	return n, ok && json.Unmarshal(d.Body, &n) == nil
}
