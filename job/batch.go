package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
)

// Limits.
const (
	MaxLine     = 1 << 20   // bytes of a line of the input
	MaxLines    = 1_000_000 // lines of the input
	MaxCustomID = 512       // bytes
	MaxFaults   = 16        // that are told of an input which is refused
	MaxFile     = 256       // parts of a file
	MaxParts    = 192       // parts of the output and of the errors of a batch together
	MaxName     = 255       // bytes of a file's name
	MaxMetadata = 2048      // bytes of a batch's metadata together
	MaxURL      = 1024      // bytes of the URL of a callback
)

// Times.
const (
	LeaseFor   = 15_000              // milliseconds that an owner has a batch without a word
	RenewEvery = 5_000               // milliseconds, at most, between two words
	MinWindow  = 1_000               // milliseconds
	MaxWindow  = 7 * 24 * 3_600_000  // milliseconds
	MaxKept    = 90 * 24 * 3_600_000 // milliseconds that files and finished batches stay
)

// Endpoints are what a batch's requests may be for.
var Endpoints = []string{"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"}

// Purposes of files.
const (
	PurposeInput  = "batch"
	PurposeOutput = "batch_output"
)

// File is what a tenant uploaded, or what came out of a batch. It never changes.
type File struct {
	ID      string         `json:"id"`
	App     string         `json:"app,omitempty"` // application that it belongs to; "" = the tenant
	Name    string         `json:"name"`
	Purpose string         `json:"purpose"`
	Bytes   int64          `json:"bytes"`
	Created cluster.Millis `json:"created"`
	Expires cluster.Millis `json:"expires"` // it is deleted then
	Parts   []Part         `json:"parts"`
}

// Status of a batch, as the OpenAI API has them.
type Status string

// Statuses.
const (
	Validating Status = "validating"
	InProgress Status = "in_progress"
	Finalizing Status = "finalizing" // no more requests are made: what is left of the lines is written, and the files
	Cancelling Status = "cancelling" // the same, because somebody asked for it
	Completed  Status = "completed"
	Failed     Status = "failed"
	Expired    Status = "expired"
	Cancelled  Status = "cancelled"
)

// Over says that nothing happens any more.
func (s Status) Over() bool {
	return s == Completed || s == Failed || s == Expired || s == Cancelled
}

// Batch is a job of many requests, and how far it is.
type Batch struct {
	ID       string            `json:"id"`
	App      string            `json:"app,omitempty"`  // application that it belongs to; "" = the tenant
	Key      string            `json:"key"`            // visible id of the key in whose name requests are made
	From     string            `json:"from,omitempty"` // address that the batch came from
	Endpoint string            `json:"endpoint"`
	Input    string            `json:"input"`  // id of a File
	Window   int64             `json:"window"` // milliseconds
	Metadata map[string]string `json:"metadata,omitempty"`
	Keep     int64             `json:"keep"` // milliseconds that it, and its files, stay after the end

	Status Status            `json:"status"`
	Ending Status            `json:"ending,omitempty"` // what it comes to, where that is not Completed
	Since  map[Status]Millis `json:"since"`            // when it came to each status
	Due    Millis            `json:"due"`              // what is not answered by then is not answered
	Gone   Millis            `json:"gone,omitempty"`   // it is deleted then

	Checked bool    `json:"checked,omitempty"` // the input is as it should be, or its faults are known
	Faults  []Fault `json:"faults,omitempty"`
	Why     *Fault  `json:"why,omitempty"` // of a batch that failed later
	Cut     bool    `json:"cut,omitempty"` // no more of what comes out can be kept
	Total   int64   `json:"total"`         // lines with a request
	OK      int64   `json:"ok"`            // of them: lines in the output
	Bad     int64   `json:"bad"`           // of them: lines in the errors
	Offset  int64   `json:"offset"`
	Moved   Millis  `json:"moved,omitempty"` // when lines were last answered

	Output     []Part `json:"output,omitempty"`
	Errors     []Part `json:"errors,omitempty"`
	OutputFile string `json:"output_file,omitempty"` // id, at the end, if it has anything in it
	ErrorFile  string `json:"error_file,omitempty"`

	Owner    string    `json:"owner,omitempty"` // process that works it
	Lease    Millis    `json:"lease,omitempty"` // until when
	Callback *Callback `json:"callback,omitempty"`
}

// Millis is a moment in milliseconds since 1970.
type Millis = cluster.Millis

// Fault is what is wrong with an input.
type Fault struct {
	Line    int64  `json:"line,omitempty"` // from 1; 0 = it is no line's
	Code    string `json:"code"`
	Message string `json:"message"`
	Param   string `json:"param,omitempty"`
}

