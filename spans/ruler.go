package spans

import "unicode/utf8"

// Unit is what offsets count.
type Unit int

// Units.
const (
	Characters Unit = iota // Unicode code points
	Bytes                  // of UTF-8
	UTF16                  // code units, as strings of JavaScript, Java and C# count
)

// Ruler turns byte offsets of a text into offsets of a unit. Offsets that do not fall are found in one walk over the text.
type Ruler struct {
	text  string
	unit  Unit
	at    int // bytes
	count int32
}

// NewRuler measures a text, which is UTF-8.
func NewRuler(text string, unit Unit) *Ruler { return &Ruler{text: text, unit: unit} }

// At is the offset of the character that begins at a byte, or of the text's end.
func (r *Ruler) At(byte int32) int32 {
	if r.unit == Bytes {
		return byte
	}
	if int(byte) < r.at {
		r.at, r.count = 0, 0
	}
	for r.at < int(byte) && r.at < len(r.text) {
		c, n := utf8.DecodeRuneInString(r.text[r.at:])
		r.at += n
		r.count++
		if r.unit == UTF16 && c > 0xFFFF {
			r.count++
		}
	}
	return r.count
}
