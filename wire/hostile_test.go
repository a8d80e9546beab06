package wire

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
)

// A certificate says what the authority was told to say, whatever the request asks for: other names, a second name, an authority's rights
// (attack case 5; Consul's CVE-2022-40716 was a second name in a request).
func TestRequestsAskInVain(t *testing.T) {
	ca := authority(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	victim, who := member(cluster.RoleCoordinator), member(cluster.RoleNode)
	basic, err := asn1.Marshal(struct{ CA bool }{true})
	if err != nil {
		t.Fatal(err)
	}
	for name, request := range map[string]*x509.CertificateRequest{
		"another's name": {URIs: []*url.URL{victim.url()}},
		"a second name":  {URIs: []*url.URL{who.url(), victim.url()}},
		"a host":         {DNSNames: []string{"coordinator.example"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}, EmailAddresses: []string{"a@example.com"}},
		"a subject":      {Subject: pkix.Name{CommonName: string(victim.ID), Organization: []string{"coordinator"}}},
		"an authority": {ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: basic},
			{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: []byte{3, 2, 1, 6}}}},
	} {
		csr, err := x509.CreateCertificateRequest(rand.Reader, request, key)
		if err != nil {
			t.Fatal(err)
		}
		der, err := ca.Sign(csr, who, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := identityOf(cert); err != nil || got != who {
			t.Errorf("%s: the certificate speaks for %+v, %v", name, got, err)
		}
		if cert.IsCA || cert.KeyUsage != x509.KeyUsageDigitalSignature || len(cert.DNSNames)+len(cert.IPAddresses)+len(cert.EmailAddresses) > 0 ||
			cert.Subject.CommonName != string(who.ID) || len(cert.Subject.Organization) > 0 || len(cert.UnhandledCriticalExtensions) > 0 {
			t.Errorf("%s: it was given what it asked for", name)
		}
		if life := cert.NotAfter.Sub(cert.NotBefore); life > CertLife+clockLeeway {
			t.Errorf("%s: a life of %v", name, life)
		}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr[len(csr)-1] ^= 1
	for name, bad := range map[string][]byte{"another's key": csr, "cut": csr[:20], "nothing": nil, "noise": bytes.Repeat([]byte{0x30}, 1000)} {
		if _, err := ca.Sign(bad, who, time.Now()); err == nil {
			t.Errorf("a request of %s is certified", name)
		}
	}
	csr[len(csr)-1] ^= 1
	for name, change := range map[string]func(*Identity){
		"another role":       func(id *Identity) { id.Role = "admin" },
		"no role":            func(id *Identity) { id.Role = "" },
		"a path":             func(id *Identity) { id.ID = "../coordinator/" + id.ID[15:] },
		"a part":             func(id *Identity) { id.ID = id.ID[1:] },
		"capitals":           func(id *Identity) { id.ID = cluster.NodeID(strings.ToUpper("ab" + string(id.ID[2:]))) },
		"no cluster":         func(id *Identity) { id.Cluster = "" },
		"a port":             func(id *Identity) { id.Cluster = id.Cluster[:29] + ":80" },
		"another authority?": func(id *Identity) { id.Cluster = "x@" + id.Cluster[2:] },
	} {
		id := who
		change(&id)
		if _, err := ca.Sign(csr, id, time.Now()); !errors.Is(err, ErrIdentity) {
			t.Errorf("%s is certified: %v", name, err)
		}
	}
}

// Names that no member has are read from no certificate, also where the authority itself signed them.
func TestNamesOfNobody(t *testing.T) {
	ca := authority(t)
	good := member(cluster.RoleNode).url()
	parse := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for name, uris := range map[string][]*url.URL{
		"none":           nil,
		"two":            {good, member(cluster.RoleCoordinator).url()},
		"the same twice": {good, good},
		"a web address":  {parse(strings.Replace(good.String(), "spiffe", "https", 1))},
		"a longer path":  {parse(good.String() + "/coordinator")},
		"no path":        {parse("spiffe://" + clusterID)},
		"another role":   {parse(strings.Replace(good.String(), "/node/", "/admin/", 1))},
	} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: serial(), URIs: uris, NotAfter: time.Now().Add(time.Hour)}, ca.Cert, key.Public(), ca.key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if who, err := identityOf(cert); err == nil {
			t.Errorf("%s: %+v", name, who)
		}
	}
}

// Nobody but a coordinator gets a byte to Raft: the connection ends before Raft has it (attack case 3).
func TestStrangersAtRaft(t *testing.T) {
	ca, err := NewAuthority(clusterID, time.Now().Add(-2*RenewGrace))
	if err != nil {
		t.Fatal(err)
	}
	other := authority(t)
	l, addr := serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), NewMux())
	accepted := make(chan net.Conn, 16)
	go func() {
		for {
			c, err := l.Raft().Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	of := func(c *Credentials) *tls.Config {
		return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpnRaft}, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.certificate() }}
	}
	foreign := member(cluster.RoleCoordinator)
	foreign.Cluster = strings.Repeat("cd", 16)
	for name, cfg := range map[string]*tls.Config{
		"no certificate":         {InsecureSkipVerify: true, NextProtos: []string{alpnRaft}},
		"a node":                 of(papers(t, ca, member(cluster.RoleNode), time.Now())),
		"a gateway":              of(papers(t, ca, member(cluster.RoleGateway), time.Now())),
		"ended":                  of(papers(t, ca, member(cluster.RoleCoordinator), time.Now().Add(-CertLife-time.Hour))),
		"of another authority":   of(papers(t, other, member(cluster.RoleCoordinator), time.Now())),
		"of another cluster":     of(papers(t, ca, foreign, time.Now())),
		"an old version of TLS":  {InsecureSkipVerify: true, NextProtos: []string{alpnRaft}, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12},
		"a protocol of its own":  {InsecureSkipVerify: true, NextProtos: []string{"skein-raft/2"}},
		"Raft and HTTP together": {InsecureSkipVerify: true, NextProtos: []string{alpnH1, alpnRaft}},
	} {
		c, err := tls.Dial("tcp", addr, cfg)
		if err != nil {
			continue
		}
		c.Write(bytes.Repeat([]byte{0xdd, 0xff, 0xff, 0xff, 0xff}, 100)) // an array of four billion, in MessagePack
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: the connection lives: %v", name, err)
		}
		c.Close()
	}
	c, err := raftLayer{part{l, l.raft, nil}}.Dial(raft.ServerAddress(addr), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("hello"))
	first := <-accepted
	defer first.Close()
	got := make([]byte, 5)
	if _, err := io.ReadFull(first, got); err != nil || string(got) != "hello" {
		t.Errorf("Raft's first connection says %q, %v", got, err)
	}
	select {
	case c := <-accepted:
		t.Errorf("Raft has another connection: %v", c.RemoteAddr())
	default:
	}
}

