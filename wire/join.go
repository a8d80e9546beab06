package wire

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
)

// JoinTokenLife is the longest life of a join token.
const JoinTokenLife = 15 * time.Minute

// ErrToken says that a text is no join token.
var ErrToken = errors.New("wire: malformed join token")

// Token is a one-time permission to join, as it is handed to a person: which role, the hash of the authority (so that the joiner
// knows that it talks to the right cluster), and a secret. Printed skein1.ROLE.CAHASH.SECRET.
type Token struct {
	Role   cluster.Role
	CAHash string
	Secret string
}

// NewToken makes a token with a fresh secret.
func NewToken(role cluster.Role, ca *x509.Certificate) Token {
	var b [24]byte
	rand.Read(b[:])
	return Token{Role: role, CAHash: CAHash(ca), Secret: hex.EncodeToString(b[:])}
}

func (t Token) String() string {
	return strings.Join([]string{"skein1", string(t.Role), t.CAHash, t.Secret}, ".")
}

// Hash is what the cluster keeps of the token.
func (t Token) Hash() string { return SecretHash(t.Secret) }

// SecretHash is the hash under which a random secret (of a join token, of an API key) is kept: SHA-256, hexadecimal. Secrets have
// ≥ 192 random bits, so a slow hash would add nothing.
func SecretHash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// NewKey makes the secret of an API key: its visible id, and 192 random bits.
func NewKey() string {
	var b [28]byte
	rand.Read(b[:])
	text := hex.EncodeToString(b[:])
	return keyPrefix + text[:keyDigits] + "-" + text[keyDigits:]
}

const (
	keyPrefix = "sk-"
	keyDigits = 8 // of the visible id
)

// KeyID is the visible id in the secret of an API key.
func KeyID(secret string) string { return secret[:min(len(secret), len(keyPrefix)+keyDigits)] }

// ParseToken reads a token.
func ParseToken(s string) (Token, error) {
	p := strings.Split(strings.TrimSpace(s), ".")
	if len(p) != 4 || p[0] != "skein1" || len(p[2]) != 2*sha256.Size || len(p[3]) != 48 {
		return Token{}, ErrToken
	}
	return Token{Role: cluster.Role(p[1]), CAHash: p[2], Secret: p[3]}, nil
}

// JoinRequest asks for a certificate. With Join the token is the permission; with Renew it is the present certificate.
type JoinRequest struct {
	Secret string         `json:"secret,omitempty"`
	ID     cluster.NodeID `json:"id"`
	Role   cluster.Role   `json:"role"`
	Name   string         `json:"name"`
	CSR    []byte         `json:"csr"`
}

// JoinResponse admits the member.
type JoinResponse struct {
	Cert         []byte           `json:"cert"` // DER
	CA           []byte           `json:"ca"`   // DER
	Coordinators []cluster.Member `json:"coordinators"`
	GossipKey    []byte           `json:"gossip_key"`
	Seeds        []string         `json:"seeds"`            // host:port of the coordinators' gossip
	Secret       []byte           `json:"secret,omitempty"` // coordinators: opens the sealed key of the authority
	CAKey        []byte           `json:"ca_key,omitempty"` // coordinators: that key
}

// Membership is what a member keeps on its disk between starts.
type Membership struct {
	ID           cluster.NodeID `json:"id"`
	Role         cluster.Role   `json:"role"`
	Name         string         `json:"name"`
	Papers       Papers         `json:"papers"`
	GossipKey    []byte         `json:"gossip_key"`
	Secret       []byte         `json:"secret,omitempty"`
	CAKey        []byte         `json:"ca_key,omitempty"`   // coordinators: the authority's key, sealed with Secret
	Founding     bool           `json:"founding,omitempty"` // the first coordinator, until the cluster is founded
	Coordinators []string       `json:"coordinators"`       // addresses, for the first contact
	Seeds        []string       `json:"seeds,omitempty"`    // host:port of the coordinators' gossip when this member joined
}

const membershipFile = "membership.json"

