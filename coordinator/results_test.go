package coordinator_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/hub"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/internal/servertest"
	"github.com/skein-project/skein/results"
	"github.com/skein-project/skein/wire"
)

// sent encodes records as gateways send them.
func sent(t *testing.T, list ...results.Record) *wire.KeepRequest {
	t.Helper()
	r := &wire.KeepRequest{}
	for _, x := range list {
		b, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		r.Records = append(r.Records, b)
	}
	return r
}

// A coordinator with a store takes records once, refuses those that are none, and writes those for the bucket there, the same ones into the same
// object; one without a store says where to go, or that nobody has one.
func TestKeepRecords(t *testing.T) {
	t.Parallel()
	at, keys := servertest.S3(t), filepath.Join(t.TempDir(), "keys")
	servertest.MakeBucket(t, at, "library")
	if err := os.WriteFile(keys, []byte("[default]\naws_access_key_id = "+servertest.AccessKey+"\naws_secret_access_key = "+servertest.SecretKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := fleettest.New(t, 2, "")
	first, second := f.Coordinators[0], f.Coordinators[1]
	member := f.Enrol(cluster.RoleGateway, "g")
	d := f.Dialer(member)
	keep := func(c *fleettest.Coordinator, r *wire.KeepRequest) (*wire.KeepResponse, error) {
		ctx, cancel := context.WithTimeout(t.Context(), fleettest.Patience)
		defer cancel()
		return wire.Call[wire.KeepRequest, wire.KeepResponse](ctx, d, cluster.RoleCoordinator, c.Config.Listen, wire.Keep, r)
	}
	record := func(id string, to results.Destination) results.Record {
		return results.Record{ID: id, At: time.Now().UnixMilli(), Tenant: "acme/../x", Model: "team/calc", Version: 2, Operation: "chat", Status: "ok", Days: 1, To: to, Answer: json.RawMessage(`"said"`)}
	}
	var refused *wire.Refused
	if _, err := keep(first, sent(t, record("1", ""))); !errors.As(err, &refused) || refused.Code != connect.CodeFailedPrecondition {
		t.Fatalf("without a store: %v", err)
	}
	f.Stop(first)
	first.Config.Results, first.Config.Bucket = "sqlite", "s3://library/skein"
	first.Config.Hub = hub.Config{S3URL: at, S3Keys: keys, Allow: []string{"127.0.0.0/8"}}
	f.Start(first)
	fleettest.Within(t, "the other knows who has a store", func() bool {
		_, err := keep(second, sent(t, record("1", "")))
		return errors.As(err, &refused) && refused.Addr == first.Config.Listen
	})
	r := sent(t, record("1", results.Database), record("2", results.Bucket), record("3", results.Bucket), record("4", ""))
	r.Records = append(r.Records, json.RawMessage(`{"id":"","at":-1}`), json.RawMessage(`[]`))
	for range 2 {
		if res, err := keep(first, r); err != nil || res.Refused != 2 {
			t.Fatalf("%+v, %v", res, err)
		}
	}
	var ids []string
	if err := first.Results().Each(t.Context(), results.Filter{}, func(r results.Record) error { ids = append(ids, r.ID); return nil }); err != nil || strings.Join(ids, " ") != "1 4" {
		t.Errorf("%q, %v", ids, err)
	}
	if _, err := keep(first, &wire.KeepRequest{Records: make([]json.RawMessage, wire.MaxKeep+1)}); err == nil {
		t.Error("too many records are taken")
	}
	objects := inBucket(t, at, "library", "skein/results/")
	if len(objects) != 1 {
		t.Fatalf("%d objects", len(objects))
	}
	for name, body := range objects {
		if !strings.HasPrefix(name, "skein/results/tenant=acme%2F..%2Fx/model=team%2Fcalc/version=2/day=") || strings.Count(body, "\n") != 2 || !strings.Contains(body, `"said"`) {
			t.Errorf("%s: %s", name, body)
		}
	}
	// Retention, by what the records say and by a policy that is shorter.
	old := record("5", "")
	old.At, old.Days = time.Now().Add(-48*time.Hour).UnixMilli(), 30
	old.Policy = results.Policy{Tenant: results.Any, Model: "team/*"}.ID()
	over := old
	over.ID, over.Days = "6", 1
	if _, err := keep(first, sent(t, old, over)); err != nil {
		t.Fatal(err)
	}
	left := func(want string) {
		t.Helper()
		if err := first.PurgeResults(t.Context()); err != nil {
			t.Fatal(err)
		}
		ids = nil
		if err := first.Results().Each(t.Context(), results.Filter{}, func(r results.Record) error { ids = append(ids, r.ID); return nil }); err != nil || strings.Join(ids, " ") != want {
			t.Errorf("%q are left, want %q: %v", ids, want, err)
		}
	}
	fleettest.Within(t, "it knows the time of the log", func() bool { return int64(first.Live().Now().At()) > over.Expires() })
	left("5 1 4")
	p := results.Policy{Tenant: results.Any, Model: "team/*", Keep: results.All, Days: 1}
	body, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	f.Do(f.Leader(), cluster.PutDocument{Document: cluster.Document{DocumentID: cluster.DocumentID{Kind: cluster.KeepPolicy, ID: p.ID()}, Body: body}})
	fleettest.Within(t, "the policy is known", func() bool {
		_, ok := first.Live().Now().Document(cluster.DocumentID{Kind: cluster.KeepPolicy, ID: p.ID()})
		return ok
	})
	left("1 4")
}

// Of two coordinators that keep records the one without a bucket says who has one, and while that one's bucket fails, what is for a database is stored.
func TestKeepBesideBucket(t *testing.T) {
	t.Parallel()
	at, keys := servertest.S3(t), filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("[default]\naws_access_key_id = "+servertest.AccessKey+"\naws_secret_access_key = "+servertest.SecretKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := fleettest.New(t, 2, "")
	first, second := f.Coordinators[0], f.Coordinators[1]
	for _, c := range f.Coordinators {
		f.Stop(c)
		c.Config.Results = "sqlite"
		if c == second {
			c.Config.Bucket, c.Config.Hub = "s3://library/skein", hub.Config{S3URL: at, S3Keys: keys, Allow: []string{"127.0.0.0/8"}}
		}
		f.Start(c)
	}
	d := f.Dialer(f.Enrol(cluster.RoleGateway, "g"))
	record := func(id string, to results.Destination) results.Record {
		return results.Record{ID: id, At: time.Now().UnixMilli(), Tenant: "acme", Model: "calc", Version: 1, Operation: "chat", Status: "ok", Days: 1, To: to}
	}
	keep := func(r *wire.KeepRequest) error {
		_, err := wire.Call[wire.KeepRequest, wire.KeepResponse](t.Context(), d, cluster.RoleCoordinator, first.Config.Listen, wire.Keep, r)
		return err
	}
	if err := keep(sent(t, record("1", results.Database))); err != nil {
		t.Fatal(err)
	}
	var refused *wire.Refused
	fleettest.Within(t, "it knows who has a bucket", func() bool {
		return errors.As(keep(sent(t, record("2", results.Bucket))), &refused) && refused.Addr == second.Config.Listen
	})
	both := sent(t, record("3", results.Database), record("4", results.Bucket))
	if _, err := second.Server.Keep(t.Context(), both); err == nil {
		t.Error("a bucket that does not exist took records")
	}
	var ids []string
	if err := second.Results().Each(t.Context(), results.Filter{}, func(r results.Record) error { ids = append(ids, r.ID); return nil }); err != nil || strings.Join(ids, " ") != "3" {
		t.Errorf("%q, %v", ids, err)
	}
	servertest.MakeBucket(t, at, "library")
	for range 2 { // as after an answer that was lost, and of the gateway of the one without a bucket
		if _, err := first.Server.Keep(t.Context(), sent(t, record("4", results.Bucket), record("5", results.Bucket))); err != nil {
			t.Fatal(err)
		}
	}
}

// inBucket reads the objects below a folder.
func inBucket(t *testing.T, at, bucket, prefix string) map[string]string {
	t.Helper()
	c, err := minio.New(strings.TrimPrefix(at, "http://"), &minio.Options{Creds: credentials.NewStaticV4(servertest.AccessKey, servertest.SecretKey, "")})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for o := range c.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		b, err := c.GetObject(t.Context(), bucket, o.Key, minio.GetObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		body := make([]byte, o.Size)
		if _, err := b.ReadAt(body, 0); err != nil && err.Error() != "EOF" {
			t.Fatal(fmt.Errorf("%s: %w", o.Key, err))
		}
		out[o.Key] = string(body)
	}
	return out
}

// Where records are to be kept is checked before anything starts, and a malformed address shows no password.
func TestResultsConfig(t *testing.T) {
	c := fleettest.New(t, 1, "").Coordinators[0].Config
	for where, ok := range map[string]bool{"": true, "sqlite": true, "postgres://u@h/d": true, "mysql://u@h/d": false, "/tmp/x": false} {
		c.Results = where
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("%q: %v", where, err)
		}
	}
}
