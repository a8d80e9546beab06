// Package client calls a cluster from outside: who calls which cluster, the operator's API, inference, and uploads of models.
package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/api/inference/inferenceconnect"
	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
	"github.com/skein-project/skein/api/skein/inference/v1/inferencev1connect"
)

// maxAnswer bounds one message of an answer in bytes.
const maxAnswer = 64 << 20

// Client calls one cluster with one key.
type Client struct {
	Profile     Profile
	HTTP        *http.Client // adds the key to every request
	Models      adminv1connect.ModelServiceClient
	Deployments adminv1connect.DeploymentServiceClient
	Nodes       adminv1connect.NodeServiceClient
	Cluster     adminv1connect.ClusterServiceClient
	Rollouts    adminv1connect.RolloutServiceClient
	Tenants     adminv1connect.TenantServiceClient
	Usage       adminv1connect.UsageServiceClient
	Library     adminv1connect.LibraryServiceClient
	Audit       adminv1connect.AuditServiceClient
	Backups     adminv1connect.BackupServiceClient
	Members     adminv1connect.MemberServiceClient
	Alerts      adminv1connect.AlertServiceClient
	People      adminv1connect.PeopleServiceClient
	Results     adminv1connect.ResultServiceClient
	Views       adminv1connect.ViewServiceClient
	Inference   inferencev1connect.InferenceServiceClient

	OpenInference inferenceconnect.GRPCInferenceServiceClient // the Open Inference Protocol
}

// New makes a client. Nothing is called yet.
func New(p Profile) (*Client, error) {
	u, err := url.Parse(p.URL)
	switch {
	case p.URL == "":
		return nil, fmt.Errorf("%w: no URL", ErrProfile)
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%w: %.200q is no URL: want http://HOST:PORT or https://HOST:PORT", ErrProfile, p.URL)
	case p.Key == "":
		return nil, fmt.Errorf("%w: no key", ErrProfile)
	}
	t := &http.Transport{DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true}
	if p.CA != "" {
		pem, err := os.ReadFile(p.CA)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrProfile, err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: %s has no certificate", ErrProfile, p.CA)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	c := &Client{Profile: p, HTTP: &http.Client{Transport: keyed{t, p.Key}, CheckRedirect: noRedirect}}
	base, opt := strings.TrimSuffix(p.URL, "/"), connect.WithReadMaxBytes(maxAnswer)
	c.Models = adminv1connect.NewModelServiceClient(c.HTTP, base, opt)
	c.Deployments = adminv1connect.NewDeploymentServiceClient(c.HTTP, base, opt)
	c.Nodes = adminv1connect.NewNodeServiceClient(c.HTTP, base, opt)
	c.Cluster = adminv1connect.NewClusterServiceClient(c.HTTP, base, opt)
	c.Rollouts = adminv1connect.NewRolloutServiceClient(c.HTTP, base, opt)
	c.Tenants = adminv1connect.NewTenantServiceClient(c.HTTP, base, opt)
	c.Library = adminv1connect.NewLibraryServiceClient(c.HTTP, base, opt, connect.WithAcceptCompression("gzip", nil, nil)) // weights do not get smaller
	c.Usage = adminv1connect.NewUsageServiceClient(c.HTTP, base, opt)
	c.Alerts = adminv1connect.NewAlertServiceClient(c.HTTP, base, opt)
	c.Views = adminv1connect.NewViewServiceClient(c.HTTP, base, opt)
	c.Audit = adminv1connect.NewAuditServiceClient(c.HTTP, base, opt)
	c.Backups = adminv1connect.NewBackupServiceClient(c.HTTP, base, opt)
	c.Members = adminv1connect.NewMemberServiceClient(c.HTTP, base, opt)
	c.People = adminv1connect.NewPeopleServiceClient(c.HTTP, base, opt)
	c.Results = adminv1connect.NewResultServiceClient(c.HTTP, base, opt)
	c.Inference = inferencev1connect.NewInferenceServiceClient(c.HTTP, base, opt)
	c.OpenInference = inferenceconnect.NewGRPCInferenceServiceClient(c.HTTP, base, opt)
	return c, nil
}

// noRedirect keeps the key from being sent elsewhere.
func noRedirect(r *http.Request, _ []*http.Request) error {
	return errors.New("client: redirected to " + r.URL.Host + ", which is not followed")
}

// keyed adds the key.
type keyed struct {
	next http.RoundTripper
	key  string
}

func (k keyed) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+k.key)
	return k.next.RoundTrip(r)
}
