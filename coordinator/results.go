package coordinator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/results"
	"github.com/skein-project/skein/results/postgres"
	"github.com/skein-project/skein/results/sqlite"
	"github.com/skein-project/skein/results/sqlstore"
	"github.com/skein-project/skein/wire"
)

const (
	resultsFile = "results.db"     // in the data directory
	useSQLite   = "sqlite"         // as Config.Results
	purgeEvery  = 10 * time.Minute // that old records are deleted
	storeWait   = 20 * time.Second // for the database to take records
	holderFresh = 5 * time.Second  // that it is remembered which coordinator has a store
)

// openResults opens the store of records, if this coordinator is to have one. The database need not answer yet.
func (s *Server) openResults() (err error) {
	switch {
	case s.cfg.Results == "":
	case s.cfg.Results == useSQLite:
		s.results, err = sqlite.Open(filepath.Join(s.cfg.Dir, resultsFile))
	default:
		s.results, err = postgres.Open(s.cfg.Results)
	}
	return err
}

// validResults checks where records are to be kept.
func validResults(where string) error {
	if where == "" || where == useSQLite || strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "postgresql://") {
		return nil
	}
	return errors.New("results: want sqlite, or postgres://USER@HOST/DATABASE")
}

// Results is the store of records; nil if this coordinator has none.
func (s *Server) Results() *sqlstore.Store { return s.results }

// Bucketed says that the cluster has a bucket, where records can go.
func (s *Server) Bucketed() bool { return s.bucket != nil }

// keepRecords answers wire.Keep.
func (s *Server) keepRecords(ctx context.Context, r *wire.KeepRequest) (*wire.KeepResponse, error) {
	holder, err := s.keeper(ctx, r)
	if err != nil {
		return nil, err
	}
	if holder != "" {
		return nil, &wire.Refused{Code: connect.CodeUnavailable, Why: "another coordinator keeps records", Addr: holder}
	}
	return s.keepHere(ctx, r)
}

// keeper is the other coordinator that can keep records; "" = this one. A gateway sends those of one destination together, so the last one tells
// where they go.
func (s *Server) keeper(ctx context.Context, r *wire.KeepRequest) (addr string, err error) {
	var last struct{ To results.Destination }
	if n := len(r.Records); n > 0 {
		_ = json.Unmarshal(r.Records[n-1], &last) // one that is malformed goes nowhere
	}
	bucket := last.To == results.Bucket
	if s.results != nil && (!bucket || s.bucket != nil) {
		return "", nil
	}
	switch addr = s.holders.find(ctx, s, bucket); {
	case addr == "" && bucket:
		return "", errNoBucket
	case addr == "":
		return "", errNoResults
	}
	return addr, nil
}

// errNoResults says that records go nowhere.
var errNoResults = &wire.Refused{Code: connect.CodeFailedPrecondition, Why: "no coordinator keeps records of requests: set results to sqlite or to a PostgreSQL database on one"}

// errNoBucket says that records have no bucket to go to.
var errNoBucket = &wire.Refused{Code: connect.CodeFailedPrecondition, Why: "a policy sends records to the bucket, and no coordinator that keeps records has one: set bucket on one"}

// Keep keeps records of the gateway of this process, here or at another coordinator.
func (s *Server) Keep(ctx context.Context, r *wire.KeepRequest) (*wire.KeepResponse, error) {
	holder, err := s.keeper(ctx, r)
	if err != nil {
		return nil, err
	}
	if holder == "" {
		return s.keepHere(ctx, r)
	}
	res, err := wire.Call[wire.KeepRequest, wire.KeepResponse](ctx, s.dialer, cluster.RoleCoordinator, holder, wire.Keep, r)
	if err != nil {
		s.holders.forget()
	}
	return res, err
}

// keepHere stores records. It answers when they are safe.
func (s *Server) keepHere(ctx context.Context, r *wire.KeepRequest) (*wire.KeepResponse, error) {
	if len(r.Records) > wire.MaxKeep {
		return nil, &wire.Refused{Code: connect.CodeInvalidArgument, Why: fmt.Sprintf("%d records, at most %d are allowed", len(r.Records), wire.MaxKeep)}
	}
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	res := &wire.KeepResponse{}
	var list, objects []results.Record
	for _, b := range r.Records {
		record, err := results.Decode(b)
		if err != nil {
			s.log.Warn("a record is refused", "from", wire.Peer(ctx).ID, "err", err)
			res.Refused++
			continue
		}
		if record.To == results.Bucket {
			objects = append(objects, record)
		} else {
			list = append(list, record)
		}
	}
	_, refused, err := s.results.Append(ctx, list)
	if res.Refused += refused; err == nil {
		err = s.toObjects(ctx, objects)
	}
	if err != nil {
		return nil, &wire.Refused{Code: connect.CodeUnavailable, Why: err.Error()}
	}
	return res, nil
}

