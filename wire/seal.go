package wire

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
)

// SecretSize is the length of the cluster secret in bytes (AES-256).
const SecretSize = 32

// ErrSeal says that sealed bytes were made with another secret, or changed.
var ErrSeal = errors.New("wire: sealed bytes do not open")

// NewSecret makes a cluster secret. Coordinators hold it in a file; it is never in the log.
func NewSecret() []byte {
	b := make([]byte, SecretSize)
	rand.Read(b)
	return b
}

// Seal encrypts bytes for the log (AES-256-GCM, random nonce in front).
func Seal(secret, plain []byte) ([]byte, error) {
	gcm, err := sealer(secret)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, gcm.NonceSize())
	rand.Read(nonce)
	return gcm.Seal(nonce, nonce, plain, nil), nil
}

// Open undoes Seal.
func Open(secret, sealed []byte) ([]byte, error) {
	gcm, err := sealer(secret)
	if err != nil {
		return nil, err
	}
	if len(sealed) < gcm.NonceSize() {
		return nil, ErrSeal
	}
	plain, err := gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], nil)
	if err != nil {
		return nil, ErrSeal
	}
	return plain, nil
}

func sealer(secret []byte) (cipher.AEAD, error) {
	if len(secret) != SecretSize {
		return nil, fmt.Errorf("wire: secret of %d bytes, want %d", len(secret), SecretSize)
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
