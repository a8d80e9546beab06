package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/internal/devfleet"
)

// offer is a model that a test serves under a name.
type offer struct {
	dir            string // of the repository, or a path
	slots, context int32
	whole          bool // on one node; else it is cut over both
}

// serving raises a fleet of two nodes and serves models on it, each cut over both nodes unless it is to be whole.
func serving(t testing.TB, cfg devfleet.Config, offers map[string]offer) *stage {
	t.Helper()
	cfg.Nodes = 2
	if cfg.Devices == nil {
		cfg.Devices = []string{"host:512MiB"}
	}
	s := raise(t, cfg)
	devices := s.devices()
	versions := map[string]string{}
	for name, o := range offers {
		if !filepath.IsAbs(o.dir) {
			o.dir = filepath.Join(root(t), o.dir)
		}
		v := s.push(o.dir, name)
		versions[name] = v
		if _, err := s.admin.Deployments.Serve(t.Context(), connect.NewRequest(&adminv1.ServeRequest{Model: v, Slots: o.slots, Context: o.context})); err != nil {
			t.Fatal(err)
		}
		for i, d := range devices {
			if o.whole {
				break
			}
			if _, err := s.admin.Deployments.Pin(t.Context(), connect.NewRequest(&adminv1.PinRequest{Model: v, Stage: int32(i), Device: d})); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, o := range offers {
		stages := 2
		if o.whole {
			stages = 1
		}
		s.until(name+" to be ready", func(ctx context.Context) error { return s.cut(ctx, versions[name], stages) })
		if _, err := s.admin.Models.SetAlias(t.Context(), connect.NewRequest(&adminv1.SetAliasRequest{Name: name, Version: versions[name]})); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// devices lists the first device of each node.
func (s *stage) devices() (out []string) {
	s.t.Helper()
	res, err := s.admin.Nodes.ListNodes(s.t.Context(), connect.NewRequest(&adminv1.ListNodesRequest{}))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, n := range res.Msg.Nodes {
		out = append(out, n.Devices[0].Id)
	}
	return out
}

// viewOf is what the operator sees of a version.
func (s *stage) viewOf(ctx context.Context, version string) (*adminv1.DeploymentView, error) {
	res, err := s.admin.Deployments.List(ctx, connect.NewRequest(&adminv1.ListRequest{}))
	if err != nil {
		return nil, err
	}
	for _, d := range res.Msg.Deployments {
		if d.Version == version {
			return d, nil
		}
	}
	return nil, fmt.Errorf("%s is not deployed", version)
}

// cut checks that the one replica of a version is ready, in so many stages.
func (s *stage) cut(ctx context.Context, version string, stages int) error {
	d, err := s.viewOf(ctx, version)
	if err == nil && (d.Ready != 1 || len(d.Replicas) != 1 || len(d.Replicas[0].Stages) != stages) {
		err = fmt.Errorf("%v", d)
	}
	return err
}

// active waits until a version has so many requests, as its nodes report them.
func (s *stage) active(version string, n int32) {
	s.t.Helper()
	s.until(fmt.Sprintf("%d requests on %s", n, version), func(ctx context.Context) error {
		d, err := s.viewOf(ctx, version)
		if err != nil {
			return err
		}
		var got int32
		for _, r := range d.Replicas {
			for _, st := range r.Stages {
				got += st.Active
			}
		}
		if got != n {
			return fmt.Errorf("%d requests", got)
		}
		return nil
	})
}

// floats is an array of the reference files: little-endian float32 in base64.
type floats []float32

func (f *floats) UnmarshalJSON(b []byte) error {
	var in struct {
		F32 []byte `json:"f32"`
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	for i := 0; i+4 <= len(in.F32); i += 4 {
		*f = append(*f, math.Float32frombits(binary.LittleEndian.Uint32(in.F32[i:])))
	}
	return nil
}

// reference is what Hugging Face transformers gave for a fixture.
type reference struct {
	EOS     []int32
	Prompts []struct {
		Text   string
		IDs    []int32
		Greedy struct {
			IDs  []int32
			Text string
		}
		Logits floats // [tokens, vocabulary]; only of the first prompt
	}
	Chats []struct {
		Messages []struct{ Role, Content string }
		Add      bool `json:"add_generation_prompt"`
		IDs      []int32
	}
	Labels []string
	Inputs []struct {
		Text           string
		Pair           string
		IDs            []int32
		Types          []int32 `json:"type_ids"`
		Hidden, Vector floats
		Logits, Scores floats
	}
}

func referenceOf(t testing.TB, name string) (r reference) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root(t), "testdata", "models", name, "reference.json"))
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fixture is the folder of a test model.
func fixture(name string) string { return filepath.Join("testdata", "models", name) }

// altered copies a fixture and changes files of it; a nil content takes the file away.
func altered(t testing.TB, name string, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root(t), fixture(name)))); err != nil {
		t.Fatal(err)
	}
	for _, f := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(dir, f)
		os.Remove(path) // copies keep the permissions of what they are copied from
		if files[f] == nil {
			continue
		}
		if err := os.WriteFile(path, files[f], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// merged is a JSON file of a fixture with other fields.
func merged(t testing.TB, name, file string, fields map[string]any) []byte {
	t.Helper()
	all := map[string]any{}
	b, err := os.ReadFile(filepath.Join(root(t), fixture(name), file))
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(all, fields)
	b, err = json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// near checks that vectors are equal to what float32 in another order of summing can give.
func near(t testing.TB, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d numbers, want %d", what, len(got), len(want))
		return
	}
	for i := range want {
		if d := math.Abs(float64(got[i] - want[i])); !(d <= 1e-4) {
			t.Errorf("%s: number %d is %v, want %v", what, i, got[i], want[i])
			return
		}
	}
}

// reply is an answer of the HTTP API.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// send makes a request with the client's key; v is JSON text as it is, or a value.
func (s *stage) send(method, path string, v any) reply {
	s.t.Helper()
	return s.sendAs("Bearer "+s.Key, method, path, v, nil)
}

func (s *stage) sendAs(auth, method, path string, v any, header map[string]string) reply {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.URL()+path, bytes.NewReader(body(s.t, v)))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, b}
}

