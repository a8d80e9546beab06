package coordinator_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/wire"
)

func refusedAs(err error, code connect.Code) bool {
	var refused *wire.Refused
	return errors.As(err, &refused) && refused.Code == code
}

func caOf(t *testing.T, m wire.Membership) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(m.Papers.CA)
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// identity is the role and id that a certificate speaks for.
func identity(t *testing.T, der []byte) string {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert.URIs[0].Path
}

// aged makes papers that were signed some time ago.
func aged(t *testing.T, m wire.Membership, age time.Duration) wire.Papers {
	t.Helper()
	caKey, err := wire.Open(m.Secret, m.CAKey)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := wire.OpenAuthority(caOf(t, m).Raw, caKey)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := wire.NewCredentials(m.Papers)
	if err != nil {
		t.Fatal(err)
	}
	key, csr, err := wire.Request()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Sign(csr, creds.Identity(), time.Now().Add(-age))
	if err != nil {
		t.Fatal(err)
	}
	papers, err := wire.NewPapers(cert, key, ca.Cert)
	if err != nil {
		t.Fatal(err)
	}
	return papers
}
