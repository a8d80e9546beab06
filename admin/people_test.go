package admin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/go-jose/go-jose/v4"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/skein-project/skein/access"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/cluster"
)

// issuer is a provider that the cluster has been told of.
type issuer struct {
	t   *testing.T
	url string
	key *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, key: key}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/keys" {
			json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k"}}})
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"issuer": i.url, "jwks_uri": i.url + "/keys"})
	}))
	t.Cleanup(s.Close)
	i.url = s.URL
	return i
}

// token vouches for somebody, for a while.
func (i *issuer) token(subject, email string, life time.Duration, groups ...string) string {
	i.t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: i.key, KeyID: "k"}}, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	b, err := json.Marshal(map[string]any{"iss": i.url, "sub": subject, "aud": "skein", "email": email, "email_verified": true, "groups": groups,
		"iat": time.Now().Add(-time.Hour).Unix(), "exp": time.Now().Add(life).Unix()})
	if err != nil {
		i.t.Fatal(err)
	}
	jws, err := s.Sign(b)
	if err != nil {
		i.t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return raw
}

// as calls a cluster with a key or a token.
func as(t *testing.T, url, secret string) *client.Client {
	t.Helper()
	c, err := client.New(client.Profile{URL: url, Key: secret})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// allProcedures are those of the whole operator's API, with what each needs.
func allProcedures() (needs access.Procedures, streams map[string]bool) {
	var files []protoreflect.FileDescriptor
	streams = map[string]bool{}
	protoregistry.GlobalFiles.RangeFilesByPackage("skein.admin.v1", func(f protoreflect.FileDescriptor) bool {
		files = append(files, f)
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				streams["/"+string(s.FullName())+"/"+string(m.Name())] = m.IsStreamingServer()
			}
		}
		return true
	})
	return access.Of(files...), streams
}

// Every role × every RPC: allowed as the table says, and nothing else (attack cases 1 and 39), for people that a provider vouches for.
func TestPeopleMatrix(t *testing.T) {
	t.Parallel()
	r, i := newRig(t, 2), newIssuer(t)
	root := r.api(r.Follower())
	url := root.Profile.URL
	want(t, 0, root.People.PutProvider, &adminv1.PutProviderRequest{Provider: &adminv1.Provider{Id: "corp", Issuer: i.url, ClientId: "skein"}})
	for _, role := range access.Roles() {
		b := &adminv1.Binding{Id: "b-" + string(role), Issuer: i.url, Group: string(role), Roles: []string{string(role)}}
		if role.Confined() {
			b.Tenant = cluster.DefaultTenant
		}
		want(t, 0, root.People.PutBinding, &adminv1.PutBindingRequest{Binding: b})
	}
	needs, streams := allProcedures()
	for procedure, stream := range streams {
		need, ok := needs.Requires(procedure)
		if !ok {
			t.Errorf("%s requires nothing", procedure)
		}
		for _, role := range access.Roles() {
			got := code(t.Context(), http.DefaultClient, url+procedure, stream, "Bearer "+i.token("u-"+string(role), "", time.Hour, string(role)))
			if allowed := access.Allows([]access.Role{role}, need); allowed && got == connect.CodeUnauthenticated || !allowed && got != connect.CodePermissionDenied {
				t.Errorf("%s as %s: %v, allowed %v", procedure, role, got, allowed)
			}
		}
		for name, secret := range map[string]string{
			"no role":          i.token("stranger", "", time.Hour, "strangers"),
			"expired":          i.token("u1", "", -time.Minute*5, "admin"),
			"another provider": newIssuerLike(t, i).token("u1", "", time.Hour, "admin"),
			"no signature":     strings.Join(strings.Split(i.token("u1", "", time.Hour, "admin"), ".")[:2], ".") + ".",
		} {
			expected := connect.CodeUnauthenticated
			if name == "no role" {
				expected = connect.CodePermissionDenied
			}
			if got := code(t.Context(), http.DefaultClient, url+procedure, stream, "Bearer "+secret); got != expected {
				t.Errorf("%s with a token: %s: %v", procedure, name, got)
			}
		}
	}
}

// newIssuerLike says that it is another provider, with a key of its own.
func newIssuerLike(t *testing.T, i *issuer) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{t: t, url: i.url, key: key}
}

