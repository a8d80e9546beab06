package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway/oip"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/tensor"
)

// Paths of the Open Inference Protocol v2.
const (
	pathOIP        = "/v2"
	pathOIPLive    = "/v2/health/live"
	pathOIPReady   = "/v2/health/ready"
	pathOIPModel   = "/v2/models/{model}"
	pathOIPVersion = "/v2/models/{model}/versions/{version}"
)

// oipForm is how the Open Inference Protocol says errors.
var oipForm = form{failure: func(e *Error) any { return oip.ErrorJSON{Error: e.Why} }}

// oipRoutes are the Open Inference Protocol v2 over HTTP. What is about a model is about one of its versions too.
func oipRoutes() []route {
	infer, write := accessv1.Permission_PERMISSION_INFER, accessv1.Permission_PERMISSION_DEPLOYMENTS_WRITE
	most := func(c Config) int64 { return c.MaxTensors }
	out := []route{
		{http.MethodGet, pathOIP, opModels, infer, oipForm, (*Server).oipServer, nil, contract{"Describe the server", nil, oip.ServerMetadata{}, nil}},
		{http.MethodPost, "/v2/repository/index", opModels, accessv1.Permission_PERMISSION_MODELS_READ, oipForm, (*Server).oipIndex, nil,
			contract{"List the versions of models, and which can be called now", oip.IndexRequest{}, []oip.IndexEntry{}, nil}},
		{http.MethodPost, "/v2/repository/models/{model}/load", opModels, write, oipForm, (*Server).oipLoad, nil, contract{"Have a model served", oip.LoadRequest{}, nil, nil}},
		{http.MethodPost, "/v2/repository/models/{model}/unload", opModels, write, oipForm, (*Server).oipUnload, nil, contract{"Have a model served no more", oip.LoadRequest{}, nil, nil}},
	}
	for _, path := range []string{pathOIPModel, pathOIPVersion} {
		out = append(out,
			route{http.MethodGet, path, opModels, infer, oipForm, (*Server).oipModel, nil, contract{"Describe a model's inputs and outputs", nil, oip.ModelMetadata{}, nil}},
			route{http.MethodGet, path + "/ready", opModels, infer, oipForm, (*Server).oipModelReady, nil, contract{"Say whether a model can be called now", nil, oip.Readiness{}, nil}},
			route{http.MethodGet, path + "/config", opModels, infer, oipForm, (*Server).oipConfig, nil, contract{"Describe a model as a configuration", nil, oip.ModelConfig{}, nil}},
			route{http.MethodGet, path + "/stats", opModels, infer, oipForm, (*Server).oipStatistics, nil, contract{"Tell what this gateway has counted of a model since it started", nil, oip.Statistics{}, nil}},
			route{http.MethodPost, path + "/infer", opInfer, infer, oipForm, (*Server).oipInfer, most, contract{"Run a model on tensors", oip.RequestJSON{}, oip.AnswerJSON{}, nil}},
			route{http.MethodPost, path + "/generate", telemetry.OpText, infer, oipForm, (*Server).oipGenerateOnce, nil, contract{"Continue a text", generateRequest{}, generateAnswer{}, nil}},
			route{http.MethodPost, path + "/generate_stream", telemetry.OpText, infer, oipForm, (*Server).oipGenerateStream, nil,
				contract{"Continue a text, piece by piece", generateRequest{}, nil, generateAnswer{}}},
		)
	}
	return out
}

// registerOIP adds what needs no key, and what stands for paths that are not there.
func (s *Server) registerOIP(mux doors) {
	say := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v) // the client may be gone
	}
	mux.HandleFunc("GET "+pathOIPLive, func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, oip.Liveness{Live: true}) })
	mux.HandleFunc("GET "+pathOIPReady, func(w http.ResponseWriter, _ *http.Request) {
		if s.Ready() != nil {
			say(w, http.StatusServiceUnavailable, oip.Readiness{})
			return
		}
		say(w, http.StatusOK, oip.Readiness{Ready: true})
	})
	other := s.entry(oipForm, s.cfg.MaxBody, opOther, "", oipAbsent)
	mux.HandleFunc("/v2/", func(w http.ResponseWriter, r *http.Request) {
		if path, ok := foldModel(r.URL.EscapedPath()); ok && !strangerToOIP(r.URL.Path) {
			readdressed(mux.ServeMux, w, r, path)
			return
		}
		other(w, r)
	})
}

