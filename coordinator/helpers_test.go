package coordinator_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"testing"

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
