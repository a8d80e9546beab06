// Package backup is the format of a backup's file: what a cluster knows, written in one pass, encrypted and authenticated.
package backup

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/argon2"
)

// A sealed stream is a preamble (magic, the cost of making the key, a salt) and segments of segmentSize bytes of plain text, each with a
// tag; the last one may be shorter and is marked as the last. Segments are sealed with AES-256-GCM under the STREAM construction
// (Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015): the nonce
// is the segment's number and the mark, so that none can be left out, moved or added. The preamble is authenticated with every
// segment. The key is made of a passphrase and the salt by Argon2id (RFC 9106), so no two streams share one.
const (
	magic       = "skein-backup-1\n"
	saltSize    = 16
	preamble    = len(magic) + 3*4 + saltSize
	segmentSize = 64 << 10
	tagSize     = 16
	lastMark    = 1
)

// Cost of a key in Argon2id. Those of a file are bounded: a hostile one must not cost its reader much more than an honest one.
const (
	maxPasses = 16
	maxMemory = 256 << 10 // KiB
	maxLanes  = 16
)

// cost is what a key costs: passes, KiB of memory, lanes.
type cost [3]uint32

// standard is the second recommended option of RFC 9106, section 4.
var standard = cost{3, 64 << 10, 4}

// MinPassphrase is the shortest passphrase in bytes: a file can be tried for years by whoever has it.
const MinPassphrase = 12

// Errors of sealed streams.
var (
	ErrNotBackup  = errors.New("backup: not a backup of a format that this program knows")
	ErrPassphrase = errors.New("backup: wrong passphrase, or the file was changed at its beginning")
	ErrDamaged    = errors.New("backup: the file was changed or cut")
	ErrWeak       = fmt.Errorf("backup: a passphrase has at least %d bytes", MinPassphrase)
)

// Passphrase takes one from what was read from a file or a terminal: without the line end.
func Passphrase(text []byte) ([]byte, error) {
	text = bytes.TrimRight(text, "\r\n")
	if len(text) < MinPassphrase {
		return nil, ErrWeak
	}
	return text, nil
}

// sealed is one end of a sealed stream.
type sealed struct {
	aead     cipher.AEAD
	preamble []byte
	segment  uint64
	buf      []byte // Writer: plain text of the segment; Reader: sealed bytes read ahead
}

func newSealed(passphrase, pre []byte) (sealed, error) {
	at := pre[len(magic):]
	t, m, p := binary.BigEndian.Uint32(at), binary.BigEndian.Uint32(at[4:]), binary.BigEndian.Uint32(at[8:])
	if string(pre[:len(magic)]) != magic || t < 1 || t > maxPasses || m < 8*p || m > maxMemory || p < 1 || p > maxLanes {
		return sealed{}, ErrNotBackup
	}
	block, err := aes.NewCipher(argon2.IDKey(passphrase, pre[preamble-saltSize:], t, m, uint8(p), 32))
	if err != nil {
		return sealed{}, fmt.Errorf("backup: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	return sealed{aead: aead, preamble: pre}, err
}

// nonce is that of the next segment: its number, and whether it is the last.
func (s *sealed) nonce(last bool) []byte {
	n := binary.BigEndian.AppendUint64(make([]byte, 3, 12), s.segment)
	n = append(n, 0)
	if last {
		n[11] = lastMark
	}
	s.segment++
	return n
}

// Sealer encrypts what is written to it. What it wrote is whole only after Close.
type Sealer struct {
	sealed
	to io.Writer
}

// Seal begins a sealed stream.
func Seal(to io.Writer, passphrase []byte) (*Sealer, error) { return seal(to, passphrase, standard) }

func seal(to io.Writer, passphrase []byte, c cost) (*Sealer, error) {
	if len(passphrase) < MinPassphrase {
		return nil, ErrWeak
	}
	pre := append(make([]byte, 0, preamble), magic...)
	for _, n := range c {
		pre = binary.BigEndian.AppendUint32(pre, n)
	}
	pre = pre[:preamble]
	rand.Read(pre[preamble-saltSize:])
	s, err := newSealed(passphrase, pre)
	if err != nil {
		return nil, err
	}
	if _, err := to.Write(pre); err != nil {
		return nil, err
	}
	return &Sealer{s, to}, nil
}

// Write implements io.Writer.
func (s *Sealer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if len(s.buf) == segmentSize { // only now it is known not to be the last one
			if err := s.flush(false); err != nil {
				return n - len(p), err
			}
		}
		take := min(len(p), segmentSize-len(s.buf))
		s.buf = append(s.buf, p[:take]...)
		p = p[take:]
	}
	return n, nil
}

func (s *Sealer) flush(last bool) error {
	_, err := s.to.Write(s.aead.Seal(nil, s.nonce(last), s.buf, s.preamble))
	s.buf = s.buf[:0]
	return err
}

// Close ends the stream. It does not close what it is written to.
func (s *Sealer) Close() error { return s.flush(true) }

// Opener reads a sealed stream: no byte comes out of it that was not authenticated, and io.EOF only after the true end.
type Opener struct {
	sealed
	from  io.Reader
	plain []byte // of the segment, not read yet
	done  bool
	err   error
}

// Is looks whether a sealed stream begins here.
func Is(from *bufio.Reader) bool {
	b, err := from.Peek(len(magic))
	return err == nil && string(b) == magic
}

// Unseal begins to read a sealed stream. Errors: ErrNotBackup, and those of from; ErrPassphrase and ErrDamaged come with the reading.
func Unseal(from io.Reader, passphrase []byte) (*Opener, error) {
	pre := make([]byte, preamble)
	if _, err := io.ReadFull(from, pre); err != nil {
		return nil, short(err, ErrNotBackup)
	}
	s, err := newSealed(passphrase, pre)
	if err != nil {
		return nil, err
	}
	s.buf = make([]byte, 0, segmentSize+tagSize+1)
	return &Opener{sealed: s, from: from}, nil
}

// short is what a read that ended too early means; other errors are the medium's.
func short(err, meaning error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return meaning
	}
	return err
}

// Read implements io.Reader.
func (o *Opener) Read(p []byte) (int, error) {
	for len(o.plain) == 0 && o.err == nil {
		o.err = o.next()
	}
	if len(o.plain) == 0 {
		return 0, o.err
	}
	n := copy(p, o.plain)
	o.plain = o.plain[n:]
	return n, nil
}

// next opens a segment. One byte more than a segment is read: whether there is one says whether it is the last.
func (o *Opener) next() error {
	if o.done {
		return io.EOF
	}
	have := len(o.buf)
	n, err := io.ReadFull(o.from, o.buf[have:cap(o.buf)])
	o.buf = o.buf[:have+n]
	last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if err != nil && !last {
		return err
	}
	whole := o.buf
	if !last {
		whole = o.buf[:segmentSize+tagSize]
	}
	first := o.segment == 0
	plain, err := o.aead.Open(nil, o.nonce(last), whole, o.preamble)
	if err != nil && first {
		return ErrPassphrase
	}
	if err != nil || !first && len(plain) == 0 { // no writer makes an empty segment but as the only one
		return ErrDamaged
	}
	o.plain, o.done = plain, last
	o.buf = o.buf[:copy(o.buf, o.buf[len(whole):])]
	return nil
}
