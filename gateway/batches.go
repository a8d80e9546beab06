package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/openapi"
	"github.com/skein-project/skein/job"
	"github.com/skein-project/skein/wire"
)

// batchRequest is the body of POST /v1/batches (OpenAI API reference, 2026), and a callback beside.
type batchRequest struct {
	Input    string            `json:"input_file_id"`
	Endpoint string            `json:"endpoint"`
	Window   string            `json:"completion_window"` // a time, as 24h
	Metadata map[string]string `json:"metadata"`
	Expires  *expiresAfter     `json:"output_expires_after"`
	Callback *callbackRequest  `json:"callback"`
}

type expiresAfter struct {
	Anchor  string `json:"anchor"`
	Seconds int64  `json:"seconds"`
}

type callbackRequest struct {
	URL string `json:"url"`
}

// batchJSON is a batch, as the OpenAI API has it, and its callback beside.
type batchJSON struct {
	ID         string            `json:"id"`
	Object     string            `json:"object"`
	Endpoint   string            `json:"endpoint"`
	Errors     *batchErrors      `json:"errors"`
	Input      string            `json:"input_file_id"`
	Window     string            `json:"completion_window"`
	Status     job.Status        `json:"status"`
	Output     *string           `json:"output_file_id"`
	ErrorFile  *string           `json:"error_file_id"`
	Created    int64             `json:"created_at"` // seconds
	InProgress *int64            `json:"in_progress_at"`
	Expires    int64             `json:"expires_at"`
	Finalizing *int64            `json:"finalizing_at"`
	Completed  *int64            `json:"completed_at"`
	Failed     *int64            `json:"failed_at"`
	Expired    *int64            `json:"expired_at"`
	Cancelling *int64            `json:"cancelling_at"`
	Cancelled  *int64            `json:"cancelled_at"`
	Counts     batchCounts       `json:"request_counts"`
	Metadata   map[string]string `json:"metadata"`
	Callback   *callbackJSON     `json:"callback,omitempty"`
}

type batchErrors struct {
	Object string       `json:"object"`
	Data   []batchError `json:"data"`
}

type batchError struct {
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Param   *string `json:"param"`
	Line    *int64  `json:"line"`
}

type batchCounts struct {
	Total     int64 `json:"total"`
	Completed int64 `json:"completed"`
	Failed    int64 `json:"failed"`
}

// callbackJSON is how far a callback is. Its secret is shown once, to whoever makes the batch.
type callbackJSON struct {
	URL    string      `json:"url"`
	Secret string      `json:"secret,omitempty"`
	Status job.Calling `json:"status,omitempty"`
	Calls  int         `json:"attempts,omitempty"`
	Why    string      `json:"last_error,omitempty"`
}

// batchesJSON is a page of batches.
type batchesJSON struct {
	Object  string      `json:"object"`
	Data    []batchJSON `json:"data"`
	FirstID *string     `json:"first_id"`
	LastID  *string     `json:"last_id"`
	HasMore bool        `json:"has_more"`
}

func batchObject(b job.Batch) batchJSON {
	at := func(s job.Status) *int64 {
		if since, ok := b.Since[s]; ok {
			n := seconds(since)
			return &n
		}
		return nil
	}
	text := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	out := batchJSON{ID: b.ID, Object: "batch", Endpoint: b.Endpoint, Input: b.Input, Window: windowOf(b.Window), Status: b.Status, Output: text(b.OutputFile), ErrorFile: text(b.ErrorFile),
		Created: seconds(b.Since[job.Validating]), InProgress: at(job.InProgress), Expires: seconds(b.Due), Finalizing: at(job.Finalizing), Completed: at(job.Completed),
		Failed: at(job.Failed), Expired: at(job.Expired), Cancelling: at(job.Cancelling), Cancelled: at(job.Cancelled),
		Counts: batchCounts{b.Total, b.OK, b.Bad}, Metadata: b.Metadata}
	faults := b.Faults
	if b.Why != nil {
		faults = append(slices.Clone(faults), *b.Why)
	}
	for _, f := range faults {
		if out.Errors == nil {
			out.Errors = &batchErrors{Object: "list"}
		}
		e := batchError{Code: f.Code, Message: f.Message, Param: text(f.Param)}
		if f.Line > 0 {
			e.Line = &f.Line
		}
		out.Errors.Data = append(out.Errors.Data, e)
	}
	if c := b.Callback; c != nil {
		out.Callback = &callbackJSON{URL: c.URL, Status: c.State, Calls: c.Calls, Why: c.Why}
	}
	return out
}

// windowOf writes a window as clients do: 24h.
func windowOf(millis int64) string {
	d := time.Duration(millis) * time.Millisecond
	if d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return d.String()
}

