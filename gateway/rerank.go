package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/token"
	"github.com/skein-project/skein/wire"
)

// Ranking is a document's place among those that were ranked.
type Ranking struct {
	Index int // of the document in the request
	Score float32
}

// Ranked is a query with the documents to rank.
type Ranked struct {
	Query     string
	Documents []string
	Top       int // so many of the best; 0 = all
	Tokens    int // documents are cut after so many; 0 = they are not cut
}

// rerank scores how well documents fit a query, best first.
func (s *Server) rerank(ctx context.Context, t *text, q Ranked) (out []Ranking, tokens int, err error) {
	if !t.manifest.Can(model.Rerank) {
		return nil, 0, &Error{Fault: FaultTask, Param: "model", Why: fmt.Sprintf("%s does not rank: that takes a classifier of pairs with one label", t.version)}
	}
	if err := s.ranked(q); err != nil {
		return nil, 0, err
	}
	rows, err := t.pairs(q)
	if err != nil {
		return nil, 0, err
	}
	for _, r := range rows {
		tokens += len(r.IDs)
	}
	scored, err := s.encode(ctx, t, rows, wire.EncodeWant{Logits: true})
	if err != nil {
		return nil, 0, err
	}
	for i, r := range scored {
		if len(r.Logits) != 1 {
			return nil, 0, fmt.Errorf("gateway: %d scores of a document", len(r.Logits))
		}
		out = append(out, Ranking{Index: i, Score: t.manifest.Problem.Scores(r.Logits)[0]})
	}
	slices.SortStableFunc(out, func(a, b Ranking) int { return cmp.Compare(b.Score, a.Score) })
	if q.Top > 0 {
		out = out[:min(len(out), q.Top)]
	}
	return out, tokens, nil
}

// ranked checks what is to be ranked.
func (s *Server) ranked(q Ranked) error {
	switch n := len(q.Documents); {
	case q.Query == "":
		return invalid("query", "query is empty")
	case n < 1 || n > s.cfg.MaxInputs:
		return invalid("documents", "%d documents, want 1 to %d", n, s.cfg.MaxInputs)
	case q.Top < 0:
		return invalid("top_n", "top_n is %d, want at least 0", q.Top)
	case q.Tokens < 0:
		return invalid("max_tokens_per_doc", "max_tokens_per_doc is %d, want at least 0", q.Tokens)
	}
	return nil
}

// pairs joins the query with each document.
func (t *text) pairs(q Ranked) (rows []wire.EncodeRow, err error) {
	if t.tokenizer == nil {
		return nil, errNoTokenizer
	}
	query, err := t.tokenizer.Encode(q.Query, token.EncodeOptions{})
	if err != nil {
		return nil, err
	}
	for _, d := range q.Documents {
		e, err := t.tokenizer.Encode(d, token.EncodeOptions{})
		if err != nil {
			return nil, err
		}
		if q.Tokens > 0 {
			e = e.Part(0, min(len(e.IDs), q.Tokens))
		}
		rows = append(rows, t.row(t.tokenizer.Pair(query, e)))
	}
	return rows, nil
}

// rerankRequest is the body of /v1/rerank, as the APIs of Cohere and Jina and the server of vLLM have it.
type rerankRequest struct {
	Model     string         `json:"model"`
	Query     string         `json:"query"`
	Documents []documentText `json:"documents"`
	Top       *int           `json:"top_n"`
	Return    *bool          `json:"return_documents"`   // default true
	Tokens    int            `json:"max_tokens_per_doc"` // 0 = a document that does not fit is refused
	User      string         `json:"user"`
}

// documentText is a text, or an object with the field "text".
type documentText string

// UnmarshalJSON implements json.Unmarshaler.
func (d *documentText) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil && string(b) != "null" {
		*d = documentText(s)
		return nil
	}
	var o struct{ Text *string }
	if err := json.Unmarshal(b, &o); err != nil || o.Text == nil {
		return invalid("documents", "a document is a text, or an object with the field text")
	}
	*d = documentText(*o.Text)
	return nil
}

type documentJSON struct {
	Text string `json:"text"`
}

type rankingJSON struct {
	Index    int           `json:"index"`
	Score    float32       `json:"relevance_score"`
	Document *documentJSON `json:"document,omitempty"`
}

type rankingsJSON struct {
	ID      string        `json:"id"`
	Model   string        `json:"model"`
	Results []rankingJSON `json:"results"`
	Usage   *usageJSON    `json:"usage"`
}

func (s *Server) rerankings(w http.ResponseWriter, r *http.Request) error {
	var req rerankRequest
	if err := read(r, &req); err != nil {
		return err
	}
	ctx := r.Context()
	t, err := s.text(ctx, req.Model, req.User)
	if err != nil {
		return err
	}
	q := Ranked{Query: req.Query, Tokens: req.Tokens}
	if req.Top != nil {
		if q.Top = *req.Top; q.Top < 1 {
			return invalid("top_n", "top_n is %d, want at least 1", q.Top)
		}
	}
	for _, d := range req.Documents {
		q.Documents = append(q.Documents, string(d))
	}
	list, tokens, err := s.rerank(ctx, t, q)
	if err != nil {
		return err
	}
	s.shadowRerank(ctx, t, q, list)
	out := rankingsJSON{ID: newID("rerank-"), Model: req.Model, Results: []rankingJSON{}, Usage: usageOf(Usage{Prompt: tokens})}
	for _, x := range list {
		line := rankingJSON{Index: x.Index, Score: x.Score}
		if req.Return == nil || *req.Return {
			line.Document = &documentJSON{q.Documents[x.Index]}
		}
		out.Results = append(out.Results, line)
	}
	w.(*answer).json(http.StatusOK, out)
	return nil
}

// shadowRerank copies a ranking, whose order must be equal.
func (s *Server) shadowRerank(ctx context.Context, t *text, q Ranked, given []Ranking) {
	shadowTask(ctx, s, t, given, func(ctx context.Context, other *text) ([]Ranking, error) {
		got, _, err := s.rerank(ctx, other, q)
		return got, err
	}, func(a, b []Ranking) bool {
		return slices.EqualFunc(a, b, func(x, y Ranking) bool { return x.Index == y.Index })
	})
}
