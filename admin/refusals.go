package admin

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/access"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/telemetry"
)

// What is kept of refused calls. Whoever is refused on purpose, and often, costs the log of the cluster an entry a minute.
const (
	refusalsFor   = time.Minute         // that equal refused calls are summed up for
	maxRefusals   = cluster.MaxRefusals // rows of that time; what is in no row is only counted
	maxRefusalsOf = 8                   // rows of one principal, or of one address whose principal is not known
	noteWithin    = 10 * time.Second    // that the log has to take a note
)

// refusedCalls sums up calls that were refused: for the log of the process, for a metric and, where something was to be changed or nobody known
// called, for the audit log.
type refusedCalls struct {
	mu    sync.Mutex
	rows  map[refusal]*cluster.Refusals
	of    map[string]int // rows by principal or address
	more  int64
	until func() // stops the timer that ends the time; nil = nothing was refused yet

	total map[string]uint64 // since the start, by kind
}

// refusal is what equal refused calls have in common.
type refusal struct {
	by, from, procedure, why string
	read                     bool // nothing was to be changed: it is not for the audit log
}

// kinds of refusals, for the metric.
const (
	refusedCaller     = "caller"     // nobody known
	refusedPermission = "permission" // somebody who may not
)

// Refused implements telemetry.Source: the calls that were refused since the start.
func (h *Handler) Refused(s *telemetry.Sheet) {
	h.refusals.mu.Lock()
	defer h.refusals.mu.Unlock()
	for _, kind := range []string{refusedCaller, refusedPermission} {
		s.Count(telemetry.AdminRefused, float64(h.refusals.total[kind]), kind)
	}
}

// refuse notes a refused call, and gives the error back.
func (h *Handler) refuse(c cluster.Principal, from, procedure string, need access.Permission, err *connect.Error) error {
	r, kind := refusal{from: from, procedure: procedure, why: err.Message()}, refusedCaller
	if c.Tenant != "" {
		r.by = c.String()
	}
	if err.Code() == connect.CodePermissionDenied {
		kind, r.read = refusedPermission, strings.HasSuffix(need.String(), "_READ")
	}
	if len(r.why) > cluster.MaxWhy {
		r.why = r.why[:cluster.MaxWhy]
	}
	if h.refusals.add(kind, r, h.now(), h.noteRefusals) {
		h.log.Warn("a call was refused", "by", r.by, "from", r.from, "procedure", r.procedure, "why", r.why)
	}
	return err
}

// add counts a call, and says whether it is the first one of its row. end is called when the time of the rows is over.
func (f *refusedCalls) add(kind string, r refusal, at cluster.Millis, end func()) (first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.total == nil {
		f.total = map[string]uint64{}
	}
	f.total[kind]++
	if f.until == nil {
		f.rows, f.of = map[refusal]*cluster.Refusals{}, map[string]int{}
		timer := time.AfterFunc(refusalsFor, end)
		f.until = func() { timer.Stop() }
	}
	row, who := f.rows[r], cmp.Or(r.by, r.from)
	if row == nil {
		if len(f.rows) >= maxRefusals || f.of[who] >= maxRefusalsOf {
			f.more++
			return false
		}
		row = &cluster.Refusals{By: r.by, From: r.from, Procedure: r.procedure, Why: r.why, First: at}
		f.rows[r] = row
		f.of[who]++
	}
	row.Calls++
	row.Last = at
	return row.Calls == 1
}

// take ends the time of the rows, and gives those for the audit log in order. all is how many calls there were in the time.
func (f *refusedCalls) take() (note cluster.NoteRefusals, all int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.until == nil {
		return note, 0
	}
	f.until()
	for r, row := range f.rows {
		all += row.Calls
		if !r.read {
			note.Refusals = append(note.Refusals, *row)
		}
	}
	note.More, all = f.more, all+f.more
	f.rows, f.of, f.more, f.until = nil, nil, 0, nil
	slices.SortFunc(note.Refusals, func(a, b cluster.Refusals) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.By, b.By), cmp.Compare(a.From, b.From), cmp.Compare(a.Procedure, b.Procedure), cmp.Compare(a.Why, b.Why))
	})
	return note, all
}

// noteRefusals puts what was refused in a time into the audit log.
func (h *Handler) noteRefusals() {
	note, all := h.refusals.take()
	h.log.Warn("calls were refused", "calls", all, "for", refusalsFor)
	if len(note.Refusals) == 0 || h.c.Live().Now().Cluster().Feature < 3 {
		return
	}
	ctx, end := context.WithTimeout(context.Background(), noteWithin)
	defer end()
	if err := h.do(ctx, note); err != nil {
		h.log.Warn("refused calls are not in the audit log", "err", err)
	}
}

// What is remembered of downloads, so that one of many files is one record.
const (
	downloadFor  = time.Hour
	maxDownloads = 4096 // then all are forgotten, and written down once more
)

// downloads are who was written down lately as having taken which version.
type downloads struct {
	mu   sync.Mutex
	seen map[download]time.Time
}

type download struct {
	by      string
	version cluster.VersionID
}

// noteDownload puts into the audit log that the caller takes files of a version, before it has them.
func (h *Handler) noteDownload(ctx context.Context, v cluster.VersionID) error {
	d := download{callerOf(ctx).String(), v}
	h.downloads.mu.Lock()
	at, ok := h.downloads.seen[d]
	h.downloads.mu.Unlock()
	if ok && time.Since(at) < downloadFor {
		return nil
	}
	h.log.Info("files of a version are downloaded", "by", d.by, "version", v)
	if h.c.Live().Now().Cluster().Feature >= 3 {
		if err := h.do(ctx, cluster.NoteDownload{Version: v}); err != nil {
			return err
		}
	}
	h.downloads.mu.Lock()
	defer h.downloads.mu.Unlock()
	if h.downloads.seen == nil || len(h.downloads.seen) >= maxDownloads {
		h.downloads.seen = map[download]time.Time{}
	}
	h.downloads.seen[d] = time.Now()
	return nil
}