// batches lists the batches of a tenant, the newest first.
func (s *Server) batches(tenant string) (list []job.Batch) {
	for d := range s.live.Now().DocumentsUnder(cluster.Batch, tenant+"/") {
		if b, err := job.DecodeBatch(d); err == nil {
			list = append(list, b)
		}
	}
	slices.SortStableFunc(list, func(a, b job.Batch) int {
		return cmp.Or(cmp.Compare(b.Since[job.Validating], a.Since[job.Validating]), cmp.Compare(b.ID, a.ID))
	})
	return list
}

// batch finds a batch of whoever asks.
func (s *Server) batch(ctx context.Context, id string) (job.Batch, cluster.Document, error) {
	absent := &httpError{http.StatusNotFound, &Error{Fault: FaultInvalid, Param: "batch_id", Why: fmt.Sprintf("there is no batch %.80q", id)}}
	d, ok := s.live.Now().Document(documentOf(ctx, cluster.Batch, id))
	if !ok {
		return job.Batch{}, d, absent
	}
	b, err := job.DecodeBatch(d)
	if err == nil && !sees(callOf(ctx).principal(), b.App) {
		err = absent
	}
	return b, d, err
}

// newBatch reads what is asked for.
func (s *Server) newBatch(ctx context.Context, req *batchRequest) (b job.Batch, err error) {
	c := callOf(ctx)
	who := c.principal()
	window, err := time.ParseDuration(req.Window)
	if err != nil {
		return b, invalid("completion_window", "completion_window is %.20q, want a time, as 24h", req.Window)
	}
	b = job.Batch{ID: timedID("batch_", millis()), App: who.App, Key: who.Key, Endpoint: req.Endpoint, Input: req.Input, Window: window.Milliseconds(), Metadata: req.Metadata, Keep: s.cfg.FilesFor.Milliseconds()}
	if c.shown.from.IsValid() {
		b.From = c.shown.from.String()
	}
	if req.Callback != nil {
		u, err := url.Parse(req.Callback.URL)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
			return b, invalid("callback.url", "callback.url: want an https URL")
		}
		b.Callback = &job.Callback{URL: req.Callback.URL}
	}
	if x := req.Expires; x != nil {
		if x.Anchor != "created_at" || x.Seconds < 1 || x.Seconds > job.MaxKept/1000 {
			return b, invalid("output_expires_after", "output_expires_after: want the anchor created_at and 1 to %d seconds", job.MaxKept/1000)
		}
		b.Keep = x.Seconds * 1000
	}
	if err := checkMetadata(req.Metadata); err != nil {
		return b, err
	}
	if err := b.Validate(); err != nil {
		return b, invalid("", "%v", err)
	}
	f, _, err := s.file(ctx, "input_file_id", req.Input)
	if err != nil {
		return b, err
	}
	if f.Purpose != job.PurposeInput {
		return b, invalid("input_file_id", "the file is for %s, want one for %s", f.Purpose, job.PurposeInput)
	}
	open := 0
	for _, old := range s.batches(who.Tenant) {
		if !old.Status.Over() {
			open++
		}
	}
	if open >= s.cfg.MaxBatches {
		return b, &Error{Fault: FaultLimit, Retry: time.Minute, Meter: "batches", Why: fmt.Sprintf("%d batches are open already, at most %d may be", open, s.cfg.MaxBatches)}
	}
	return b.New(cluster.Millis(time.Now().UnixMilli())), nil
}

// createBatch answers POST /v1/batches.
func (s *Server) createBatch(w http.ResponseWriter, r *http.Request) error {
	depot, err := s.depot()
	if err != nil {
		return err
	}
	var req batchRequest
	if err := read(r, &req); err != nil {
		return err
	}
	b, err := s.newBatch(r.Context(), &req)
	if err != nil {
		return err
	}
	body, err := json.Marshal(b)
	if err != nil {
		return err
	}
	id := documentOf(r.Context(), cluster.Batch, b.ID)
	change := &wire.CommitRequest{Put: []cluster.PutDocument{{Document: cluster.Document{DocumentID: id, Body: body}}}}
	if b.Callback != nil {
		change.Secret = id.ID
	}
	res, err := commit(r.Context(), depot, change)
	if err != nil {
		return err
	}
	out := batchObject(b)
	if out.Callback != nil {
		out.Callback.Secret = res.Secret
	}
	w.(*answer).json(http.StatusOK, out)
	return nil
}

