package gateway

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/skein-project/skein/results"
	"github.com/skein-project/skein/wire"
)

// Waits of kept responses.
const (
	putWait = 2 * time.Second  // of an answer that is kept: beyond, it is not
	getWait = 10 * time.Second // of whoever asks for one
)

func ownerOf(ctx context.Context) results.Owner {
	who := callOf(ctx).principal()
	return results.Owner{Tenant: who.Tenant, App: who.App}
}

// keptResponse is a response that can be asked for again, and gone on from.
type keptResponse struct {
	Response responseJSON `json:"response"`
	Items    []itemJSON   `json:"items"`  // all that went in, from the beginning of the conversation
	Models   []string     `json:"models"` // that answered in it, as policies name them
}

// sealer is what follows from the id of a response: the name of the box that it is kept in, and the key that opens it. Whoever keeps the box
// knows neither the id nor the key.
func sealer(id string) (name string, box cipher.AEAD, err error) {
	derive := func(use string, bytes int) (b []byte) {
		if err == nil {
			b, err = hkdf.Key(sha256.New, []byte(id), nil, "skein kept response: "+use, bytes)
		}
		return b
	}
	name, key := hex.EncodeToString(derive("name", results.BoxName/2)), derive("key", 32)
	if err != nil {
		return "", nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", nil, err
	}
	box, err = cipher.NewGCMWithRandomNonce(block)
	return name, box, err
}

// bound is what a sealed response belongs to: in the box of another owner it cannot be opened.
func bound(o results.Owner) []byte { return []byte(o.Tenant + "\x00" + o.App) }

// keepResponse has a response kept by coordinators; false = it is not.
func (s *Server) keepResponse(ctx context.Context, k *keptResponse) bool {
	b := s.batching.Load()
	if b == nil {
		return false
	}
	plain, err := json.Marshal(k)
	if err != nil || len(plain) > results.MaxBox-sealRoom {
		return false
	}
	name, box, err := sealer(k.Response.ID)
	if err != nil {
		return false
	}
	who := ownerOf(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), putWait)
	defer cancel()
	_, err = b.Depot.PutBox(ctx, &wire.PutBoxRequest{Box: results.Box{Name: name, Owner: who, Expires: time.Now().Add(s.cfg.KeepFor).UnixMilli(), Sealed: box.Seal(nil, nil, plain, bound(who))}})
	if err != nil {
		s.log.Warn("a response is not kept", "err", err)
	}
	return err == nil
}

// sealRoom is what sealing adds, at most, in bytes.
const sealRoom = 64

// absentResponse says that a response is not kept.
func (s *Server) absentResponse(param, id string) error {
	return &httpError{http.StatusNotFound, &Error{Fault: FaultInvalid, Param: param,
		Why: fmt.Sprintf("response %.80q is not kept: responses are kept for %s at most, while there is room, and until they are deleted", id, s.cfg.KeepFor)}}
}

// silentShelf says that it is not known whether a response is kept.
func silentShelf(id string) error {
	return &Error{Fault: FaultUnavailable, Why: fmt.Sprintf("a coordinator that may keep response %.80q does not answer: try again", id)}
}

// findResponse finds a response of whoever asks.
func (s *Server) findResponse(ctx context.Context, param, id string) (*keptResponse, error) {
	b := s.batching.Load()
	if b == nil {
		return nil, &Error{Fault: FaultUnavailable, Why: "this gateway does not know where responses are kept"}
	}
	name, box, err := sealer(id)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, getWait)
	defer cancel()
	who := ownerOf(ctx)
	found, err := b.Depot.GetBox(ctx, &wire.BoxRequest{Name: name, Owner: who})
	switch {
	case err != nil:
		return nil, unavailable(err)
	case found.Box == nil && found.Silent > 0:
		return nil, silentShelf(id)
	case found.Box == nil || time.Now().UnixMilli() >= found.Box.Expires:
		return nil, s.absentResponse(param, id)
	}
	k := &keptResponse{}
	plain, err := box.Open(nil, nil, found.Box.Sealed, bound(who))
	if err == nil {
		err = json.Unmarshal(plain, k)
	}
	if err != nil {
		return nil, fmt.Errorf("open a kept response: %w", err)
	}
	return k, nil
}

// readResponse finds a response that may be read: a policy that was made since it was kept may forbid that.
func (s *Server) readResponse(ctx context.Context, param, id string) (*keptResponse, error) {
	k, err := s.findResponse(ctx, param, id)
	if err != nil {
		return nil, err
	}
	for _, m := range k.Models {
		if forbids(s.records.ruleOf(ownerOf(ctx).Tenant, m).Keep) {
			return nil, s.absentResponse(param, id)
		}
	}
	return k, nil
}

