package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// momentDigits are the hexadecimal digits of a moment in an id.
const momentDigits = 12

// timedID is a new id that says when it was given, so that a list can go on behind it when what had it is deleted.
func timedID(prefix string, at cluster.Millis) string {
	return fmt.Sprintf("%s%0*x%s", prefix, momentDigits, int64(at), string(wire.NewID())[momentDigits:])
}

// moment is when an id of timedID was given.
func moment(id string) (cluster.Millis, bool) {
	digits := id[strings.LastIndexAny(id, "-_")+1:]
	if len(digits) < momentDigits {
		return 0, false
	}
	at, err := strconv.ParseInt(digits[:momentDigits], 16, 64)
	return cluster.Millis(at), err == nil
}

// page cuts a list, newest first and of equals the greater id first, to what was asked for. of says the id of an element and when it was made.
func page[T any](r *http.Request, list []T, of func(T) (string, cluster.Millis), most, usual int) (out []T, more bool, err error) {
	q := r.URL.Query()
	limit := usual
	if text := q.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > most {
			return nil, false, invalid("limit", "limit %.20q, want 1 to %d", text, most)
		}
	}
	after := q.Get("after")
	at, known := moment(after)
	var behind func(id string, made cluster.Millis) bool
	switch order := q.Get("order"); order {
	case "", "desc":
		behind = func(id string, made cluster.Millis) bool { return made < at || made == at && id < after }
	case "asc":
		slices.Reverse(list)
		behind = func(id string, made cluster.Millis) bool { return made > at || made == at && id > after }
	default:
		return nil, false, invalid("order", "order %.20q, want asc or desc", order)
	}
	if after != "" {
		i := slices.IndexFunc(list, func(x T) bool { id, _ := of(x); return id == after })
		switch {
		case i >= 0:
			list = list[i+1:]
		case !known:
			return nil, false, invalid("after", "after: there is no %.80q", after)
		default: // it was deleted meanwhile
			list = slices.DeleteFunc(list, func(x T) bool { return !behind(of(x)) })
		}
	}
	return list[:min(limit, len(list))], len(list) > limit, nil
}