// foldModel makes one segment of a model's name that has slashes, which clients send as they are: /v2/models/team/x/infer is about the model
// "team/x". false = there is no such name in the path.
func foldModel(path string) (string, bool) {
	front := "/v2/models/"
	rest, ok := strings.CutPrefix(path, front)
	if !ok {
		front = "/v2/repository/models/"
		rest, ok = strings.CutPrefix(path, front)
	}
	parts := strings.Split(rest, "/")
	n := len(parts)
	for _, verb := range []string{"infer", "ready", "config", "stats", "generate", "generate_stream", "load", "unload"} {
		if n > 1 && parts[n-1] == verb {
			n--
			break
		}
	}
	if n > 2 && parts[n-2] == "versions" {
		n -= 2
	}
	if !ok || n < 2 {
		return "", false
	}
	return front + strings.Join(append([]string{strings.Join(parts[:n], "%2F")}, parts[n:]...), "/"), true
}

// unsupportedOIP are extensions of the protocol that Skein does not have.
var unsupportedOIP = []string{"/v2/logging", "/v2/trace", "/v2/systemsharedmemory", "/v2/cudasharedmemory"}

// strangerToOIP says whether a path is of such an extension.
func strangerToOIP(path string) bool {
	return strings.HasSuffix(path, "/trace/setting") || slices.ContainsFunc(unsupportedOIP, func(front string) bool { return strings.HasPrefix(path, front) })
}

func oipAbsent(w http.ResponseWriter, r *http.Request) error {
	if strangerToOIP(r.URL.Path) {
		return &Error{Fault: FaultUnsupported, Why: fmt.Sprintf("unsupported: %.200q", r.URL.Path)}
	}
	return absent(w, r)
}

// oipName is the name that a model's path means: a version, where one is given, of what an alias points to.
func (s *Server) oipName(name, version string) string {
	if version == "" {
		return name
	}
	table, _ := s.table()
	if target, ok := table.Target(name); ok {
		name = target.Model
	}
	return name + "@" + version
}

// oipTarget finds the version that a path is about, canaries apart, for whom it is not to be called now.
func (s *Server) oipTarget(ctx context.Context, name, version string) (cluster.Version, error) {
	name = s.oipName(name, version)
	table, _ := s.table()
	target, _ := table.Target(name)
	return s.callable(ctx, name, target)
}

// oipServer answers GET /v2.
func (s *Server) oipServer(w http.ResponseWriter, _ *http.Request) error {
	w.(*answer).json(http.StatusOK, s.serverMetadata())
	return nil
}

func (s *Server) serverMetadata() oip.ServerMetadata {
	return oip.ServerMetadata{Name: "skein", Version: s.cfg.Software,
		Extensions: []string{"binary_tensor_data", "generate", "model_configuration", "model_repository", "statistics"}}
}

// allModels stands in the place of a model's name: GET /v2/models/stats is about all of them.
const allModels = "stats"

// oipModel answers GET /v2/models/{model}.
func (s *Server) oipModel(w http.ResponseWriter, r *http.Request) error {
	if r.PathValue("model") == allModels && r.PathValue("version") == "" {
		r.SetPathValue("model", "")
		return s.oipStatistics(w, r)
	}
	m, err := s.modelMetadata(r.Context(), r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return err
	}
	w.(*answer).json(http.StatusOK, m)
	return nil
}

func (s *Server) modelMetadata(ctx context.Context, name, version string) (m oip.ModelMetadata, err error) {
	v, err := s.oipTarget(ctx, name, version)
	if err != nil {
		return m, err
	}
	t, err := s.textOf(ctx, v)
	if err != nil {
		return m, err
	}
	sig := s.signature(t)
	m = oip.ModelMetadata{Name: name, Platform: platform(t), Versions: s.versionsOf(ctx, v.Model), Inputs: portsJSON(sig.Inputs), Outputs: portsJSON(sig.Outputs)}
	return m, nil
}

// platform names what runs a version, as the protocol does: framework and format.
func platform(t *text) string {
	if t.manifest.Config.Arch == model.Graph {
		return "onnxruntime_onnx"
	}
	return "skein_" + string(t.manifest.Config.Arch)
}