// forbids says that a policy keeps no answers. Without a policy it is the client's to say.
func forbids(k results.Keep) bool { return k == results.Nothing || k == results.Metadata }

// mayStore says whether the response is kept: as the client wishes, unless a policy says that answers are not.
func (s *Server) mayStore(ctx context.Context, wish *bool) (bool, error) {
	forbidden := forbids(callOf(ctx).keeps())
	if wish != nil && *wish && forbidden {
		return false, invalid("store", "store: the policy of this tenant and model keeps no answers")
	}
	return (wish == nil || *wish) && !forbidden, nil
}

// keptOf finds the response that a path names.
func (s *Server) keptOf(r *http.Request) (*keptResponse, error) {
	return s.readResponse(r.Context(), "response_id", r.PathValue("response"))
}

// getResponse answers GET /v1/responses/{response}.
func (s *Server) getResponse(w http.ResponseWriter, r *http.Request) error {
	if on, _ := strconv.ParseBool(r.URL.Query().Get("stream")); on {
		return invalid("stream", "a response that is kept is not streamed again")
	}
	k, err := s.keptOf(r)
	if err != nil {
		return err
	}
	w.(*answer).json(http.StatusOK, k.Response)
	return nil
}

// deletedJSON says that something is gone.
type deletedJSON struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Deleted bool   `json:"deleted"`
}

// deleteResponse answers DELETE /v1/responses/{response}.
func (s *Server) deleteResponse(w http.ResponseWriter, r *http.Request) error {
	k, err := s.findResponse(r.Context(), "response_id", r.PathValue("response"))
	if err != nil {
		return err
	}
	id := k.Response.ID
	name, _, err := sealer(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), getWait)
	defer cancel()
	switch res, err := s.batching.Load().Depot.DropBox(ctx, &wire.BoxRequest{Name: name, Owner: ownerOf(ctx)}); {
	case err != nil:
		return unavailable(err)
	case res.Silent > 0:
		return &Error{Fault: FaultUnavailable, Why: fmt.Sprintf("response %.80q is deleted where it could be, and a coordinator that may have a copy does not answer: delete it again later", id)}
	}
	w.(*answer).json(http.StatusOK, deletedJSON{ID: id, Object: "response", Deleted: true})
	return nil
}

// cancelResponse answers POST /v1/responses/{response}/cancel: only what runs in the background could be cancelled, and nothing does.
func (s *Server) cancelResponse(_ http.ResponseWriter, r *http.Request) error {
	if _, err := s.keptOf(r); err != nil {
		return err
	}
	return invalid("response_id", "the response does not run in the background, so it cannot be cancelled: close its connection instead")
}

// itemsJSON is a page of items.
type itemsJSON struct {
	Object  string     `json:"object"`
	Data    []itemJSON `json:"data"`
	FirstID *string    `json:"first_id"`
	LastID  *string    `json:"last_id"`
	HasMore bool       `json:"has_more"`
}

// Bounds of a page of items, as the API has them.
const (
	pageItems    = 20
	maxPageItems = 100
)

// listItems answers GET /v1/responses/{response}/input_items.
func (s *Server) listItems(w http.ResponseWriter, r *http.Request) error {
	k, err := s.keptOf(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	limit, err := strconv.Atoi(cmp.Or(q.Get("limit"), strconv.Itoa(pageItems)))
	if err != nil || limit < 1 || limit > maxPageItems {
		return invalid("limit", "limit %.20q, want 1 to %d", q.Get("limit"), maxPageItems)
	}
	items := slices.Clone(k.Items)
	switch order := q.Get("order"); order {
	case "", "desc":
		slices.Reverse(items)
	case "asc":
	default:
		return invalid("order", "order %.20q, want asc or desc", order)
	}
	if after := q.Get("after"); after != "" {
		i := slices.IndexFunc(items, func(x itemJSON) bool { return x.ID == after })
		if i < 0 {
			return invalid("after", "after: no item %.80q", after)
		}
		items = items[i+1:]
	}
	page := itemsJSON{Object: "list", Data: items[:min(limit, len(items))], HasMore: len(items) > limit}
	if n := len(page.Data); n > 0 {
		page.FirstID, page.LastID = &page.Data[0].ID, &page.Data[n-1].ID
	}
	w.(*answer).json(http.StatusOK, page)
	return nil
}