// A person's roles come and go with bindings and providers; what a person changes stands in the record under the person's name.
func TestPeople(t *testing.T) {
	t.Parallel()
	r, i := newRig(t, 1), newIssuer(t)
	root := r.api(r.Leader())
	url := root.Profile.URL
	ann := i.token("u1", "ann@example.com", time.Hour, "ops")
	people := as(t, url, ann).People
	want(t, connect.CodeUnauthenticated, people.WhoAmI, &adminv1.WhoAmIRequest{})

	provider := &adminv1.Provider{Id: "corp", Issuer: i.url, ClientId: "skein"}
	for _, bad := range []*adminv1.Provider{nil, {Id: "x", Issuer: "http://login.example.com", ClientId: "skein"}, {Id: "x", Issuer: i.url}, {Issuer: i.url, ClientId: "skein"}} {
		want(t, connect.CodeInvalidArgument, root.People.PutProvider, &adminv1.PutProviderRequest{Provider: bad})
	}
	want(t, 0, root.People.PutProvider, &adminv1.PutProviderRequest{Provider: provider})
	want(t, connect.CodePermissionDenied, people.WhoAmI, &adminv1.WhoAmIRequest{})

	want(t, connect.CodeInvalidArgument, root.People.PutBinding, &adminv1.PutBindingRequest{})
	for code, bad := range map[connect.Code]*adminv1.Binding{
		connect.CodeInvalidArgument: {Id: "x", Issuer: i.url, Email: "ann@example.com", Roles: []string{"publisher"}},
		connect.CodeNotFound:        {Id: "x", Issuer: i.url, Email: "ann@example.com", Roles: []string{"publisher"}, Tenant: "gone"},
	} {
		want(t, code, root.People.PutBinding, &adminv1.PutBindingRequest{Binding: bad})
	}
	want(t, connect.CodeNotFound, root.People.PutBinding, &adminv1.PutBindingRequest{Binding: &adminv1.Binding{Id: "x", Issuer: "https://other.example.com", Group: "ops", Roles: []string{"admin"}}})
	want(t, 0, root.Tenants.PutTenant, &adminv1.PutTenantRequest{Tenant: &adminv1.Tenant{Id: "acme"}})
	want(t, 0, root.People.PutBinding, &adminv1.PutBindingRequest{Binding: &adminv1.Binding{Id: "b1", Issuer: i.url, Email: "Ann@example.com", Roles: []string{"publisher"}, Tenant: "acme"}})
	want(t, 0, root.People.PutBinding, &adminv1.PutBindingRequest{Binding: &adminv1.Binding{Id: "b2", Issuer: i.url, Group: "ops", Roles: []string{"admin"}}})

	me, err := people.WhoAmI(t.Context(), connect.NewRequest(&adminv1.WhoAmIRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	if m := me.Msg; m.Tenant != "acme" || !slices.Equal(m.Roles, []string{"publisher", "admin"}) || !strings.Contains(m.Person, "ann@example.com") || m.Key != "" || !slices.Contains(m.Permissions, "audit_read") {
		t.Errorf("%+v", m)
	}
	req := connect.NewRequest(&adminv1.WhoAmIRequest{})
	req.Header().Set("Skein-Tenant", "default")
	if me, err := people.WhoAmI(t.Context(), req); err != nil || me.Msg.Tenant != "default" || !slices.Equal(me.Msg.Roles, []string{"admin"}) {
		t.Errorf("in the name of another tenant: %+v %v", me, err)
	}
	req = connect.NewRequest(&adminv1.WhoAmIRequest{})
	req.Header().Set("Skein-Tenant", "gone")
	if _, err := people.WhoAmI(t.Context(), req); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("in the name of nobody: %v", err)
	}
	if me, err := root.People.WhoAmI(t.Context(), connect.NewRequest(&adminv1.WhoAmIRequest{})); err != nil || me.Msg.Key == "" || me.Msg.Person != "" || len(me.Msg.Permissions) < 20 {
		t.Errorf("a key: %+v %v", me, err)
	}

	want(t, 0, people.DeleteBinding, &adminv1.DeleteBindingRequest{Id: "b2"})
	want(t, connect.CodePermissionDenied, people.ListBindings, &adminv1.ListBindingsRequest{})
	bindings, err := root.People.ListBindings(t.Context(), connect.NewRequest(&adminv1.ListBindingsRequest{}))
	if err != nil || len(bindings.Msg.Bindings) != 1 || bindings.Msg.Bindings[0].Id != "b1" || bindings.Msg.Bindings[0].Tenant != "acme" {
		t.Errorf("%+v %v", bindings, err)
	}
	providers, err := root.People.ListProviders(t.Context(), connect.NewRequest(&adminv1.ListProvidersRequest{}))
	if err != nil || len(providers.Msg.Providers) != 1 || providers.Msg.Providers[0].ClientId != "skein" {
		t.Errorf("%+v %v", providers, err)
	}
	want(t, connect.CodeNotFound, root.People.DeleteBinding, &adminv1.DeleteBindingRequest{Id: "b2"})
	want(t, 0, root.People.DeleteProvider, &adminv1.DeleteProviderRequest{Id: "corp"})
	want(t, connect.CodeUnauthenticated, people.WhoAmI, &adminv1.WhoAmIRequest{})

	away := newIssuer(t)
	want(t, 0, root.People.PutProvider, &adminv1.PutProviderRequest{Provider: &adminv1.Provider{Id: "corp", Issuer: "http://127.0.0.1:1", ClientId: "skein"}})
	away.url = "http://127.0.0.1:1"
	nobody := as(t, url, away.token("u1", "", time.Hour))
	want(t, connect.CodeUnavailable, nobody.People.WhoAmI, &adminv1.WhoAmIRequest{})
}
