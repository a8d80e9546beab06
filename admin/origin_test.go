package admin_test

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/fleettest"
)

// Where proxies are trusted, a call comes from where they say, at the leader and where a coordinator passes it on; a caller that nobody
// knows, or that says so itself, comes from nowhere that an application may call from.
func TestOrigin(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	c := r.api(r.Leader())
	r.Do(r.Leader(), cluster.PutApplication{Application: cluster.Application{AppID: cluster.AppID{Tenant: "default", ID: "portal"}, Models: []string{"*"}, Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}})
	secret, err := c.Cluster.CreateKey(t.Context(), connect.NewRequest(&adminv1.CreateKeyRequest{Name: "portal", Application: "portal"}))
	if err != nil {
		t.Fatal(err)
	}
	proxied := func(r *http.Request) netip.Addr { // as a gateway does behind a proxy at 127.0.0.1
		a, _ := netip.ParseAddr(r.Header.Get("X-Forwarded-For"))
		return a
	}
	url := func(c *fleettest.Coordinator, behind func(*http.Request) netip.Addr) string {
		_, api := r.serves(c, behind)
		return api.Profile.URL
	}
	for name, at := range map[string]string{"leader": url(r.Leader(), proxied), "follower": url(r.Follower(), proxied), "without proxies": url(r.Leader(), nil)} {
		for from, want := range map[string]int{"10.1.2.3": http.StatusOK, "11.1.2.3": http.StatusUnauthorized, "somebody": http.StatusUnauthorized, "127.0.0.1": http.StatusUnauthorized} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at+"/skein.admin.v1.PeopleService/WhoAmI", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+secret.Msg.Key)
			req.Header.Set("X-Forwarded-For", from)
			req.Header.Set("Skein-Client", "10.9.9.9")
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if name == "without proxies" {
				want = http.StatusUnauthorized
			}
			if res.StatusCode != want {
				t.Errorf("%s, from %s: %d %s, want %d", name, from, res.StatusCode, b, want)
			}
		}
	}
}