func body(t testing.TB, v any) []byte {
	t.Helper()
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return []byte(v)
	case []byte:
		return v
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ok decodes an answer that must be a success.
func (r reply) ok(t testing.TB, v any) {
	t.Helper()
	if r.status != http.StatusOK {
		t.Fatalf("status %d: %s", r.status, r.body)
	}
	if err := json.Unmarshal(r.body, v); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
}

// events reads a stream of server-sent events, which must end with [DONE].
func (r reply) events(t testing.TB) (out []json.RawMessage) {
	t.Helper()
	if r.status != http.StatusOK || r.header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("status %d, %s: %s", r.status, r.header.Get("Content-Type"), r.body)
	}
	lines := bufio.NewScanner(bytes.NewReader(r.body))
	done := false
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case lines.Text() == "":
		case !ok || done:
			t.Fatalf("not expected here: %q", lines.Text())
		case text == "[DONE]":
			done = true
		default:
			out = append(out, json.RawMessage(text))
		}
	}
	if !done || !bytes.HasSuffix(r.body, []byte("data: [DONE]\n\n")) {
		t.Fatalf("the stream does not end with [DONE]: %q", r.body[max(0, len(r.body)-100):])
	}
	return out
}

// base64Vector reads little-endian float32 numbers.
func base64Vector(t testing.TB, s string) (out []float32) {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b)%4 != 0 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	for i := 0; i < len(b); i += 4 {
		out = append(out, math.Float32frombits(binary.LittleEndian.Uint32(b[i:])))
	}
	return out
}
