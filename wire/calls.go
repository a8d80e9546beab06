package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
)

// Empty is a message without content.
type Empty struct{}

// Pong answers a probe.
type Pong struct {
	ID      cluster.NodeID `json:"id"`
	Session uint64         `json:"session"` // random per start of the process

	Applied cluster.Index `json:"applied,omitempty"`    // of a coordinator: the log's newest entry that it has applied
	Contact int64         `json:"contact_ms,omitempty"` // of a coordinator: since it heard the leader; -1 = never
	Feature int           `json:"feature,omitempty"`    // of a coordinator: the highest feature level that it understands
	Results bool          `json:"results,omitempty"`    // of a coordinator: it has a store of records
	Bucket  bool          `json:"bucket,omitempty"`     // of a coordinator: it has a bucket
}

// Standing is how a coordinator stands in the log.
type Standing struct {
	Voter   bool
	Lag     int64         // entries that it has not applied yet, as of about now; −1 = it does not answer
	Contact time.Duration // since it heard the leader; negative = it does not answer, or never did
}

// ProbeNodeRequest asks another coordinator to probe a node from where it is.
type ProbeNodeRequest struct {
	Node cluster.NodeID `json:"node"`
	Addr string         `json:"addr"`
}

// ProbeNodeResponse tells whether the node answered.
type ProbeNodeResponse struct {
	Answered bool   `json:"answered"`
	Why      string `json:"why,omitempty"`
}

// FollowRequest asks for the log after an index; 0 = from a snapshot.
type FollowRequest struct {
	After cluster.Index `json:"after"`
}

// MaxPiece is how many bytes of a snapshot, or of entries beyond the first, one LogPiece carries.
const MaxPiece = 4 << 20

// LogPiece is a part of a snapshot of the state, or entries that follow what was sent before. A follower that fell behind what is kept
// gets a snapshot again.
type LogPiece struct {
	Snapshot []byte     `json:"snapshot,omitempty"`
	More     bool       `json:"more,omitempty"` // the snapshot goes on in the next piece
	Entries  []LogEntry `json:"entries,omitempty"`
	Leader   string     `json:"leader,omitempty"` // address of the leader; "" = the coordinator knows none and may be cut off
}

// LogEntry is one committed entry, as encoded in the log.
type LogEntry struct {
	Index cluster.Index `json:"index"`
	Entry []byte        `json:"entry"`
}

// ProposeRequest forwards transactions to the leader, as an encoded cluster.Envelope.
type ProposeRequest struct {
	Envelope []byte `json:"envelope"`
}

// ProposeResponse tells what became of each transaction: nil if it was applied.
type ProposeResponse struct {
	Index    cluster.Index       `json:"index"`
	Rejected []*cluster.Rejected `json:"rejected"`
}

// HoldRequest asks a coordinator to fetch blobs and keep them; it answers when it has verified all of them.
type HoldRequest struct {
	Blobs   []blob.Digest `json:"blobs"`
	Sources []string      `json:"sources"` // addresses of coordinators that have them
}

// AuditRequest asks a coordinator for audit records by number, both ends included.
type AuditRequest struct {
	From  uint64 `json:"from"`
	Until uint64 `json:"until"`
}

// Observed is what nodes and gateways told the leader lately: it passes that on, so that whoever leads next has measured too.
type Observed struct {
	Demand   []cluster.Demand         `json:"demand,omitempty"`
	Nodes    []Sight                  `json:"nodes,omitempty"`
	Gateways map[cluster.NodeID]int64 `json:"gateways,omitempty"` // milliseconds since each was heard

	Upkeep map[cluster.NodeID]cluster.Upkeep `json:"upkeep,omitempty"` // of coordinators and stand-alone gateways
	Spools map[cluster.NodeID]cluster.Spool  `json:"spools,omitempty"` // of gateways
}

// ObserveResponse is what a coordinator says of itself to the leader.
type ObserveResponse struct {
	Upkeep cluster.Upkeep `json:"upkeep,omitzero"`
}