// Errors of changes that cannot be made.
var (
	ErrOver = errors.New("job: the batch is over")
	ErrLost = errors.New("job: somebody else works the batch")
	ErrMade = errors.New("job: the change was made before")
	ErrFull = errors.New("job: what comes out of the batch is too large")
)

// Validate checks what is asked for.
func (b Batch) Validate() error {
	meta := 0
	for k, v := range b.Metadata {
		meta += len(k) + len(v)
	}
	switch {
	case !slices.Contains(Endpoints, b.Endpoint):
		return fmt.Errorf("endpoint: want one of %s", strings.Join(Endpoints, ", "))
	case b.Window < MinWindow || b.Window > MaxWindow:
		return errors.New("completion_window: want a time from 1s to 168h, as 24h")
	case meta > MaxMetadata:
		return fmt.Errorf("metadata: %d bytes, at most %d", meta, MaxMetadata)
	case b.Callback != nil && len(b.Callback.URL) > MaxURL:
		return fmt.Errorf("callback.url: %d bytes, at most %d", len(b.Callback.URL), MaxURL)
	}
	return nil
}

// New is the batch as it begins.
func (b Batch) New(now Millis) Batch {
	b.Status, b.Since, b.Due = Validating, map[Status]Millis{Validating: now}, now+Millis(b.Window)
	return b
}

// DecodeBatch reads a document.
func DecodeBatch(d cluster.Document) (b Batch, err error) {
	if err := json.Unmarshal(d.Body, &b); err != nil {
		return b, fmt.Errorf("job: batch %s: %w", d.ID, err)
	}
	return b, nil
}

// DecodeFile reads a document.
func DecodeFile(d cluster.Document) (f File, err error) {
	if err := json.Unmarshal(d.Body, &f); err != nil {
		return f, fmt.Errorf("job: file %s: %w", d.ID, err)
	}
	return f, nil
}

// Blobs adds the blobs that files and batches of a state consist of. sure is false if some document cannot be read.
func Blobs(state cluster.State, add func(blob.Digest)) (sure bool) {
	sure = true
	take := func(list []Part) {
		for _, p := range list {
			add(p.Digest)
		}
	}
	for d := range state.Documents(cluster.File) {
		f, err := DecodeFile(d)
		sure = sure && err == nil
		take(f.Parts)
	}
	for d := range state.Documents(cluster.Batch) {
		b, err := DecodeBatch(d)
		sure = sure && err == nil
		take(b.Output)
		take(b.Errors)
	}
	return sure
}

// Kept yields, by kind and id, what batches that are not over gave, and what files consist of that have not expired, or that such a batch needs.
func Kept(state cluster.State, now Millis) iter.Seq2[cluster.DocumentID, []Part] {
	return func(yield func(cluster.DocumentID, []Part) bool) {
		wanted := map[string]bool{}
		for d := range state.Documents(cluster.Batch) {
			b, err := DecodeBatch(d)
			if err != nil || b.Status.Over() {
				continue
			}
			wanted[inputOf(d, b)] = true
			if parts := slices.Concat(b.Output, b.Errors); len(parts) > 0 && !yield(d.DocumentID, parts) {
				return
			}
		}
		for d := range state.Documents(cluster.File) {
			if f, err := DecodeFile(d); err == nil && (now < f.Expires || wanted[d.ID]) && !yield(d.DocumentID, f.Parts) {
				return
			}
		}
	}
}

// inputOf is the id of the document that a batch's input is.
func inputOf(d cluster.Document, b Batch) string {
	tenant, _, _ := strings.Cut(d.ID, "/")
	return tenant + "/" + b.Input
}

// Outdated are the commands that delete what is over: files and finished batches whose time is over. An input stays while a batch needs it.
func Outdated(state cluster.State, now Millis) (list []cluster.DeleteDocument) {
	wanted := map[string]bool{}
	for d := range state.Documents(cluster.Batch) {
		b, err := DecodeBatch(d)
		switch {
		case err != nil:
		case b.Status.Over() && now >= b.Gone:
			list = append(list, cluster.DeleteDocument{ID: d.DocumentID, Was: d.Rev})
		case !b.Status.Over():
			wanted[inputOf(d, b)] = true
		}
	}
	for d := range state.Documents(cluster.File) {
		if f, err := DecodeFile(d); err == nil && now >= f.Expires && !wanted[d.ID] {
			list = append(list, cluster.DeleteDocument{ID: d.DocumentID, Was: d.Rev})
		}
	}
	return list
}
