package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/skein-project/skein/results"
)

// owner is whose a response is: nobody else finds it.
type owner struct{ tenant, app string }

func ownerOf(ctx context.Context) owner {
	who := callOf(ctx).principal()
	return owner{who.Tenant, who.App}
}

// keptResponse is a response that can be asked for again, and gone on from.
type keptResponse struct {
	owner    owner
	response responseJSON
	items    []itemJSON // all that went in, from the beginning of the conversation
	size     int64      // bytes, about
	at       time.Time
}

// shelf keeps the newest responses of this gateway in its memory, up to a number of bytes and for a time. Where there is no room, the oldest
// response goes of whoever holds most, so that nobody pushes out another's.
type shelf struct {
	most int64 // bytes
	keep time.Duration

	mu     sync.Mutex
	byID   map[string]*keptResponse
	owners map[owner]*holding
	bytes  int64
}

// holding is what one owner has on the shelf.
type holding struct {
	ids   []string // the oldest first
	bytes int64
}

func newShelf(most int64, keep time.Duration) *shelf {
	return &shelf{most: most, keep: keep, byID: map[string]*keptResponse{}, owners: map[owner]*holding{}}
}

// put keeps a response; false = it is larger than the shelf.
func (s *shelf) put(k *keptResponse, now time.Time) bool {
	b, err := json.Marshal(struct {
		Response responseJSON
		Items    []itemJSON
	}{k.response, k.items})
	k.size, k.at = int64(len(b)), now
	if err != nil || k.size > s.most {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.bytes+k.size > s.most {
		s.evict()
	}
	h := s.owners[k.owner]
	if h == nil {
		h = &holding{}
		s.owners[k.owner] = h
	}
	s.byID[k.response.ID] = k
	h.ids = append(h.ids, k.response.ID)
	h.bytes += k.size
	s.bytes += k.size
	return true
}

// evict removes the oldest response of the owner of most bytes. The caller holds the lock.
func (s *shelf) evict() {
	var most *holding
	var whose owner
	for o, h := range s.owners {
		if most == nil || h.bytes > most.bytes || h.bytes == most.bytes && (o.tenant < whose.tenant || o.tenant == whose.tenant && o.app < whose.app) {
			most, whose = h, o
		}
	}
	s.drop(s.byID[most.ids[0]])
}

// drop removes a response. The caller holds the lock.
func (s *shelf) drop(k *keptResponse) {
	h := s.owners[k.owner]
	h.ids = slices.DeleteFunc(h.ids, func(id string) bool { return id == k.response.ID })
	h.bytes -= k.size
	s.bytes -= k.size
	delete(s.byID, k.response.ID)
	if len(h.ids) == 0 {
		delete(s.owners, k.owner)
	}
}

// get finds a response. What is somebody else's is not there.
func (s *shelf) get(who owner, id string, now time.Time) (*keptResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.byID[id]
	if k != nil && now.Sub(k.at) > s.keep {
		s.drop(k)
		k = nil
	}
	if k == nil || k.owner != who {
		return nil, fmt.Errorf("response %.80q is not kept here: a response is kept by the gateway that made it, in memory, for %s at most and while there is room", id, s.keep)
	}
	return k, nil
}

// remove forgets a response.
func (s *shelf) remove(k *keptResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[k.response.ID] == k {
		s.drop(k)
	}
}

// mayStore says whether the response is kept: as the client wishes, unless a policy says that answers are not.
func (s *Server) mayStore(ctx context.Context, wish *bool) (bool, error) {
	keep := callOf(ctx).keeps()
	forbidden := keep == results.Nothing || keep == results.Metadata
	if wish != nil && *wish && forbidden {
		return false, invalid("store", "store: the policy of this tenant and model keeps no answers")
	}
	return (wish == nil || *wish) && !forbidden, nil
}

// keptOf finds the response that a path names.
func (s *Server) keptOf(r *http.Request) (*keptResponse, error) {
	k, err := s.shelf.get(ownerOf(r.Context()), r.PathValue("response"), time.Now())
	if err != nil {
		return nil, &httpError{http.StatusNotFound, &Error{Fault: FaultInvalid, Param: "response_id", Why: err.Error()}}
	}
	return k, nil
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
	w.(*answer).json(http.StatusOK, k.response)
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
	k, err := s.keptOf(r)
	if err != nil {
		return err
	}
	s.shelf.remove(k)
	w.(*answer).json(http.StatusOK, deletedJSON{ID: k.response.ID, Object: "response", Deleted: true})
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
	items := slices.Clone(k.items)
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