// versionsOf lists the versions of a model that whoever asks may call, oldest first.
func (s *Server) versionsOf(ctx context.Context, name string) (out []string) {
	state := s.live.Now()
	for v := range state.Versions() {
		if v.Model == name && state.MayCall(callOf(ctx).principal(), v.VersionID.String()) {
			out = append(out, strconv.Itoa(v.Number))
		}
	}
	return out
}

func portsJSON(ports []model.Port) []oip.PortJSON {
	out := []oip.PortJSON{}
	for _, p := range ports {
		shape := p.Shape
		if shape == nil {
			shape = []int64{}
		}
		out = append(out, oip.PortJSON{Name: p.Name, Datatype: oip.Datatype(p.DType), Shape: shape})
	}
	return out
}

// oipModelReady answers GET /v2/models/{model}/ready.
func (s *Server) oipModelReady(w http.ResponseWriter, r *http.Request) error {
	ready, err := s.modelReady(r.Context(), r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return err
	}
	if !ready {
		return &Error{Fault: FaultUnavailable, Param: "model", Why: fmt.Sprintf("%.128q has no replica that answers now", r.PathValue("model"))}
	}
	w.(*answer).json(http.StatusOK, oip.Readiness{Name: r.PathValue("model"), Ready: true})
	return nil
}

func (s *Server) modelReady(ctx context.Context, name, version string) (bool, error) {
	v, err := s.oipTarget(ctx, name, version)
	if err != nil {
		return false, err
	}
	table, _ := s.table()
	return len(table.Routes(v.VersionID)) > 0, nil
}

// oipConfig answers GET /v2/models/{model}/config.
func (s *Server) oipConfig(w http.ResponseWriter, r *http.Request) error {
	c, err := s.modelConfig(r.Context(), r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return err
	}
	w.(*answer).json(http.StatusOK, c)
	return nil
}

func (s *Server) modelConfig(ctx context.Context, name, version string) (c oip.ModelConfig, err error) {
	v, err := s.oipTarget(ctx, name, version)
	if err != nil {
		return c, err
	}
	t, err := s.textOf(ctx, v)
	if err != nil {
		return c, err
	}
	sig := s.signature(t)
	c = oip.ModelConfig{Name: name, Platform: platform(t), Backend: "skein", Input: configPorts(sig.Inputs), Output: configPorts(sig.Outputs)}
	c.VersionPolicy.Specific.Versions = []int{v.Number}
	c.Transactions.Decoupled = t.manifest.Config.Arch.Decoder()
	for i, p := range c.Input {
		c.Input[i].Optional = optionalPort(t, p.Name)
	}
	return c, nil
}

// configPorts gives data types the names that configurations have for them, where strings are not bytes.
func configPorts(ports []model.Port) []oip.ConfigPort {
	out := []oip.ConfigPort{}
	for _, p := range portsJSON(ports) {
		name := "TYPE_" + p.Datatype
		if p.Datatype == "BYTES" {
			name = "TYPE_STRING"
		}
		out = append(out, oip.ConfigPort{Name: p.Name, DataType: name, Dims: p.Shape})
	}
	return out
}

// optionalPort says whether an input may be left out.
func optionalPort(t *text, name string) bool {
	return t.manifest.Graph == nil && name != portIDs && name != portTextIn
}

// oipInfer answers POST /v2/models/{model}/infer.
func (s *Server) oipInfer(w http.ResponseWriter, r *http.Request) error {
	t, err := s.text(r.Context(), s.oipName(r.PathValue("model"), r.PathValue("version")), "")
	if err != nil {
		return err
	}
	body, err := readAll(r, s.cfg.MaxTensors)
	if err != nil {
		return err
	}
	size, err := oip.JSONSize(r.Header.Values(oip.HeaderLength), len(body))
	if err != nil {
		return oipError(err)
	}
	req, err := oip.ReadRequest(body, size)
	if err != nil {
		return oipError(err)
	}
	if size < 0 { // with binary data the JSON alone could not be asked again
		callOf(r.Context()).noteRequest(body)
	}
	out, err := s.oipRun(r.Context(), t, req)
	if err != nil {
		return err
	}
	a := oip.Answer{ID: req.ID, Model: r.PathValue("model"), Version: strconv.Itoa(t.version.Number), Outputs: out}
	b, err := a.Encode(req.IsBinary)
	if err != nil {
		return oipError(err)
	}
	callOf(r.Context()).noteAnswer(b.JSON)
	return writeOIP(w, b)
}

