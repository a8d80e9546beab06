package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/job"
	"github.com/skein-project/skein/wire"
)

// Bounds of files beside those of Config.
const (
	fileFeature = 3 // level of files and batches
	commitWait  = time.Minute
)

// Depot is where files, batches and responses are kept: the coordinators, wherever they are.
type Depot interface {
	// PutBox, GetBox and DropBox keep a sealed response, find it, and forget it.
	PutBox(ctx context.Context, r *wire.PutBoxRequest) (*wire.Empty, error)
	GetBox(ctx context.Context, r *wire.BoxRequest) (*wire.BoxResponse, error)
	DropBox(ctx context.Context, r *wire.BoxRequest) (*wire.BoxResponse, error)
	// Deposit keeps the bytes of a small blob, which goes again unless a document soon names it.
	Deposit(ctx context.Context, data []byte) (blob.Digest, error)
	// Commit changes documents of files and batches; the state that the gateway follows shows it then.
	Commit(ctx context.Context, r *wire.CommitRequest) (*wire.CommitResponse, error)
}

// fileJSON is a file, as the OpenAI API has it.
type fileJSON struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Bytes   int64  `json:"bytes"`
	Created int64  `json:"created_at"` // seconds
	Expires int64  `json:"expires_at"`
	Name    string `json:"filename"`
	Purpose string `json:"purpose"`
	Status  string `json:"status"`
}

func fileOf(f job.File) fileJSON {
	return fileJSON{f.ID, "file", f.Bytes, seconds(f.Created), seconds(f.Expires), f.Name, f.Purpose, "processed"}
}

func seconds(m cluster.Millis) int64 { return int64(m) / 1000 }

// filesJSON is a page of files.
type filesJSON struct {
	Object  string     `json:"object"`
	Data    []fileJSON `json:"data"`
	FirstID *string    `json:"first_id"`
	LastID  *string    `json:"last_id"`
	HasMore bool       `json:"has_more"`
}

// depot is where files are kept, if this process can reach it.
func (s *Server) depot() (Depot, error) {
	b := s.batching.Load()
	switch {
	case b == nil:
		return nil, &Error{Fault: FaultUnavailable, Why: "this gateway keeps no files"}
	case s.live.Now().Cluster().Feature < fileFeature:
		return nil, &Error{Fault: FaultUnsupported, Why: fmt.Sprintf("files and batches need feature level %d: upgrade all coordinators first", fileFeature)}
	}
	return b.Depot, nil
}

// documentOf is the document of something that belongs to whoever asks.
func documentOf(ctx context.Context, k cluster.Kind, id string) cluster.DocumentID {
	return cluster.DocumentID{Kind: k, ID: callOf(ctx).principal().Tenant + "/" + id}
}

// sees says whether whoever asks finds what belongs to an application: an application its own, the tenant all.
func sees(who cluster.Principal, app string) bool { return who.App == "" || who.App == app }

func absentFile(param, id string) error {
	return &httpError{http.StatusNotFound, &Error{Fault: FaultInvalid, Param: param, Why: fmt.Sprintf("there is no file %.80q", id)}}
}

// file finds a file of whoever asks.
func (s *Server) file(ctx context.Context, param, id string) (job.File, cluster.Document, error) {
	d, ok := s.live.Now().Document(documentOf(ctx, cluster.File, id))
	if !ok {
		return job.File{}, d, absentFile(param, id)
	}
	f, err := job.DecodeFile(d)
	if err == nil && !sees(callOf(ctx).principal(), f.App) {
		err = absentFile(param, id)
	}
	return f, d, err
}

// files lists the files of a tenant, the newest first.
func (s *Server) files(tenant string) (list []job.File) {
	for d := range s.live.Now().DocumentsUnder(cluster.File, tenant+"/") {
		if f, err := job.DecodeFile(d); err == nil {
			list = append(list, f)
		}
	}
	slices.SortStableFunc(list, func(a, b job.File) int { return cmp.Or(cmp.Compare(b.Created, a.Created), cmp.Compare(b.ID, a.ID)) })
	return list
}