// listBatches answers GET /v1/batches.
func (s *Server) listBatches(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.depot(); err != nil {
		return err
	}
	who := callOf(r.Context()).principal()
	list := slices.DeleteFunc(s.batches(who.Tenant), func(b job.Batch) bool { return !sees(who, b.App) })
	list, more, err := page(r, list, func(b job.Batch) (string, cluster.Millis) { return b.ID, b.Since[job.Validating] }, 100, 20)
	if err != nil {
		return err
	}
	out := batchesJSON{Object: "list", Data: []batchJSON{}, HasMore: more}
	for _, b := range list {
		out.Data = append(out.Data, batchObject(b))
	}
	if n := len(list); n > 0 {
		out.FirstID, out.LastID = &list[0].ID, &list[n-1].ID
	}
	w.(*answer).json(http.StatusOK, out)
	return nil
}

// getBatch answers GET /v1/batches/{batch}.
func (s *Server) getBatch(w http.ResponseWriter, r *http.Request) error {
	b, _, err := s.batch(r.Context(), r.PathValue("batch"))
	if err != nil {
		return err
	}
	w.(*answer).json(http.StatusOK, batchObject(b))
	return nil
}

// cancelBatch answers POST /v1/batches/{batch}/cancel.
func (s *Server) cancelBatch(w http.ResponseWriter, r *http.Request) error {
	depot, err := s.depot()
	if err != nil {
		return err
	}
	for {
		b, d, err := s.batch(r.Context(), r.PathValue("batch"))
		if err != nil {
			return err
		}
		b, err = b.Cancel(cluster.Millis(time.Now().UnixMilli()))
		if err != nil {
			return &httpError{http.StatusConflict, &Error{Fault: FaultInvalid, Param: "batch_id", Why: fmt.Sprintf("the batch is %s: it cannot be cancelled any more", b.Status)}}
		}
		if d.Body, err = json.Marshal(b); err != nil {
			return err
		}
		res, err := depot.Commit(r.Context(), &wire.CommitRequest{Put: []cluster.PutDocument{{Document: d, Was: d.Rev}}})
		switch {
		case err != nil:
			return unavailable(err)
		case res.Rejected == nil:
			w.(*answer).json(http.StatusOK, batchObject(b))
			return nil
		case res.Rejected.Reason != cluster.ReasonStale:
			return res.Rejected
		} // its owner laid down progress meanwhile
	}
}

// Paths of files and batches.
const (
	pathFiles   = "/v1/files"
	pathFile    = "/v1/files/{file}"
	pathBatches = "/v1/batches"
	pathBatch   = "/v1/batches/{batch}"
)

// ofFiles says that what goes in or comes out of a path is no answer of a model.
func ofFiles(path string) bool {
	return strings.HasPrefix(path, pathFiles) || strings.HasPrefix(path, pathBatches)
}

// uploadForm is what POST /v1/files reads.
func uploadForm() openapi.Form {
	return openapi.FormOf([]string{"purpose", "file"}, "purpose", openapi.Text(), "file", openapi.File(), fieldAnchor, openapi.Text(), fieldSeconds, openapi.Text())
}

// batchRoutes are the files and batches of the OpenAI HTTP API.
func batchRoutes() []route {
	infer := accessv1.Permission_PERMISSION_INFER
	return []route{
		{http.MethodPost, pathFiles, opFiles, infer, openAIForm, (*Server).uploadFile, func(c Config) int64 { return c.MaxFile + formRoom },
			contract{"Upload the requests of a batch, as a form with the fields purpose and file", uploadForm(), fileJSON{}, nil}},
		{http.MethodGet, pathFiles, opFiles, infer, openAIForm, (*Server).listFiles, nil,
			contract{"List files", nil, filesJSON{}, nil}},
		{http.MethodGet, pathFile, opFiles, infer, openAIForm, (*Server).getFile, nil,
			contract{"Describe a file", nil, fileJSON{}, nil}},
		{http.MethodDelete, pathFile, opFiles, infer, openAIForm, (*Server).deleteFile, nil,
			contract{"Delete a file", nil, deletedJSON{}, nil}},
		{http.MethodGet, pathFile + "/content", opFiles, infer, openAIForm, (*Server).fileContent, nil,
			contract{"Give what is in a file", nil, nil, nil}},
		{http.MethodPost, pathBatches, opBatches, infer, openAIForm, (*Server).createBatch, nil,
			contract{"Have the requests of a file answered within a time", batchRequest{}, batchJSON{}, nil}},
		{http.MethodGet, pathBatches, opBatches, infer, openAIForm, (*Server).listBatches, nil,
			contract{"List batches", nil, batchesJSON{}, nil}},
		{http.MethodGet, pathBatch, opBatches, infer, openAIForm, (*Server).getBatch, nil,
			contract{"Say how far a batch is", nil, batchJSON{}, nil}},
		{http.MethodPost, pathBatch + "/cancel", opBatches, infer, openAIForm, (*Server).cancelBatch, nil,
			contract{"Cancel a batch", nil, batchJSON{}, nil}},
	}
}
