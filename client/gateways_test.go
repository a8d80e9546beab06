package client

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
)

// pieces cuts an answer of one-letter tokens into pieces.
func pieces(t *rapid.T, what string, answer []byte) (out []*inferencev1.GenerateResponse) {
	for len(answer) > 0 {
		n := rapid.IntRange(1, len(answer)).Draw(t, what)
		m := &inferencev1.GenerateResponse{Text: string(answer[:n])}
		for _, b := range answer[:n] {
			m.Tokens = append(m.Tokens, &inferencev1.Token{Id: int32(b)})
		}
		out, answer = append(out, m), answer[n:]
	}
	return out
}

// What is skipped and what is left make the answer, however both times were cut into pieces; and another answer is no continuation.
func TestReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		answer := rapid.SliceOfN(rapid.ByteRange('a', 'c'), 1, 20).Draw(t, "answer")
		came := rapid.IntRange(0, len(answer)).Draw(t, "came")
		r := replay{text: string(answer[:came])}
		for _, b := range answer[:came] {
			r.ids = append(r.ids, int32(b))
		}
		changed := rapid.IntRange(-1, came-1).Draw(t, "changed")
		second := append([]byte(nil), answer...)
		if changed >= 0 {
			second[changed] = 'x'
		}
		var text string
		var ids []byte
		var err error
		for _, m := range pieces(t, "piece", second) {
			if err = r.skip(m); err != nil {
				break
			}
			text += m.Text
			for _, k := range m.Tokens {
				ids = append(ids, byte(k.Id))
			}
		}
		switch {
		case changed >= 0 && !errors.Is(err, ErrDiverged):
			t.Fatalf("%v for another answer", err)
		case changed < 0 && (err != nil || text != string(answer[came:]) || string(ids) != text):
			t.Fatalf("%q %q %v of %q behind %d", text, ids, err, answer, came)
		}
	})
}
