// Package gateway serves inference to clients: it checks the key, turns text into tokens and back, finds the replica that owns the model, and keeps a stream
// going when a node dies.
package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skein-project/skein/access"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway/oip"
	"github.com/skein-project/skein/internal/live"
	"github.com/skein-project/skein/job"
	"github.com/skein-project/skein/router"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// Config of a gateway.
type Config struct {
	MaxBody    int64         // bytes of a request; default 8 MiB
	MaxPrompt  int           // bytes of the text of one prompt or message list; default 4 MiB
	Patience   time.Duration // how long a request waits, without progress, for a replica that is loading or being placed anew; default 60 s
	Attempts   int           // times that one request is sent to a replica without progress; default 128
	MaxStops   int           // stop strings of a request; default 16
	MaxInputs  int           // texts of one embedding or classification request; default 256
	MaxChoices int           // answers that one request may ask for (n); default 8
	Shadows    int           // copies of requests that run on shadow versions at once; more are dropped; default 8
	MaxWaiting int           // requests that wait for their turn at the full replicas of one version; default 1024
	MaxTensors int64         // bytes of a request of the Open Inference Protocol; default 80 MiB
	LeaseWait  time.Duration // how long a request waits for its share of a limit that this gateway holds nothing of; default 2 s

	MaxFile      int64         `yaml:"max_file" help:"bytes of a file that is uploaded for a batch, at most 1073741824 (default 536870912)"` // default 512 MiB
	MaxFiles     int           `yaml:"max_files" help:"files of a tenant, with those that came out of batches (default 1000)"`               // default 1000
	MaxFileBytes int64         `yaml:"max_file_bytes" help:"bytes of all files of a tenant (default 17179869184)"`                           // default 16 GiB
	MaxBatches   int           `yaml:"max_batches" help:"batches of a tenant that are not over (default 100)"`                               // default 100
	MaxJobs      int           `yaml:"batch_jobs" help:"batches that this gateway works at once (default 4)"`                                // default 4
	BatchLines   int           `yaml:"batch_lines" help:"requests of one batch at once (default 4)"`                                         // default 4
	BatchEvery   time.Duration `yaml:"batch_every" help:"time between two notes of how far a batch is (default 5s)"`                         // default 5 s
	KeepFor      time.Duration `yaml:"responses_for" help:"time that responses are kept to be asked for again, at most 2160h (default 24h)"` // default 24 h
	FilesFor     time.Duration `yaml:"files_for" help:"time that files and finished batches are kept, at most 2160h (default 720h)"`         // default 30 days

	SpoolBytes int64 `yaml:"results_spool" help:"bytes of records of requests that wait on the disk for the results database, and as many that wait for the bucket; what is beyond is dropped (default 1073741824)"` // default 1 GiB
	QueueBytes int64 `yaml:"results_queue" help:"bytes of requests that ended and wait in memory to be written to that spool; what is beyond is dropped (default 67108864)"`                                         // default 64 MiB

	MaxStaleness   time.Duration `yaml:"max_staleness" help:"without contact to the coordinators for so long, calls are refused (default 1m)"`               // default 60 s
	TrustedProxies []string      `yaml:"trusted_proxies" help:"networks (CIDR) of proxies whose X-Forwarded-For says where a call comes from; default none"` // default none
	CORSOrigins    []string      `yaml:"cors_origins" help:"origins (https://HOST:PORT) whose pages may call this gateway from a browser; default none"`     // default none

	Software   string            // version of the program, as the Open Inference Protocol tells it; default none
	Tracer     *telemetry.Tracer // of the process; default nil: no traces
	RequestLog slog.Level        // of the line that is logged per request; LogOff = none; default info
}

func (c Config) withDefaults() Config {
	if c.MaxBody == 0 {
		c.MaxBody = 8 << 20
	}
	if c.MaxPrompt == 0 {
		c.MaxPrompt = 4 << 20
	}
	if c.Patience == 0 {
		c.Patience = time.Minute
	}
	if c.Attempts == 0 {
		c.Attempts = 128
	}
	if c.MaxStops == 0 {
		c.MaxStops = 16
	}
	if c.MaxInputs == 0 {
		c.MaxInputs = 256
	}
	if c.MaxChoices == 0 {
		c.MaxChoices = 8
	}
	if c.MaxWaiting == 0 {
		c.MaxWaiting = 1024
	}
	if c.MaxTensors == 0 {
		c.MaxTensors = 80 << 20
	}
	if c.LeaseWait == 0 {
		c.LeaseWait = 2 * time.Second
	}
	if c.MaxStaleness == 0 {
		c.MaxStaleness = time.Minute
	}
	if c.KeepFor == 0 {
		c.KeepFor = 24 * time.Hour
	}
	if c.Shadows == 0 {
		c.Shadows = 8
	}
	if c.MaxFile == 0 {
		c.MaxFile = 512 << 20
	}
	if c.MaxFiles == 0 {
		c.MaxFiles = 1000
	}
	if c.MaxFileBytes == 0 {
		c.MaxFileBytes = 16 << 30
	}
	if c.MaxBatches == 0 {
		c.MaxBatches = 100
	}
	if c.MaxJobs == 0 {
		c.MaxJobs = 4
	}
	if c.BatchLines == 0 {
		c.BatchLines = 4
	}
	if c.BatchEvery == 0 {
		c.BatchEvery = 5 * time.Second
	}
	if c.FilesFor == 0 {
		c.FilesFor = 30 * 24 * time.Hour
	}
	if c.SpoolBytes == 0 {
		c.SpoolBytes = 1 << 30
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = 64 << 20
	}
	return c
}

