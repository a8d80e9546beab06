package wire

import (
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
)

// DepositRequest brings the bytes of a small blob to a coordinator, at most blob.ChunkSize.
type DepositRequest struct {
	Data []byte `json:"data"`
}

// DepositResponse names the blob.
type DepositResponse struct {
	Digest blob.Digest `json:"digest"`
}

// CommitRequest changes documents of files and batches in one transaction, once blobs are on as many coordinators as there should be.
type CommitRequest struct {
	Blobs  []blob.Digest            `json:"blobs,omitempty"` // that the documents name anew
	Put    []cluster.PutDocument    `json:"put,omitempty"`
	Delete []cluster.DeleteDocument `json:"delete,omitempty"`
	Secret string                   `json:"secret,omitempty"` // id of a batch whose callbacks are to be signed
}

// CommitResponse says what became of it.
type CommitResponse struct {
	Index    cluster.Index     `json:"index"` // a state of at least this shows it
	Rejected *cluster.Rejected `json:"rejected,omitempty"`
	Secret   string            `json:"secret,omitempty"`
}

// MaxCommit bounds the documents, and the blobs, of a CommitRequest.
const MaxCommit = 512