// Ten thousand connections that stay half-open cost no more than their limit, and members are answered all the while (attack case 3).
func TestTenThousandHalfOpen(t *testing.T) {
	ca := authority(t)
	l, addr := serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), answeringMux())
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	flood := min(10_000, int(files.Cur)-2*maxStrangers-200)
	if flood < 4*maxStrangers {
		t.Skipf("only %d files may be open", files.Cur)
	}
	before := runtime.NumGoroutine()
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for i := range flood {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		conns = append(conns, c)
		if i%2 == 0 {
			c.Write([]byte{22, 3, 1, 64, 0, 1, 0, 63, 252}) // a record of 16 kB begins, and never ends
		}
		if i%(flood/8) == flood/8-1 {
			if err := ping(t, ca, addr); err != nil {
				t.Errorf("after %d connections: %v", i+1, err)
			}
		}
	}
	l.mu.Lock()
	strangers := l.strangers.Len()
	l.mu.Unlock()
	if strangers > maxStrangers {
		t.Errorf("%d strangers, limit %d", strangers, maxStrangers)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		n := runtime.NumGoroutine() - before
		if n < 4*maxStrangers {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines for %d connections", n, flood)
		}
		runtime.Gosched()
	}
}

func answeringMux() *Mux {
	m := NewMux()
	Handle(m, Ping, func(context.Context, *Empty) (*Pong, error) { return &Pong{}, nil })
	return m
}

// What is sealed tells nothing, and opens only whole and with its own secret.
func TestSeal(t *testing.T) {
	secret, plain := NewSecret(), []byte("the key of the authority, as it is kept in the log")
	sealed, err := Seal(secret, plain)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Seal(secret, plain)
	if err != nil || bytes.Equal(sealed, again) {
		t.Errorf("sealed twice to the same bytes: %v", err)
	}
	if got, err := Open(secret, sealed); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("opened: %q, %v", got, err)
	}
	for i := range plain[:len(plain)-8] {
		if bytes.Contains(sealed, plain[i:i+8]) {
			t.Fatalf("%q is in what is sealed", plain[i:i+8])
		}
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x40
		if _, err := Open(secret, bad); !errors.Is(err, ErrSeal) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if _, err := Open(secret, sealed[:i]); !errors.Is(err, ErrSeal) {
			t.Fatalf("cut at byte %d: %v", i, err)
		}
	}
	if _, err := Open(NewSecret(), sealed); !errors.Is(err, ErrSeal) {
		t.Errorf("with another secret: %v", err)
	}
	for _, bad := range [][]byte{nil, secret[1:], append(bytes.Clone(secret), 0)} {
		if _, err := Seal(bad, plain); err == nil {
			t.Errorf("a secret of %d bytes seals", len(bad))
		}
	}
}

// asked is a store that nothing may be looked for in.
type asked struct{}

func (asked) Index(d blob.Digest) (blob.Index, error) { panic("an index is looked for: " + d.String()) }

func (asked) ReadChunk(d blob.Digest, _ int) ([]byte, error) {
	panic("a chunk is looked for: " + d.String())
}

// What is no digest of 64 hexadecimal digits reaches no store of blobs (attack case 12).
func TestDigestsThatArePaths(t *testing.T) {
	ca := authority(t)
	m := NewMux()
	HandleBlobs(m, asked{}, new(atomic.Int64))
	_, addr := serve(t, papers(t, ca, member(cluster.RoleCoordinator), time.Now()), m)
	d := NewDialer(papers(t, ca, member(cluster.RoleNode), time.Now()))
	defer d.Close()
	good := strings.Repeat("ab", 32)
	for _, bad := range []string{"", "../../etc/passwd", good[1:], good + "a", good + "/../x", strings.ToUpper(good), "sha256:" + good, good[:62] + "..", good[:63] + "\x00", "0x" + good[2:], " " + good[1:]} {
		for _, p := range []Procedure{BlobIndex, BlobChunk} {
			body, err := json.Marshal(map[string]any{"digest": bad, "chunk": 0})
			if err != nil {
				t.Fatal(err)
			}
			res, err := d.http[cluster.RoleCoordinator].Post("https://"+addr+string(p), "application/json", bytes.NewReader(body))
			if err != nil {
				t.Errorf("%s of %q: %v", p, bad, err)
				continue
			}
			res.Body.Close()
			if res.StatusCode != http.StatusBadRequest {
				t.Errorf("%s of %q: %s", p, bad, res.Status)
			}
		}
	}
}
