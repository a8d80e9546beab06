package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/skein-project/skein/gateway/oip"
	"github.com/skein-project/skein/internal/devfleet"
)

// The Open Inference Protocol v2 over HTTP, on models that are cut over two nodes.
func TestOpenInference(t *testing.T) {
	s := serving(t, devfleet.Config{Coordinators: 1}, map[string]offer{
		"gpt2":  {dir: fixture("gpt2"), slots: 4, context: 256},
		"embed": {dir: fixture("bert-embed"), slots: 1, context: 128},
		"sort":  {dir: fixture("bert-classify"), slots: 1, context: 128},
	})
	c := oipClient{t, s.URL(), s.Key}
	t.Run("metadata", c.metadata)
	t.Run("JSON", c.json)
	t.Run("binary", c.binary)
	t.Run("text", c.text)
	t.Run("generate", c.generate)
	t.Run("gRPC", c.rpc)
	t.Run("probes", c.probes)
	t.Run("repository", c.repository)
}

// oipClient calls the protocol as a stranger would.
type oipClient struct {
	t        *testing.T
	url, key string
}

func (c oipClient) call(t *testing.T, method, path string, body []byte, header ...string) (int, http.Header, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, c.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.key)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, b
}

// get reads an answer with status 200.
func (c oipClient) get(t *testing.T, method, path, body string, into any) {
	t.Helper()
	status, _, b := c.call(t, method, path, []byte(body))
	if status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, status, b)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v: %s", path, err, b)
	}
}

func (c oipClient) metadata(t *testing.T) {
	var server oip.ServerMetadata
	c.get(t, "GET", "/v2", "", &server)
	if server.Name != "skein" || server.Version == "" || len(server.Extensions) == 0 {
		t.Errorf("%+v", server)
	}
	for _, path := range []string{"/v2/health/live", "/v2/health/ready"} {
		res, err := http.Get(c.url + path) //nolint:noctx // without a key
		if err != nil {
			t.Fatal(err)
		}
		var said map[string]bool
		if err := json.NewDecoder(res.Body).Decode(&said); err != nil || res.StatusCode != http.StatusOK || !said[filepath.Base(path)] {
			t.Errorf("%s: %d %v %v", path, res.StatusCode, said, err)
		}
		res.Body.Close()
	}
	for _, path := range []string{"/v2/models/sort", "/v2/models/sort/versions/1"} {
		var m oip.ModelMetadata
		c.get(t, "GET", path, "", &m)
		if got := fmt.Sprint(m); got != "{sort [1] skein_bert [{input_ids INT64 [-1 -1]} {attention_mask INT64 [-1 -1]} {token_type_ids INT64 [-1 -1]}] "+
			"[{last_hidden_state FP32 [-1 -1 32]} {pooled FP32 [-1 32]} {logits FP32 [-1 3]} {sentence_embedding FP32 [-1 32]}]}" {
			t.Errorf("%s: %s", path, got)
		}
		c.get(t, "GET", path+"/ready", "", nil)
		var config oip.ModelConfig
		if c.get(t, "GET", path+"/config", "", &config); config.Name != "sort" || len(config.Input) != 3 || config.Input[0].DataType != "TYPE_INT64" || !config.Input[1].Optional {
			t.Errorf("%s: %+v", path, config)
		}
	}
	for path, want := range map[string]int{"/v2/models/none": 404, "/v2/models/sort/versions/2": 404, "/v2/models/sort/versions/x/ready": 404, "/v2/models/team/x/ready": 404,
		"/v2/x": 404, "/v2/logging": 501, "/v2/systemsharedmemory/status": 501, "/v2/models/sort/trace/setting": 501} {
		status, _, b := c.call(t, "GET", path, nil)
		var e oip.ErrorJSON
		if err := json.Unmarshal(b, &e); err != nil || status != want || e.Error == "" {
			t.Errorf("%s: %d %s, want %d", path, status, b, want)
		}
	}
}

