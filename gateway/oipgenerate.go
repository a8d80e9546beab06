package gateway

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/skein-project/skein/gateway/oip"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

// generateRequest is the body of …/generate: what the ports of a model that generates text take, as fields or as parameters.
type generateRequest struct {
	ID         string         `json:"id,omitempty"`
	Text       *string        `json:"text_input"`
	Parameters map[string]any `json:"parameters,omitempty"`
}

// generateAnswer is an answer, or a piece of one.
type generateAnswer struct {
	ID      string `json:"id,omitempty"`
	Model   string `json:"model_name"`
	Version string `json:"model_version"`
	Text    string `json:"text_output"`
}

// generated reads a request, and finds the version that answers it.
func (s *Server) generated(r *http.Request) (t *text, req generateRequest, w wish, err error) {
	if t, err = s.text(r.Context(), s.oipName(r.PathValue("model"), r.PathValue("version")), ""); err != nil {
		return t, req, w, err
	}
	if !t.manifest.Can(model.Generate) {
		return t, req, w, &Error{Fault: FaultTask, Param: "model", Why: t.version.String() + " does not generate text: call infer"}
	}
	b, err := readAll(r, s.cfg.MaxBody)
	if err != nil {
		return t, req, w, err
	}
	callOf(r.Context()).noteRequest(b)
	fields := map[string]any{}
	for _, into := range []any{&req, &fields} {
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if err := d.Decode(into); err != nil {
			return t, req, w, invalid("", "the request's body is not JSON: %v", err)
		}
	}
	if req.Text == nil {
		return t, req, w, invalid(portTextIn, "%s is missing", portTextIn)
	}
	if len(req.ID) > oip.MaxID {
		return t, req, w, invalid("id", "id: %d bytes are more than %d", len(req.ID), oip.MaxID)
	}
	asked := oip.Request{Parameters: oip.Parameters{}, Inputs: []tensor.Tensor{tensor.OfStrings(portTextIn, *req.Text)}}
	for _, from := range []map[string]any{fields, req.Parameters} {
		for name, value := range from {
			if n, ok := value.(json.Number); ok {
				value = number(n)
			}
			asked.Parameters[name] = value
		}
	}
	w, err = wishOf(&asked)
	return t, req, w, err
}

// number is a number as parameters have it: whole, or not.
func number(n json.Number) any {
	if i, err := n.Int64(); err == nil {
		return i
	}
	f, _ := n.Float64() // one that is too large is infinite, and refused where it is used
	return f
}

// oipGenerateOnce answers POST /v2/models/{model}/generate.
func (s *Server) oipGenerateOnce(w http.ResponseWriter, r *http.Request) error {
	t, req, wanted, err := s.generated(r)
	if err != nil {
		return err
	}
	if wanted.stream {
		return invalid(portStream, "stream: call generate_stream")
	}
	var b strings.Builder
	if err := s.oipGenerate(r.Context(), t, &wanted, func(p Piece) error { b.WriteString(p.Text); return nil }); err != nil {
		return err
	}
	w.(*answer).json(http.StatusOK, generateAnswer{req.ID, r.PathValue("model"), strconv.Itoa(t.version.Number), valid(b.String())})
	return nil
}

// oipGenerateStream answers POST /v2/models/{model}/generate_stream with an event for each piece.
func (s *Server) oipGenerateStream(w http.ResponseWriter, r *http.Request) error {
	t, req, wanted, err := s.generated(r)
	if err != nil {
		return err
	}
	wanted.include = false
	return s.oipGenerate(r.Context(), t, &wanted, func(p Piece) error {
		if p.Text == "" && p.Finish == "" {
			return nil
		}
		return w.(*answer).event(generateAnswer{req.ID, r.PathValue("model"), strconv.Itoa(t.version.Number), valid(p.Text)})
	})
}
