package gateway

import (
	"io"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skein-project/skein/cluster"
)

// Page by page a list comes once, also where what was seen is deleted, whichever way it goes; and what was given at one moment has an order too.
func TestPages(t *testing.T) {
	type file struct {
		id string
		at cluster.Millis
	}
	of := func(f file) (string, cluster.Millis) { return f.id, f.at }
	var all []file // newest first
	for i := range 20 {
		at := cluster.Millis(1_790_000_000_000 + i/3)
		all = append(all, file{timedID("file-", at), at})
	}
	slices.SortFunc(all, func(a, b file) int { return strings.Compare(b.id, a.id) })
	for _, order := range []string{"desc", "asc"} {
		for _, deletes := range []bool{false, true} {
			left, after, seen := slices.Clone(all), "", []file{}
			for {
				r := httptest.NewRequest("GET", "/v1/files?limit=3&order="+order+"&after="+after, nil)
				got, more, err := page(r, slices.Clone(left), of, 10, 10)
				if err != nil {
					t.Fatal(err)
				}
				seen = append(seen, got...)
				if !more {
					break
				}
				after = got[len(got)-1].id
				if deletes {
					left = slices.DeleteFunc(left, func(f file) bool { return slices.Contains(got, f) })
				}
			}
			want := slices.Clone(all)
			if order == "asc" {
				slices.Reverse(want)
			}
			if !slices.Equal(seen, want) {
				t.Errorf("%s, deleting: %v: %d files, want %d in order", order, deletes, len(seen), len(all))
			}
		}
	}
	for _, query := range []string{"after=file-none", "after=x", "limit=0", "limit=11", "limit=x", "order=up"} {
		if _, _, err := page(httptest.NewRequest("GET", "/v1/files?"+query, nil), slices.Clone(all), of, 10, 10); err == nil {
			t.Errorf("%s is taken", query)
		}
	}
}

// Files of one tenant that come slowly keep no other tenant's out, and every place is given back.
func TestUploadsTakeTurns(t *testing.T) {
	var u uploads
	var leave []func()
	for {
		l, err := u.enter("slow")
		if err != nil {
			break
		}
		leave = append(leave, l)
	}
	if len(leave) != maxTenantUploads {
		t.Errorf("%d files of one tenant at once", len(leave))
	}
	for i := range maxUploads - maxTenantUploads {
		l, err := u.enter("other" + strconv.Itoa(i))
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, l)
	}
	if _, err := u.enter("late"); err == nil {
		t.Error("more files than there are places")
	}
	for _, l := range leave {
		l()
	}
	if u.all != 0 || len(u.of) != 0 {
		t.Errorf("left behind: %d, %v", u.all, u.of)
	}
}

// A file that comes too slowly is refused once it has had its minute; one that keeps the pace is not.
func TestSlowUpload(t *testing.T) {
	for _, c := range []struct {
		bytes int64
		in    time.Duration
		slow  bool
	}{{0, uploadGrace, false}, {1, uploadGrace + 2*time.Second, true}, {2 * uploadRate, uploadGrace + 2*time.Second, false}, {100 * uploadRate, uploadGrace + 200*time.Second, true}, {1 << 30, time.Hour, false}} {
		if tooSlow(c.bytes, c.in) != c.slow {
			t.Errorf("%d bytes in %s: slow is not %v", c.bytes, c.in, c.slow)
		}
	}
	body := &steady{ReadCloser: io.NopCloser(strings.NewReader("x")), began: time.Now().Add(-2 * uploadGrace)}
	if _, err := io.ReadAll(body); explain(err).Fault != FaultInvalid || !strings.Contains(explain(err).Why, "a second") {
		t.Errorf("a slow body: %v", err)
	}
}
