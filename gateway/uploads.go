package gateway

import (
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/skein-project/skein/job"
)

// Bounds of uploads beside those of Config.
const (
	maxField         = 256     // bytes of a field of a form that is no file
	maxFields        = 16      // of a form
	formRoom         = 1 << 20 // bytes of a form beside its file
	maxUploads       = 32      // files that come to one gateway at once
	maxTenantUploads = 4       // of them: of one tenant, so that slow ones do not keep others out
	uploadRate       = 8 << 10 // bytes a second that a file comes with at least, from its first minute on
	uploadGrace      = time.Minute
)

// Fields of a form that say how long a file is kept.
const (
	fieldAnchor  = "expires_after[anchor]"
	fieldSeconds = "expires_after[seconds]"
)

// uploads counts the files that come in.
type uploads struct {
	mu  sync.Mutex
	of  map[string]int // by tenant
	all int
}

// enter takes a place until leave is called.
func (u *uploads) enter(tenant string) (leave func(), err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if n := u.of[tenant]; u.all >= maxUploads || n >= maxTenantUploads {
		return nil, &Error{Fault: FaultBusy, Why: fmt.Sprintf("%d files come in already, %d of them yours", u.all, n)}
	}
	if u.of == nil {
		u.of = map[string]int{}
	}
	u.of[tenant]++
	u.all++
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.all--
		if u.of[tenant]--; u.of[tenant] == 0 {
			delete(u.of, tenant)
		}
	}, nil
}

// upload is a form as it came: its file lies on the disk.
type upload struct {
	file    *os.File // unlinked; nil = there was none
	bytes   int64
	name    string
	purpose string
	keep    int64 // seconds; 0 = not said
}

func (u *upload) close() {
	if u.file != nil {
		_ = u.file.Close() // it has no name any more
	}
}

// tooSlow says that what came in so long is too little.
func tooSlow(bytes int64, in time.Duration) bool {
	return in > uploadGrace && bytes < int64((in-uploadGrace).Seconds())*uploadRate
}

// steady is a body that ends in an error where it comes too slowly. One that does not come at all is ended by the server.
type steady struct {
	io.ReadCloser
	began time.Time
	bytes int64
}

func (s *steady) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if s.bytes += int64(n); err == nil && tooSlow(s.bytes, time.Since(s.began)) {
		err = &Error{Fault: FaultInvalid, Param: "file", Why: fmt.Sprintf("the file comes with less than %d bytes a second", uploadRate)}
	}
	return n, err
}

// receive reads a form. What it gives is to be closed, also after an error.
func (s *Server) receive(r *http.Request) (u *upload, err error) {
	u = &upload{}
	r.Body = &steady{ReadCloser: r.Body, began: time.Now()}
	form, err := r.MultipartReader()
	if err != nil {
		return u, invalid("file", "want a form: multipart/form-data with the fields purpose and file")
	}
	for range maxFields {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return u, u.check()
		}
		if err == nil && part.FormName() == "file" {
			err = u.take(part, s.cfg.MaxFile)
		} else if err == nil {
			err = u.field(part)
		}
		if err != nil {
			return u, uploadFailed(err)
		}
	}
	return u, invalid("", "the form has more than %d fields", maxFields)
}

func uploadFailed(err error) error {
	var e *Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &tooLarge):
		return &Error{Fault: FaultTooLarge, Why: fmt.Sprintf("the request is larger than %d bytes", tooLarge.Limit)}
	case errors.Is(err, os.ErrPermission), errors.Is(err, os.ErrNotExist):
		return err // of the disk here
	}
	return invalid("file", "the form cannot be read: %.200v", err)
}

// take writes a file to the disk.
func (u *upload) take(part *multipart.Part, most int64) error {
	if u.file != nil {
		return invalid("file", "the form has more than one file")
	}
	u.name = part.FileName()
	var err error
	if u.file, err = os.CreateTemp("", "skein-file-"); err != nil {
		return err
	}
	if err := os.Remove(u.file.Name()); err != nil {
		return err
	}
	if u.bytes, err = io.Copy(u.file, io.LimitReader(part, most+1)); err != nil {
		return err
	}
	if u.bytes > most {
		return &Error{Fault: FaultTooLarge, Param: "file", Why: fmt.Sprintf("the file is larger than %d bytes", most)}
	}
	_, err = u.file.Seek(0, io.SeekStart)
	return err
}

// field reads a field that is no file. Others than those that are known are not looked at.
func (u *upload) field(part *multipart.Part) error {
	b, err := io.ReadAll(io.LimitReader(part, maxField+1))
	switch name := part.FormName(); {
	case err != nil:
		return err
	case len(b) > maxField:
		return invalid(name, "%.40s has more than %d bytes", name, maxField)
	case name == "purpose":
		u.purpose = string(b)
	case name == fieldSeconds:
		if u.keep, err = strconv.ParseInt(string(b), 10, 64); err != nil || u.keep < 1 || u.keep > job.MaxKept/1000 {
			return invalid(name, "%s is %.20q, want 1 to %d", name, b, job.MaxKept/1000)
		}
	case name == fieldAnchor && string(b) != "created_at":
		return invalid(name, "%s is %.20q, want created_at", name, b)
	}
	return nil
}

func (u *upload) check() error {
	switch {
	case u.file == nil:
		return invalid("file", "the form has no file")
	case u.bytes == 0:
		return invalid("file", "the file is empty")
	case u.purpose != job.PurposeInput:
		return invalid("purpose", "purpose is %.40q, and what is kept here is for %s", u.purpose, job.PurposeInput)
	case u.name == "" || len(u.name) > job.MaxName || !utf8.ValidString(u.name):
		return invalid("file", "the file needs a name of at most %d bytes", job.MaxName)
	}
	return nil
}