// toObjects writes records to the bucket, those of each tenant, model and day in an object of JSON lines that is named by its content: the same
// records make the same object again.
func (s *Server) toObjects(ctx context.Context, list []results.Record) error {
	if len(list) == 0 {
		return nil
	}
	if s.bucket == nil {
		return errNoBucket
	}
	folders, lines := []string{}, map[string][]byte{}
	for _, r := range list {
		folder := results.Folder(r)
		if lines[folder] == nil {
			folders = append(folders, folder)
		}
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		lines[folder] = append(append(lines[folder], b...), '\n')
	}
	for _, folder := range folders {
		sum := sha256.Sum256(lines[folder])
		if err := s.bucket.PutObject(ctx, folder+hex.EncodeToString(sum[:])+".ndjson", "application/x-ndjson", lines[folder]); err != nil {
			return err
		}
	}
	return nil
}

// purge deletes old records until ctx ends.
func (s *Server) purge(ctx context.Context) {
	if s.results == nil {
		return
	}
	for s.wait(ctx, purgeEvery) {
		if err := s.PurgeResults(ctx); err != nil {
			s.log.Warn("old records are not deleted", "err", err)
		}
	}
}

// PurgeResults deletes the records whose time is over, by the policies in force. What is over is told by the time of the log too: a coordinator whose
// own clock has jumped ahead deletes nothing early.
func (s *Server) PurgeResults(ctx context.Context) error {
	rules, state := results.Rules{}, s.live.Now()
	for d := range state.Documents(cluster.KeepPolicy) {
		var p results.Policy
		if err := json.Unmarshal(d.Body, &p); err != nil {
			return fmt.Errorf("coordinator: policy %s: %w", d.ID, err)
		}
		rules[d.ID] = results.Rule{Policy: p}
	}
	gone, err := s.results.Purge(ctx, int64(min(s.now(), state.At())), rules)
	if gone > 0 {
		s.log.Info("old records are deleted", "records", gone)
	}
	return err
}

// holders remembers which other coordinators have a store, and which of them have a bucket too.
type holders struct {
	mu            sync.Mutex
	addr, buckets string
	asked         time.Time
}

// find asks the other coordinators who has a store, with a bucket or with whatever else; "" = nobody that answers.
func (h *holders) find(ctx context.Context, s *Server, bucket bool) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.asked) >= holderFresh {
		h.ask(ctx, s)
	}
	if bucket {
		return h.buckets
	}
	return h.addr
}

// ask asks them. The caller holds the lock.
func (h *holders) ask(ctx context.Context, s *Server) {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	var mu sync.Mutex
	var asked sync.WaitGroup
	found := map[string]*wire.Pong{}
	for _, m := range s.others() {
		asked.Go(func() {
			pong, err := wire.Call[wire.Empty, wire.Pong](ctx, s.dialer, cluster.RoleCoordinator, m.Addr, wire.Ping, &wire.Empty{})
			if err == nil && pong.ID == m.ID && pong.Results {
				mu.Lock()
				found[m.Addr] = pong
				mu.Unlock()
			}
		})
	}
	asked.Wait()
	h.addr, h.buckets, h.asked = "", "", time.Now()
	for _, m := range s.others() { // by id: always the same one of several
		pong := found[m.Addr]
		if pong == nil {
			continue
		}
		if h.addr == "" {
			h.addr = m.Addr
		}
		if pong.Bucket && h.buckets == "" {
			h.buckets = m.Addr
		}
	}
}

func (h *holders) forget() {
	h.mu.Lock()
	h.asked = time.Time{}
	h.mu.Unlock()
}

// ToResults passes a request of the operator's API on to a coordinator that keeps records, or to the leader if none does.
func (s *Server) ToResults() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := s.holders.find(r.Context(), s, false)
		if to == "" {
			to = s.Leader()
		}
		wire.Forwarder(s.dialer, func() string { return to }).ServeHTTP(w, r)
	})
}
