package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/skein-project/skein/api/skein/inference/v1/inferencev1connect"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/results"
)

// againFor bounds a request that is asked again.
const againFor = 5 * time.Minute

// insider makes a call from within the process: it has no key to show.
type insider struct {
	who  cluster.Principal
	take func(results.Record) // gets its record; nil = that goes the way of every other
	seed uint64               // that its first answer is drawn with; 0 = as the request says
}

type insiderKey struct{}

func insiderOf(ctx context.Context) *insider {
	i, _ := ctx.Value(insiderKey{}).(*insider)
	return i
}

// inside are the endpoints for calls from within.
type inside struct {
	once sync.Once
	mux  *http.ServeMux
}

func (s *Server) within() http.Handler {
	s.inside.once.Do(func() {
		s.inside.mux = http.NewServeMux()
		s.Register(s.inside.mux)
	})
	return s.inside.mux
}

// errUnkept says that a record cannot be asked again.
var errUnkept = errors.New("gateway: the record holds no request that can be asked again")

// Again asks a kept request again of a version, in the name of whoever wants to know, with the sampling that it had. What it gives is the
// record of that, whole, which goes nowhere else.
func (s *Server) Again(ctx context.Context, who cluster.Principal, was results.Record, to cluster.VersionID) (got results.Record, err error) {
	ctx, cancel := context.WithTimeout(ctx, againFor)
	defer cancel()
	done := false
	ctx = context.WithValue(ctx, insiderKey{}, &insider{who: who, take: func(r results.Record) { got, done = r, true }, seed: uint64(was.Seed)})
	req, err := again(ctx, was, to)
	if err != nil {
		return got, err
	}
	said := &unheard{header: http.Header{}}
	s.within().ServeHTTP(said, req)
	if !done {
		return got, fmt.Errorf("%w: %s", errUnkept, said.words.String())
	}
	return got, nil
}

// again makes the request that a record is of, for a version.
func again(ctx context.Context, was results.Record, to cluster.VersionID) (*http.Request, error) {
	if was.Request == nil || was.Path == "" {
		return nil, errUnkept
	}
	var body map[string]json.RawMessage
	if err := json.Unmarshal(was.Request, &body); err != nil {
		return nil, fmt.Errorf("%w: %w", errUnkept, err)
	}
	name, err := json.Marshal(to.String())
	if err != nil {
		return nil, err
	}
	path, named := strings.ReplaceAll(was.Path, "{model}", url.PathEscape(to.String())), false
	if strings.Contains(was.Path, "{version}") {
		path = strings.NewReplacer("{model}", url.PathEscape(to.Model), "{version}", strconv.Itoa(to.Number)).Replace(was.Path)
	}
	for member := range body {
		if strings.EqualFold(member, "model") {
			body[member], named = name, true
		}
	}
	if strings.Contains(path, "{") || !named && path == was.Path {
		return nil, fmt.Errorf("%w: it does not say where its model is named", errUnkept)
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	kind := "application/json"
	if streams(was.Path) {
		kind = "application/connect+json"
		b = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Connect-Protocol-Version", "1")
	req.Header.Set(requestIDHeader, was.RequestID)
	req.Header.Set(viewHeader, viewNone)
	return req, nil
}

// streams says that a path is a procedure of Connect that answers with a stream.
func streams(path string) bool {
	return path == inferencev1connect.InferenceServiceGenerateProcedure || path == inferencev1connect.InferenceServiceChatProcedure
}

// reseed has asks drawn with the seeds that a record says, if the request is one of a record that is asked again: not every operation has a place
// for a seed in its body. The distances between seeds of one request stay.
func reseed(ctx context.Context, asks []Ask) {
	i := insiderOf(ctx)
	if i == nil || i.seed == 0 || len(asks) == 0 {
		return
	}
	by := i.seed - asks[0].Sampling.Seed
	for n := range asks {
		asks[n].Sampling.Seed += by
	}
}

// unheard is a response that nobody reads but for its first words.
type unheard struct {
	header http.Header
	words  bytes.Buffer
}

// maxWords bounds those in bytes.
const maxWords = 512

func (u *unheard) Header() http.Header { return u.header }

func (u *unheard) WriteHeader(int) {}

func (u *unheard) Write(b []byte) (int, error) {
	u.words.Write(b[:min(len(b), maxWords-min(u.words.Len(), maxWords))])
	return len(b), nil
}

// Flush implements http.Flusher.
func (u *unheard) Flush() {}