// Save writes the membership to a directory, readable by its owner only, whole or not at all.
func (m Membership) Save(dir string) error {
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("save membership: %w", err)
	}
	tmp := filepath.Join(dir, membershipFile+".tmp")
	if err := writeSynced(tmp, b); err != nil {
		return fmt.Errorf("save membership: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, membershipFile)); err != nil {
		return fmt.Errorf("save membership: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("save membership: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// writeSynced writes a new file that outlives a power cut: what is in it exists nowhere else.
func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// LoadMembership reads what Save wrote; os.ErrNotExist if the member never joined.
func LoadMembership(dir string) (Membership, error) {
	var m Membership
	b, err := os.ReadFile(filepath.Join(dir, membershipFile))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("read %s in %s: %w", membershipFile, dir, err)
	}
	return m, nil
}

// JoinCluster spends a token at the coordinator at addr. The coordinator must show a certificate of the authority that the token names.
func JoinCluster(ctx context.Context, addr string, t Token, id cluster.NodeID, name string) (Membership, error) {
	key, csr, err := Request()
	if err != nil {
		return Membership{}, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{alpnH2, alpnH1}, InsecureSkipVerify: true, VerifyConnection: t.verify}
	tr := &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return (&tls.Dialer{Config: cfg}).DialContext(ctx, network, addr)
	}}
	defer tr.CloseIdleConnections()
	c := connect.NewClient[JoinRequest, JoinResponse](&http.Client{Transport: tr, Timeout: 30 * time.Second}, "https://"+addr+string(Join),
		connect.WithCodec(jsonCodec{}), connect.WithReadMaxBytes(MaxMessage))
	res, err := c.CallUnary(ctx, connect.NewRequest(&JoinRequest{Secret: t.Secret, ID: id, Role: t.Role, Name: name, CSR: csr}))
	if err != nil {
		return Membership{}, fmt.Errorf("join at %s: %w", addr, FromPeer(err))
	}
	ca, err := x509.ParseCertificate(res.Msg.CA)
	if err != nil || CAHash(ca) != t.CAHash {
		return Membership{}, fmt.Errorf("join at %s: %w", addr, ErrIdentity)
	}
	papers, err := NewPapers(res.Msg.Cert, key, ca)
	if err != nil {
		return Membership{}, err
	}
	if _, _, who, err := papers.parse(); err != nil || who.ID != id || who.Role != t.Role {
		return Membership{}, fmt.Errorf("join at %s: %w: it certified %s", addr, ErrIdentity, who.url())
	}
	m := Membership{ID: id, Role: t.Role, Name: name, Papers: papers, GossipKey: res.Msg.GossipKey, Seeds: res.Msg.Seeds, Secret: res.Msg.Secret, CAKey: res.Msg.CAKey}
	for _, c := range res.Msg.Coordinators {
		m.Coordinators = append(m.Coordinators, c.Addr)
	}
	return m, nil
}

// verify checks that a server's chain ends at the authority that the token names, and that it is a coordinator.
func (t Token) verify(cs tls.ConnectionState) error {
	pool, found := x509.NewCertPool(), false
	for _, c := range cs.PeerCertificates[1:] {
		if CAHash(c) == t.CAHash {
			pool.AddCert(c)
			found = true
		}
	}
	if !found {
		return fmt.Errorf("%w: another authority than the token names", ErrIdentity)
	}
	leaf := cs.PeerCertificates[0]
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	who, err := identityOf(leaf)
	if err == nil && who.Role != cluster.RoleCoordinator {
		err = ErrRole
	}
	return err
}

// RenewCluster asks the coordinator at addr for a new certificate for the same member, and puts it into force.
func RenewCluster(ctx context.Context, d *Dialer, addr string) (Papers, error) {
	key, csr, err := Request()
	if err != nil {
		return Papers{}, err
	}
	who := d.creds.Identity()
	res, err := Call[JoinRequest, JoinResponse](ctx, d, cluster.RoleCoordinator, addr, Renew, &JoinRequest{ID: who.ID, Role: who.Role, CSR: csr})
	if err != nil {
		return Papers{}, err
	}
	papers, err := NewPapers(res.Cert, key, d.creds.CA())
	if err != nil {
		return Papers{}, err
	}
	if err := d.creds.Replace(papers); err != nil {
		return Papers{}, err
	}
	d.Close() // what is idle; a listener ends the rest when the old certificate ends
	return papers, nil
}