// writeOIP writes an answer with its binary data.
func writeOIP(w http.ResponseWriter, b oip.Body) error {
	size := len(b.JSON)
	for _, data := range b.Binary {
		size += len(data)
	}
	w.Header().Set("Content-Type", "application/json")
	if b.Binary != nil {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set(oip.HeaderLength, strconv.Itoa(len(b.JSON)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(size))
	w.WriteHeader(http.StatusOK)
	_, err := w.Write(b.JSON)
	for _, data := range b.Binary {
		if err == nil {
			_, err = w.Write(data)
		}
	}
	if err != nil {
		return &Error{Fault: FaultCanceled, Why: "the client takes no more: " + err.Error()}
	}
	return nil
}

// oipRun runs a request on a version.
func (s *Server) oipRun(ctx context.Context, t *text, req *oip.Request) ([]tensor.Tensor, error) {
	ctx, cancel, err := oipWithin(ctx, req.Parameters)
	if err != nil {
		return nil, err
	}
	defer cancel()
	if t.manifest.Config.Arch.Decoder() {
		return s.oipText(ctx, t, req)
	}
	for _, p := range s.signature(t).Outputs {
		wanted := len(req.Outputs) == 0
		for _, o := range req.Outputs {
			wanted = wanted || o.Name == p.Name
		}
		if wanted && (p.DType == model.F16 || p.DType == model.BF16) && !req.IsBinary(p.Name) {
			return nil, invalid("outputs", "the output %.80q is of type %s, which has no form in JSON: ask for binary data", p.Name, oip.Datatype(p.DType))
		}
	}
	return s.infer(ctx, t, req.Inputs, req.Names())
}

// oipWithin bounds a request by its parameter timeout, in microseconds, and refuses to belong to a sequence: models remember nothing.
func oipWithin(ctx context.Context, p oip.Parameters) (context.Context, context.CancelFunc, error) {
	if id, ok := p["sequence_id"]; ok && id != int64(0) && id != "" {
		return nil, nil, &Error{Fault: FaultUnsupported, Param: "sequence_id", Why: "unsupported: sequences of requests"}
	}
	v, ok := p["timeout"]
	if !ok || v == int64(0) {
		ctx, cancel := context.WithCancel(ctx)
		return ctx, cancel, nil
	}
	us, ok := v.(int64)
	if !ok || us < 0 || us > int64(maxTimeout/time.Microsecond) {
		return nil, nil, invalid("timeout", "timeout %v: want microseconds, at most those of %s", v, maxTimeout)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(us)*time.Microsecond)
	return ctx, cancel, nil
}

// maxTimeout bounds the parameter timeout.
const maxTimeout = 24 * time.Hour

// oipError turns the codec's errors into what a client is told.
func oipError(err error) error {
	var t tensor.Invalid
	var o oip.Invalid
	switch {
	case errors.Is(err, oip.ErrUnsupported):
		return &Error{Fault: FaultUnsupported, Why: err.Error()}
	case errors.As(err, &t), errors.As(err, &o):
		return &Error{Fault: FaultInvalid, Why: err.Error()}
	}
	return err
}

// firstRead is how much memory a body gets at once because it says that it is so long.
const firstRead = 4 << 20

// readAll reads a request's body: what is sent is bounded by entry, what that inflates to by most, in bytes.
func readAll(r *http.Request, most int64) ([]byte, error) {
	in, err := inflated(r, most)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if r.ContentLength > 0 {
		b.Grow(int(min(r.ContentLength+bytes.MinRead, firstRead)))
	}
	_, err = io.Copy(&b, in)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &Error{Fault: FaultTooLarge, Why: fmt.Sprintf("the request is larger than %d bytes", tooLarge.Limit)}
	case err != nil && in != r.Body:
		return nil, invalid("", "the body is not what Content-Encoding says, or it ended early")
	case err != nil:
		return nil, &Error{Fault: FaultCanceled, Why: "the request ended early"}
	}
	return b.Bytes(), nil
}
