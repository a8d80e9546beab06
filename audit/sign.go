package audit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors of signed heads.
var (
	ErrSignature = errors.New("audit: the head's signature is not that key's")
	ErrKeyKind   = errors.New("audit: heads are signed with ECDSA or Ed25519")
)

// Signed is a head that somebody vouches for. Kept where the log's owner cannot reach it, it proves later that the log up to it is the same.
type Signed struct {
	Head      Head   `json:"head"`
	At        int64  `json:"at"` // Unix time in milliseconds
	Signature []byte `json:"signature"`
}

// headDomain keeps these signatures apart from every other use of the key.
const headDomain = "skein audit head v1\x00"

func (s Signed) message() []byte {
	m := binary.BigEndian.AppendUint64([]byte(headDomain), s.Head.Seq)
	m = append(m, s.Head.Hash[:]...)
	return binary.BigEndian.AppendUint64(m, uint64(s.At))
}

// Sign vouches for a head at a time (Unix, milliseconds). ECDSA signs deterministically (RFC 6979): no randomness is needed.
func Sign(head Head, at int64, key crypto.Signer) (Signed, error) {
	s := Signed{Head: head, At: at}
	m := s.message()
	var err error
	switch key.Public().(type) {
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(m)
		s.Signature, err = key.Sign(nil, sum[:], crypto.SHA256)
	case ed25519.PublicKey:
		s.Signature, err = key.Sign(nil, m, crypto.Hash(0))
	default:
		err = fmt.Errorf("%w, not %T", ErrKeyKind, key.Public())
	}
	if err != nil {
		return Signed{}, fmt.Errorf("sign audit head %d: %w", head.Seq, err)
	}
	return s, nil
}

// Check says whether the owner of the public key vouched for this head at this time.
func Check(s Signed, key crypto.PublicKey) error {
	m := s.message()
	var ok bool
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(m)
		ok = ecdsa.VerifyASN1(key, sum[:], s.Signature)
	case ed25519.PublicKey:
		ok = len(key) == ed25519.PublicKeySize && ed25519.Verify(key, m, s.Signature)
	default:
		return fmt.Errorf("%w, not %T", ErrKeyKind, key)
	}
	if !ok {
		return fmt.Errorf("%w: head %d", ErrSignature, s.Head.Seq)
	}
	return nil
}