// Sight is the newest report of a node, without what it holds.
type Sight struct {
	Report cluster.Report `json:"report"`
	Age    int64          `json:"age_ms"`
}

// AuditPiece is whole lines of the audit log.
type AuditPiece struct {
	Lines []byte `json:"lines"`
}

// LackingRequest asks a coordinator which of some blobs it does not have whole.
type LackingRequest struct {
	Blobs []blob.Digest `json:"blobs"`
}

// LackingResponse names them.
type LackingResponse struct {
	Blobs []blob.Digest `json:"blobs"`
}

// BlobRequest names a blob, or a chunk of one.
type BlobRequest struct {
	Digest blob.Digest `json:"digest"`
	Chunk  int         `json:"chunk"`
}

// BlobSource is where a member's blobs are: a store on disk on coordinators and nodes.
type BlobSource interface {
	// Index describes a blob, whole or in part; blob.ErrUnknown if nothing is known of it.
	Index(d blob.Digest) (blob.Index, error)
	// ReadChunk reads a verified chunk; blob.ErrUnknown if it is not here.
	ReadChunk(d blob.Digest, chunk int) ([]byte, error)
}

// HandleBlobs lets other members read from a source, and counts the bytes of chunks that it gave.
func HandleBlobs(m *Mux, src BlobSource, served *atomic.Int64) {
	Handle(m, BlobIndex, func(_ context.Context, r *BlobRequest) (*blob.Index, error) {
		x, err := src.Index(r.Digest)
		return &x, notHere(err)
	})
	m.handle(BlobChunk, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req BlobRequest
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<10)).Decode(&req); err != nil {
			http.Error(w, "malformed request", http.StatusBadRequest)
			return
		}
		b, err := src.ReadChunk(req.Digest, req.Chunk)
		if err != nil {
			status := http.StatusInternalServerError
			if errors.Is(err, blob.ErrUnknown) {
				status = http.StatusNotFound
			}
			http.Error(w, err.Error(), status)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		n, _ := w.Write(b) // who asked is told by the missing bytes
		served.Add(int64(n))
	}))
}

func notHere(err error) error {
	if errors.Is(err, blob.ErrUnknown) {
		return &Refused{Code: connect.CodeNotFound, Why: err.Error()}
	}
	return err
}

// FetchIndex asks the member at addr for the index of a blob, and verifies it against its name.
func FetchIndex(ctx context.Context, d *Dialer, addr string, digest blob.Digest) (blob.Index, error) {
	ctx, cancel := context.WithTimeout(ctx, chunkWait)
	defer cancel()
	x, err := Call[BlobRequest, blob.Index](ctx, d, AnyRole, addr, BlobIndex, &BlobRequest{Digest: digest})
	if err != nil {
		return blob.Index{}, err
	}
	if err := x.Validate(); err != nil {
		return blob.Index{}, err
	}
	if x.Digest() != digest {
		return blob.Index{}, fmt.Errorf("%w: index of %s from %s", blob.ErrCorrupt, digest.Short(), addr)
	}
	return *x, nil
}

// FetchChunk reads one chunk from the member at addr and verifies it.
func FetchChunk(ctx context.Context, d *Dialer, addr string, x blob.Index, chunk int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, chunkWait)
	defer cancel()
	body, err := json.Marshal(BlobRequest{Digest: x.Digest(), Chunk: chunk})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+string(BlobChunk), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := d.http[AnyRole].Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch chunk %d of %s: %w", chunk, x.Digest().Short(), err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, fmt.Errorf("%w: chunk %d of %s at %s", blob.ErrUnknown, chunk, x.Digest().Short(), addr)
	default:
		return nil, fmt.Errorf("fetch chunk %d of %s from %s: %s", chunk, x.Digest().Short(), addr, res.Status)
	}
	b := make([]byte, x.ChunkLen(chunk))
	if _, err := io.ReadFull(res.Body, b); err != nil {
		return nil, fmt.Errorf("fetch chunk %d of %s from %s: %w", chunk, x.Digest().Short(), addr, err)
	}
	return b, x.Check(chunk, b)
}
