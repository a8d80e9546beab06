package gateway

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"slices"

	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/wire"
)

// embeddingRequest is the body of /v1/embeddings.
type embeddingRequest struct {
	Model      string          `json:"model"`
	Input      json.RawMessage `json:"input"`
	Encoding   string          `json:"encoding_format"`
	Dimensions *int            `json:"dimensions"`
	User       string          `json:"user"`

	// Beside the API of OpenAI: how the vector of a text is made of those of its tokens, and whether it has length 1. Default: as the model
	// declares.
	Pooling   model.Pooling `json:"pooling"`
	Normalize *bool         `json:"normalize"`
}

type embeddingJSON struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"`
}

type embeddingsJSON struct {
	Object string          `json:"object"`
	Data   []embeddingJSON `json:"data"`
	Model  string          `json:"model"`
	Usage  struct {
		Prompt int `json:"prompt_tokens"`
		Total  int `json:"total_tokens"`
	} `json:"usage"`
}

func (s *Server) embeddings(w http.ResponseWriter, r *http.Request) error {
	var req embeddingRequest
	if err := read(r, &req); err != nil {
		return err
	}
	if req.Encoding != "" && req.Encoding != "float" && req.Encoding != "base64" {
		return invalid("encoding_format", "encoding_format %.40q: want float or base64", req.Encoding)
	}
	if req.Pooling != "" && !slices.Contains([]model.Pooling{model.PoolCLS, model.PoolMean, model.PoolLast}, req.Pooling) {
		return invalid("pooling", "pooling %.40q: want cls, mean or last", req.Pooling)
	}
	t, err := s.text(r.Context(), req.Model, req.User)
	if err != nil {
		return err
	}
	if req.Dimensions != nil && *req.Dimensions != t.manifest.Config.Hidden {
		return invalid("dimensions", "the model's vectors have %d dimensions", t.manifest.Config.Hidden)
	}
	rowsOf := func(of *text) (rows []wire.EncodeRow, err error) {
		inputs, err := s.prompts(of, req.Input, "input")
		for _, ids := range inputs {
			rows = append(rows, wire.EncodeRow{IDs: ids})
		}
		return rows, err
	}
	rows, err := rowsOf(t)
	if err != nil {
		return err
	}
	tokens := 0
	for _, row := range rows {
		tokens += len(row.IDs)
	}
	want := func(of *text) wire.EncodeWant { return of.vectors(req.Pooling, req.Normalize) }
	vectors, err := s.embed(r.Context(), t, rows, want(t))
	if err != nil {
		return err
	}
	s.shadowEmbed(r.Context(), t, rowsOf, want, vectors)
	callOf(r.Context()).noteVectors(vectors)
	list := make([]embeddingJSON, len(vectors))
	for i, v := range vectors {
		list[i] = embeddingJSON{Object: "embedding", Index: i, Embedding: v}
		if req.Encoding == "base64" {
			list[i].Embedding = base64Floats(v)
		}
	}
	res := embeddingsJSON{Object: "list", Data: list, Model: req.Model}
	res.Usage.Prompt, res.Usage.Total = tokens, tokens
	w.(*answer).json(http.StatusOK, res)
	return nil
}

// base64Floats encodes little-endian float32, which is what the official Python client asks for by default.
func base64Floats(v []float32) string {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(b)
}