// uploadFile answers POST /v1/files.
func (s *Server) uploadFile(w http.ResponseWriter, r *http.Request) error {
	depot, err := s.depot()
	if err != nil {
		return err
	}
	who := callOf(r.Context()).principal()
	if err := s.roomForFile(who.Tenant, max(r.ContentLength, 0)-formRoom); err != nil {
		return err
	}
	leave, err := s.uploads.enter(who.Tenant)
	if err != nil {
		return err
	}
	defer leave()
	u, err := s.receive(r)
	defer u.close()
	if err != nil {
		return err
	}
	if err := s.roomForFile(who.Tenant, u.bytes); err != nil {
		return err
	}
	now := cluster.Millis(time.Now().UnixMilli())
	keep := s.cfg.FilesFor.Milliseconds()
	if u.keep > 0 {
		keep = u.keep * 1000
	}
	f := job.File{ID: timedID("file-", now), App: who.App, Name: u.name, Purpose: u.purpose, Bytes: u.bytes, Created: now, Expires: now + cluster.Millis(keep)}
	if f.Parts, err = deposit(r.Context(), depot, u.file); err != nil {
		return err
	}
	body, err := json.Marshal(f)
	if err != nil {
		return err
	}
	put := cluster.PutDocument{Document: cluster.Document{DocumentID: documentOf(r.Context(), cluster.File, f.ID), Body: body, Size: f.Bytes},
		Room: &cluster.Room{Documents: s.cfg.MaxFiles, Size: s.cfg.MaxFileBytes}}
	if _, err := commit(r.Context(), depot, &wire.CommitRequest{Blobs: digests(f.Parts), Put: []cluster.PutDocument{put}}); err != nil {
		return err
	}
	w.(*answer).json(http.StatusOK, fileOf(f))
	return nil
}

// roomForFile refuses a file that a tenant may not have beside those that it has, before it comes. Of files that come at the same time the
// truth decides.
func (s *Server) roomForFile(tenant string, more int64) error {
	var bytes int64
	list := s.files(tenant)
	for _, f := range list {
		bytes += f.Bytes
	}
	switch {
	case len(list) >= s.cfg.MaxFiles:
		return &Error{Fault: FaultInvalid, Why: fmt.Sprintf("there are %d files already, at most %d are kept: delete some", len(list), s.cfg.MaxFiles)}
	case more > 0 && bytes+more > s.cfg.MaxFileBytes:
		return &Error{Fault: FaultInvalid, Why: fmt.Sprintf("files have %d bytes already, and at most %d are kept: delete some", bytes, s.cfg.MaxFileBytes)}
	}
	return nil
}

// deposit brings a file to where it is kept, part by part.
func deposit(ctx context.Context, to Depot, r io.Reader) (parts []job.Part, err error) {
	buf := make([]byte, blob.ChunkSize)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			d, failed := to.Deposit(ctx, buf[:n])
			if failed != nil {
				return nil, unavailable(failed)
			}
			parts = append(parts, job.Part{Digest: d, Bytes: int64(n)})
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return parts, nil
		case err != nil:
			return nil, fmt.Errorf("read a file that came: %w", err)
		}
	}
}

func digests(parts []job.Part) []blob.Digest {
	out := make([]blob.Digest, len(parts))
	for i, p := range parts {
		out[i] = p.Digest
	}
	return out
}

// unavailable is what a client is told where coordinators do not take something.
func unavailable(err error) error {
	var refused *wire.Refused
	if errors.As(err, &refused) {
		return &Error{Fault: FaultUnavailable, Why: "no coordinator takes it: " + refused.Why}
	}
	return &Error{Fault: FaultUnavailable, Why: "no coordinator answers"}
}

