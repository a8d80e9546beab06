// Package wire connects coordinators, nodes, gateways and workers: identities and mutual TLS, one way to listen, one way to dial, and the calls between them.
package wire

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/skein-project/skein/cluster"
)

// Life of certificates.
const (
	CertLife     = 24 * time.Hour            // of a member's certificate; renewed at half
	caLife       = 10 * 365 * 24 * time.Hour // of the authority's own certificate
	clockLeeway  = 5 * time.Minute           // a certificate is valid from a little before now, for clocks that differ
	idDigits     = 32                        // hexadecimal digits of a NodeID
	spiffeScheme = "spiffe"
)

// Errors of identities.
var (
	ErrIdentity = errors.New("wire: certificate names no member of this cluster")
	ErrRole     = errors.New("wire: the peer's role does not allow this")
)

// Identity is who a certificate speaks for. It is carried as the only URI name of the certificate,
// spiffe://CLUSTER/ROLE/ID (SPIFFE-ID, section 2).
type Identity struct {
	Cluster string
	Role    cluster.Role
	ID      cluster.NodeID
}

// NewID makes a random id for a member.
func NewID() cluster.NodeID {
	var b [idDigits / 2]byte
	rand.Read(b[:])
	return cluster.NodeID(hex.EncodeToString(b[:]))
}

// Validate checks the form of every part.
func (id Identity) Validate() error {
	okRole := id.Role == cluster.RoleCoordinator || id.Role == cluster.RoleNode || id.Role == cluster.RoleGateway
	if !okRole || !isHex(string(id.ID)) || !isHex(id.Cluster) {
		return fmt.Errorf("%w: %.120q", ErrIdentity, id.url().String())
	}
	return nil
}

func isHex(s string) bool {
	_, err := hex.DecodeString(s)
	return len(s) == idDigits && err == nil && strings.ToLower(s) == s
}

func (id Identity) url() *url.URL {
	return &url.URL{Scheme: spiffeScheme, Host: id.Cluster, Path: "/" + string(id.Role) + "/" + string(id.ID)}
}

// identityOf reads the identity of a certificate that was verified already.
func identityOf(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != spiffeScheme {
		return Identity{}, ErrIdentity
	}
	role, id, _ := strings.Cut(strings.TrimPrefix(cert.URIs[0].Path, "/"), "/")
	who := Identity{Cluster: cert.URIs[0].Host, Role: cluster.Role(role), ID: cluster.NodeID(id)}
	return who, who.Validate()
}

// Authority is the cluster's own certificate authority.
type Authority struct {
	Cert *x509.Certificate
	key  crypto.Signer
}

// Signer signs with the authority's key.
func (a *Authority) Signer() crypto.Signer { return a.key }

// NewAuthority makes a fresh authority for a cluster.
func NewAuthority(clusterID string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the authority's key: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "skein " + clusterID},
		NotBefore: now.Add(-clockLeeway), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the authority's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	return &Authority{Cert: cert, key: key}, err
}

// OpenAuthority makes an authority of its certificate (DER) and its key (PKCS #8).
func OpenAuthority(certDER, keyDER []byte) (*Authority, error) {
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, fmt.Errorf("read the authority's certificate: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(keyDER)
	if err != nil {
		return nil, fmt.Errorf("read the authority's key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the authority's key of type %T cannot sign", key)
	}
	return &Authority{Cert: cert, key: signer}, nil
}

// Key is the authority's private key (PKCS #8).
func (a *Authority) Key() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(a.key) }

// Sign certifies that the owner of a certificate request's key is who. Nothing else of the request is used: names, extensions and
// lifetimes that it asks for are ignored.
func (a *Authority) Sign(csrDER []byte, who Identity, now time.Time) (certDER []byte, err error) {
	if err := who.Validate(); err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(csrDER)
	if err != nil {
		return nil, fmt.Errorf("read the certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("check the certificate request: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: string(who.ID)}, URIs: []*url.URL{who.url()},
		NotBefore: now.Add(-clockLeeway), NotAfter: now.Add(CertLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	return x509.CreateCertificate(rand.Reader, t, a.Cert, csr.PublicKey, a.key)
}

func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	return n
}

// CAHash names an authority: SHA-256 of its certificate.
func CAHash(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Request makes a private key and a certificate request for it.
func Request() (key crypto.Signer, csrDER []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	csrDER, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k)
	return k, csrDER, err
}

// Papers are a member's certificate, key and authority in PEM, as they are kept in files and handed to worker processes.
type Papers struct {
	Cert []byte `json:"cert"`
	Key  []byte `json:"key"`
	CA   []byte `json:"ca"`
}

// NewPapers puts a signed certificate, its key and the authority together.
func NewPapers(certDER []byte, key crypto.Signer, ca *x509.Certificate) (Papers, error) {
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Papers{}, fmt.Errorf("encode the key: %w", err)
	}
	return Papers{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		CA:   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}),
	}, nil
}

// parse checks that papers belong together and reads who they speak for.
func (p Papers) parse() (cert tls.Certificate, ca *x509.Certificate, who Identity, err error) {
	if cert, err = tls.X509KeyPair(p.Cert, p.Key); err != nil {
		return cert, nil, who, fmt.Errorf("read certificate and key: %w", err)
	}
	block, _ := pem.Decode(p.CA)
	if block == nil {
		return cert, nil, who, fmt.Errorf("%w: no authority in PEM", ErrIdentity)
	}
	if ca, err = x509.ParseCertificate(block.Bytes); err != nil {
		return cert, nil, who, fmt.Errorf("read the authority: %w", err)
	}
	if who, err = identityOf(cert.Leaf); err != nil {
		return cert, nil, who, err
	}
	cert.Certificate = append(cert.Certificate, ca.Raw) // so that a joiner, who knows only the hash of it, can check the chain
	return cert, ca, who, nil
}