// Validate checks that no limit is negative and that networks are networks.
func (c Config) Validate() error {
	if c.MaxBody < 0 || c.MaxPrompt < 0 || c.Patience < 0 || c.Attempts < 0 || c.MaxStops < 0 || c.MaxInputs < 0 || c.MaxChoices < 0 || c.MaxStaleness < 0 || c.Shadows < 0 || c.SpoolBytes < 0 || c.QueueBytes < 0 || c.MaxTensors < 0 || c.KeepFor < 0 || c.KeepFor > job.MaxKept*time.Millisecond {
		return fmt.Errorf("gateway config: a limit is negative: %+v", c)
	}
	if c.MaxFile < 0 || c.MaxFile > job.MaxFile*blob.ChunkSize || c.MaxFiles < 0 || c.MaxFileBytes < 0 || c.MaxBatches < 0 || c.MaxJobs < 0 || c.BatchLines < 0 || c.BatchEvery < 0 || c.FilesFor < 0 || c.FilesFor > job.MaxKept*time.Millisecond {
		return fmt.Errorf("gateway config: a limit of files or batches is negative, or too large: %+v", c)
	}
	for _, origin := range c.CORSOrigins {
		if err := validOrigin(origin); err != nil {
			return err
		}
	}
	_, err := c.proxies()
	return err
}

func (c Config) proxies() (out []netip.Prefix, err error) {
	for _, text := range c.TrustedProxies {
		n, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("gateway config: trusted proxies: %w", err)
		}
		out = append(out, n.Masked())
	}
	return out, nil
}

// Library reads small blobs of the model library: manifests and tokenizers. On a coordinator that is its own store, on a stand-alone
// gateway the coordinators'.
type Library interface {
	ReadBlob(ctx context.Context, ref blob.Ref) ([]byte, error)
	BlobSize(ctx context.Context, d blob.Digest) (int64, error)
}

// Server answers inference requests.
type Server struct {
	cfg     Config
	live    *live.State
	library Library
	dialer  *wire.Dialer
	log     *slog.Logger

	needs    access.Procedures
	proxies  []netip.Prefix
	visitors visitors

	ledger *ledger
	gates  gates
	books  *books
	served served
	tables tables
	texts  texts
	views  views
	load   load

	panics atomic.Uint64

	records *records
	inside  inside

	batching atomic.Pointer[batching] // nil until RunBatches
	uploads  uploads                  // files that come

	shadows  chan struct{} // holds one of each copy that runs
	operator http.Handler  // of the operators' API; nil = it is not in this process
}

// New makes a gateway over the state that it follows.
func New(cfg Config, state *live.State, library Library, dialer *wire.Dialer, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg.withDefaults(), live: state, library: library, dialer: dialer, log: log, needs: Needs(), ledger: newLedger(), books: newBooks()}
	s.proxies, _ = cfg.proxies() // they are valid
	s.records = newRecords(s.cfg.QueueBytes)
	s.shadows = make(chan struct{}, s.cfg.Shadows)
	s.gates.gates = map[cluster.VersionID]*gate{}
	s.served.rows = map[flowKey]*oip.Tally{}
	s.visitors.calls = map[*call]struct{}{}
	s.texts.byDigest = map[blob.Digest]*textEntry{}
	s.load.running, s.load.failed = map[router.Placed]int{}, map[router.Placed]time.Time{}
	return s, nil
}

// Register adds every endpoint of the gateway to a mux.
func (s *Server) Register(mux *http.ServeMux) {
	d := doors{mux, s.cfg.CORSOrigins}
	s.registerConnect(d)
	s.registerRoutes(d)
	s.registerOIP(d)
	s.registerOIPRPC(d)
	s.registerReflection(d)
	s.registerDocument(d)
}

// tables keeps the route table of the newest state. It is derived again only where the state routes differently: settlements are entries too,
// and there are as many a second as there are gateways.
type tables struct {
	mu    sync.Mutex
	table *router.Table
}

// table is the newest route table, and a channel that is closed when the state changes.
func (s *Server) table() (*router.Table, <-chan struct{}) {
	state, changed := s.live.Load()
	s.tables.mu.Lock()
	defer s.tables.mu.Unlock()
	if s.tables.table == nil || !s.tables.table.Shows(state) {
		s.tables.table = router.TableOf(state)
	}
	return s.tables.table, changed
}

// load counts the requests that this gateway has at each placement, and remembers those that did not answer.
type load struct {
	mu      sync.Mutex
	running map[router.Placed]int
	failed  map[router.Placed]time.Time
}

// A placement that could not be reached counts as loaded for a while, so that not every request finds out anew, a timeout later, that a
// worker hangs.
const (
	suspectFor = 10 * time.Second
	suspect    = 1 << 20 // requests
)

func (l *load) of(p router.Placed) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.running[p]
	if at, ok := l.failed[p]; ok && time.Since(at) < suspectFor {
		n += suspect
	}
	return n
}

// unreachable notes that a placement did not answer.
func (l *load) unreachable(p router.Placed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for old, at := range l.failed {
		if time.Since(at) >= suspectFor {
			delete(l.failed, old)
		}
	}
	l.failed[p] = time.Now()
}

// answered notes that a placement did.
func (l *load) answered(p router.Placed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.failed, p)
}

func (l *load) begin(p router.Placed) (end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running[p]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.running[p]--; l.running[p] == 0 {
			delete(l.running, p)
		}
	}
}

// pick chooses a placement of a version that is not excluded.
func (s *Server) pick(t *router.Table, v cluster.VersionID, excluded []router.Placed) (router.Route, error) {
	return t.Pick(v, s.load.of, excluded, rand.Uint64())
}