// json: outputs of padded rows are those of the rows alone, whichever way they are asked for.
func (c oipClient) json(t *testing.T) {
	ask := func(body string) map[string]oip.TensorJSON {
		t.Helper()
		var a oip.AnswerJSON
		c.get(t, "POST", "/v2/models/sort/infer", body, &a)
		if a.Model != "sort" || a.Version != "1" || a.ID != "x-1" {
			t.Errorf("%+v", a)
		}
		out := map[string]oip.TensorJSON{}
		for _, o := range a.Outputs {
			out[o.Name] = o
		}
		return out
	}
	both := ask(`{"id": "x-1", "inputs": [
		{"name": "input_ids", "datatype": "INT64", "shape": [2, 4], "data": [[2, 5, 6, 3], [2, 7, 3, 0]]},
		{"name": "attention_mask", "datatype": "INT64", "shape": [2, 4], "data": [1, 1, 1, 1, 1, 1, 1, 0]}]}`)
	alone := ask(`{"id": "x-1", "inputs": [{"name": "input_ids", "datatype": "INT32", "shape": [1, 3], "data": [2, 7, 3]}], "outputs": [{"name": "logits"}, {"name": "pooled"}]}`)
	if fmt.Sprint(both["last_hidden_state"].Shape, both["pooled"].Shape, both["logits"].Shape) != "[2 4 32] [2 32] [2 3]" || len(alone) != 2 {
		t.Errorf("%v", both)
	}
	for name, width := range map[string]int{"logits": 3, "pooled": 32} {
		a, b := both[name].Data.([]any)[width:], alone[name].Data.([]any)
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("%s: %v, alone %v", name, a, b)
		}
	}
	for body, want := range map[string]string{
		`{`:              "no JSON",
		`{"inputs": []}`: "none",
		`{"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [1, 3], "data": [1, 2]}]}`:                                                                                   "says more",
		`{"inputs": [{"name": "ids", "datatype": "INT64", "shape": [1, 1], "data": [1]}]}`:                                                                                            "there is no input",
		`{"inputs": [{"name": "input_ids", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}`:                                                                                       "want I64",
		`{"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [1], "data": [1]}]}`:                                                                                         "shape",
		`{"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [1, 1], "data": [900000]}]}`:                                                                                 "vocabulary",
		`{"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [1, 1], "data": [1]}], "outputs": [{"name": "x"}]}`:                                                          "there is no output",
		`{"inputs": [{"name": "attention_mask", "datatype": "INT64", "shape": [1, 1], "data": [1]}]}`:                                                                                 "missing",
		`{"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [1, 2], "data": [1, 2]}, {"name": "attention_mask", "datatype": "INT64", "shape": [1, 2], "data": [0, 1]}]}`: "zeros where the row is padded",
		`{"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [1, 1], "data": [1], "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 8}}]}`:           "unsupported",
		`{"parameters": {"sequence_id": 3}, "inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [1, 1], "data": [1]}]}`:                                                    "unsupported",
		`{"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [1, 1], "data": [1], "parameters": {"binary_data_size": 8}}]}`:                                               "both data and binary data",
		`{"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [1, 1], "parameters": {"binary_data_size": 8}}]}`:                                                            "within the 0 bytes",
	} {
		status, _, b := c.call(t, "POST", "/v2/models/sort/infer", []byte(body))
		var e oip.ErrorJSON
		if err := json.Unmarshal(b, &e); err != nil || status != 400 && (status != 501 || want != "unsupported") || !strings.Contains(e.Error, want) {
			t.Errorf("%s: %d %s, want %q", body, status, b, want)
		}
	}
}

// binary: the same numbers come as bytes.
func (c oipClient) binary(t *testing.T) {
	head := `{"id": "b", "parameters": {"binary_data_output": true}, "inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [1, 3], "parameters": {"binary_data_size": 24}}],
		"outputs": [{"name": "sentence_embedding"}, {"name": "last_hidden_state", "parameters": {"binary_data": false}}]}`
	body := []byte(head)
	for _, id := range []uint64{2, 7, 3} {
		body = binary.LittleEndian.AppendUint64(body, id)
	}
	status, header, b := c.call(t, "POST", "/v2/models/embed/infer", body, oip.HeaderLength, strconv.Itoa(len(head)))
	n, err := strconv.Atoi(header.Get(oip.HeaderLength))
	if status != http.StatusOK || err != nil || n >= len(b) {
		t.Fatalf("%d %v %s", status, header, b)
	}
	var a, plain oip.AnswerJSON
	if err := json.Unmarshal(b[:n], &a); err != nil || len(a.Outputs) != 2 || a.Outputs[0].Data != nil || a.Outputs[1].Data == nil ||
		a.Outputs[0].Parameters["binary_data_size"] != float64(len(b)-n) {
		t.Fatalf("%v %s", err, b[:n])
	}
	c.get(t, "POST", "/v2/models/embed/infer", `{"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [1, 3], "data": [2, 7, 3]}], "outputs": [{"name": "sentence_embedding"}]}`, &plain)
	for i, want := range plain.Outputs[0].Data.([]any) {
		if got := math.Float32frombits(binary.LittleEndian.Uint32(b[n+4*i:])); got != float32(want.(float64)) {
			t.Errorf("%d: %v, want %v", i, got, want)
		}
	}
	for length, want := range map[string]string{"99999": "more than", "-1": "one number", "5": "no JSON", "": "one number"} {
		status, _, b := c.call(t, "POST", "/v2/models/embed/infer", body, oip.HeaderLength, length)
		if status != 400 || !strings.Contains(string(b), want) {
			t.Errorf("%s %q: %d %s", oip.HeaderLength, length, status, b)
		}
	}
}

// text: a model that generates answers as its completions do.
func (c oipClient) text(t *testing.T) {
	var want struct{ Choices []struct{ Text string } }
	c.get(t, "POST", "/v1/completions", `{"model": "gpt2", "prompt": "the end", "max_tokens": 6, "temperature": 0}`, &want)
	for _, body := range []string{
		`{"parameters": {"max_tokens": 6, "temperature": 0}, "inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [1], "data": ["the end"]}]}`,
		`{"inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [1, 1], "data": [["the end"]]}, {"name": "max_tokens", "datatype": "INT32", "shape": [1], "data": [6]},
			{"name": "temperature", "datatype": "FP32", "shape": [1], "data": [0.0]}], "outputs": [{"name": "text_output"}]}`,
	} {
		var a oip.AnswerJSON
		c.get(t, "POST", "/v2/models/gpt2/infer", body, &a)
		if len(a.Outputs) != 1 || a.Outputs[0].Name != "text_output" || a.Outputs[0].Datatype != "BYTES" || a.Outputs[0].Data.([]any)[0] != want.Choices[0].Text {
			t.Errorf("%+v, want %q", a, want.Choices[0].Text)
		}
	}
}