// commit makes a change that nobody else makes. A change of something new that was made already is what was wanted: ids are given once.
func commit(ctx context.Context, to Depot, r *wire.CommitRequest) (*wire.CommitResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, commitWait)
	defer cancel()
	res, err := to.Commit(ctx, r)
	switch {
	case err != nil:
		return nil, unavailable(err)
	case res.Rejected == nil || res.Rejected.Reason == cluster.ReasonExists:
		return res, nil
	case res.Rejected.Reason == cluster.ReasonRoom:
		return nil, &Error{Fault: FaultInvalid, Why: res.Rejected.Why + ": delete some"}
	case res.Rejected.Reason == cluster.ReasonLimit:
		return nil, &Error{Fault: FaultBusy, Why: "the cluster keeps no more of them: " + res.Rejected.Why}
	case res.Rejected.Reason == cluster.ReasonStale, res.Rejected.Reason == cluster.ReasonNotFound:
		return nil, &httpError{http.StatusConflict, &Error{Fault: FaultInvalid, Why: "somebody else changed it just now"}}
	}
	return nil, res.Rejected
}

// listFiles answers GET /v1/files.
func (s *Server) listFiles(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.depot(); err != nil {
		return err
	}
	who, purpose := callOf(r.Context()).principal(), r.URL.Query().Get("purpose")
	var list []job.File
	for _, f := range s.files(who.Tenant) {
		if sees(who, f.App) && (purpose == "" || f.Purpose == purpose) {
			list = append(list, f)
		}
	}
	list, more, err := page(r, list, func(f job.File) (string, cluster.Millis) { return f.ID, f.Created }, 10_000, 10_000)
	if err != nil {
		return err
	}
	out := filesJSON{Object: "list", Data: []fileJSON{}, HasMore: more}
	for _, f := range list {
		out.Data = append(out.Data, fileOf(f))
	}
	if n := len(list); n > 0 {
		out.FirstID, out.LastID = &list[0].ID, &list[n-1].ID
	}
	w.(*answer).json(http.StatusOK, out)
	return nil
}

// getFile answers GET /v1/files/{file}.
func (s *Server) getFile(w http.ResponseWriter, r *http.Request) error {
	f, _, err := s.file(r.Context(), "file_id", r.PathValue("file"))
	if err != nil {
		return err
	}
	w.(*answer).json(http.StatusOK, fileOf(f))
	return nil
}

// deleteFile answers DELETE /v1/files/{file}.
func (s *Server) deleteFile(w http.ResponseWriter, r *http.Request) error {
	depot, err := s.depot()
	if err != nil {
		return err
	}
	f, d, err := s.file(r.Context(), "file_id", r.PathValue("file"))
	if err != nil {
		return err
	}
	for _, b := range s.batches(callOf(r.Context()).principal().Tenant) {
		if b.Input == f.ID && !b.Status.Over() {
			return &httpError{http.StatusConflict, &Error{Fault: FaultInvalid, Param: "file_id", Why: fmt.Sprintf("the batch %s needs the file: cancel it first", b.ID)}}
		}
	}
	if _, err := commit(r.Context(), depot, &wire.CommitRequest{Delete: []cluster.DeleteDocument{{ID: d.DocumentID, Was: d.Rev}}}); err != nil {
		return err
	}
	w.(*answer).json(http.StatusOK, deletedJSON{ID: f.ID, Object: "file", Deleted: true})
	return nil
}

// fileContent answers GET /v1/files/{file}/content.
func (s *Server) fileContent(w http.ResponseWriter, r *http.Request) error {
	f, _, err := s.file(r.Context(), "file_id", r.PathValue("file"))
	if err != nil {
		return err
	}
	for i, p := range f.Parts {
		b, err := s.library.ReadBlob(r.Context(), blob.Ref{Digest: p.Digest, Len: p.Bytes})
		switch {
		case err != nil && i == 0:
			return &Error{Fault: FaultUnavailable, Why: "no coordinator that answers has the file"}
		case err != nil:
			panic(http.ErrAbortHandler) // the client must not take the beginning for the whole
		case i == 0:
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("Content-Length", strconv.FormatInt(f.Bytes, 10))
			w.Header().Set("Content-Disposition", "attachment")
			w.Header().Set("X-Content-Type-Options", "nosniff")
		}
		if _, err := w.Write(b); err != nil {
			return nil //nolint:nilerr // the client is gone
		}
	}
	return nil
}

// Operations of files and batches.
const (
	opFiles   = "files"
	opBatches = "batches"
)
