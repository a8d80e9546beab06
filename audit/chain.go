package audit

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// Hash is a link of the chain, written as 64 hexadecimal digits. The zero value belongs to the empty chain.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes hexadecimal digits.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads exactly 64 lower-case hexadecimal digits.
func (h *Hash) UnmarshalText(text []byte) error {
	var got Hash
	if len(text) != 2*len(got) {
		return fmt.Errorf("%w: a hash has %d digits", ErrMalformed, 2*len(got))
	}
	if _, err := hex.Decode(got[:], text); err != nil || got.String() != string(text) {
		return fmt.Errorf("%w: a hash has lower-case hexadecimal digits", ErrMalformed)
	}
	*h = got
	return nil
}

// Head is the end of a chain: how many records it has, and the hash over all of them.
type Head struct {
	Seq  uint64 `json:"seq"`
	Hash Hash   `json:"hash"`
}

// UnmarshalJSON refuses a hash without records and records without a hash.
func (h *Head) UnmarshalJSON(b []byte) error {
	type plain Head
	var got plain
	if err := json.Unmarshal(b, &got); err != nil {
		return err
	}
	if (got.Seq == 0) != (got.Hash == Hash{}) {
		return fmt.Errorf("%w: head %d with hash %s", ErrMalformed, got.Seq, got.Hash)
	}
	*h = Head(got)
	return nil
}

func (h Head) String() string { return fmt.Sprintf("%d:%s", h.Seq, h.Hash) }

// domain keeps these hashes apart from every other use of SHA-256.
const domain = "skein audit record v1\x00"

// Next is the head after one more encoded record: SHA-256 over the domain, the hash so far, the record's length (64 bits, big-endian)
// and its bytes.
func (h Head) Next(encoded []byte) Head {
	sum := sha256.New()
	sum.Write([]byte(domain))
	sum.Write(h.Hash[:])
	sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(encoded))))
	sum.Write(encoded)
	next := Head{Seq: h.Seq + 1}
	sum.Sum(next.Hash[:0])
	return next
}

// Break says in which way a chain is broken. The set is closed.
type Break string

// Breaks.
const (
	Malformed Break = "malformed" // a line is not a record in canonical form
	Edited    Break = "edited"    // the record is not the one that its hash was made of
	Deleted   Break = "deleted"   // records are missing before one that is there
	Reordered Break = "reordered" // records are there, in another order or twice
	Truncated Break = "truncated" // the chain ends before a head that is known
	Rewritten Break = "rewritten" // every hash fits, but the chain is not the one whose head is known
)

// Broken says where a chain is broken first.
type Broken struct {
	Seq uint64 // the first record that is not as it was
	Why Break
	Is  string // what was found instead, for people
}

func (b *Broken) Error() string {
	return fmt.Sprintf("audit: record %d: %s: %s", b.Seq, b.Why, b.Is)
}

// Verify follows a chain from a head on, and says where it ends or, by *Broken, where it is broken first. It also compares it with heads
// that are known from elsewhere: only they can tell that the end is missing, or that somebody who
// altered the records also made all hashes anew. Heads before from are not looked at.
func Verify(from Head, lines iter.Seq2[Line, error], known ...Head) (Head, error) {
	at := from
	known = slices.SortedFunc(slices.Values(known), func(a, b Head) int { return cmp.Compare(a.Seq, b.Seq) })
	for len(known) > 0 && known[0].Seq < from.Seq {
		known = known[1:]
	}
	known, err := passed(at, known)
	if err != nil {
		return from, err
	}
	var gap *Broken
	for line, err := range lines {
		switch {
		case err != nil && gap != nil:
			return at, gap
		case err != nil:
			return at, broken(at, err)
		case gap != nil: // the rest of the lines only tells whether what is missing was moved
			if line.Record.Seq == gap.Seq {
				gap.Why = Reordered
				return at, gap
			}
			continue
		case line.Record.Seq > at.Seq+1:
			gap = &Broken{at.Seq + 1, Deleted, fmt.Sprintf("record %d follows on record %d", line.Record.Seq, at.Seq)}
			continue
		case line.Record.Seq < at.Seq+1:
			return at, &Broken{at.Seq + 1, Reordered, fmt.Sprintf("record %d follows on record %d", line.Record.Seq, at.Seq)}
		}
		next := at.Next(line.Encoded)
		if next.Hash != line.Hash {
			return at, &Broken{next.Seq, Edited, "its hash is not the one beside it"}
		}
		if known, err = passed(next, known); err != nil {
			return at, err
		}
		at = next
	}
	if gap != nil {
		return at, gap
	}
	if len(known) > 0 {
		return at, Compare(at, known[len(known)-1])
	}
	return at, nil
}

// broken says of an error in reading which record it hides. Errors of the medium stay what they are.
func broken(at Head, err error) error {
	if errors.Is(err, ErrMalformed) {
		return &Broken{at.Seq + 1, Malformed, err.Error()}
	}
	return fmt.Errorf("read record %d: %w", at.Seq+1, err)
}

// passed compares a head with those known of the same length, and leaves the later ones.
func passed(at Head, known []Head) ([]Head, error) {
	for ; len(known) > 0 && known[0].Seq <= at.Seq; known = known[1:] {
		if err := Compare(at, known[0]); err != nil {
			return known, err
		}
	}
	return known, nil
}

// ErrLonger says that a chain has more records than a head that it is compared with.
var ErrLonger = errors.New("audit: the chain is longer than when that head was kept")

// Compare says by *Broken whether a chain that ends in got is not the one that had the head want: it is shorter, or has as many records and others.
// Of a longer chain the head tells nothing (ErrLonger): Verify compares on the way.
func Compare(got, want Head) error {
	switch {
	case got.Seq < want.Seq:
		return &Broken{got.Seq + 1, Truncated, fmt.Sprintf("%d records of %d are there", got.Seq, want.Seq)}
	case got.Seq > want.Seq:
		return fmt.Errorf("%w: %d records, %d", ErrLonger, got.Seq, want.Seq)
	case got.Hash != want.Hash:
		return &Broken{want.Seq, Rewritten, fmt.Sprintf("the head is %s, not %s: this record or one before it is another", got.Hash, want.Hash)}
	}
	return nil
}
