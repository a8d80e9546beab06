package spans

import (
	"strings"
	"testing"

	"github.com/skein-project/skein/token"
)

// Labels come with models of strangers. Whatever they are called, spans are in order, do not overlap, and hold whole tokens.
func FuzzJoin(f *testing.F) {
	f.Add("O B-PER I-PER", []byte{0, 1, 2, 1}, 0)
	f.Add("B M E S", []byte{3, 0, 1, 2}, 2)
	f.Add("- B- -I E- O-O", []byte{0, 1, 2, 3, 4, 0}, 4)
	f.Fuzz(func(t *testing.T, names string, chosen []byte, how int) {
		labels := strings.Split(names, " ")
		if len(chosen) > 100 || len(labels) > 20 || how < int(Simple) || how > int(Max) {
			return
		}
		var tokens []Token
		for i, c := range chosen {
			tokens = append(tokens, Token{token.Span{From: int32(2 * i), To: int32(2*i + 1)}, int32(c >> 6), hot(int(c)%len(labels), len(labels), 0.9)})
		}
		for _, outside := range []bool{false, true} {
			got, err := Join(tokens, labels, Aggregation(how), outside)
			if err != nil {
				t.Fatal(err)
			}
			end := int32(-1)
			for _, s := range got {
				if s.At.From <= end || s.At.To <= s.At.From || s.At.From%2 != 0 || s.At.To%2 != 1 || !(s.Score > 0 && s.Score <= 1) {
					t.Fatalf("%v", got)
				}
				end = s.At.To
			}
			if outside && len(chosen) > 0 && (len(got) == 0 || got[0].At.From != 0 || end != int32(2*len(chosen)-1)) {
				t.Fatalf("%v leaves something out of %d tokens", got, len(chosen))
			}
		}
	})
}
