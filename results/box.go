package results

import "strings"

// Owner is whose a box is: a tenant, and maybe an application of it. Nobody else finds it.
type Owner struct {
	Tenant string `json:"tenant"`
	App    string `json:"app,omitempty"`
}

// Box is an answer that its client may ask for again, sealed with a key that follows from the answer's id and is kept nowhere.
type Box struct {
	Name    string `json:"name"` // follows from the id, which does not follow from it
	Owner   Owner  `json:"owner"`
	Expires int64  `json:"expires"` // Unix time in milliseconds
	Sealed  []byte `json:"sealed,omitempty"`
}

// Bounds of boxes.
const (
	BoxName = 64      // lower-case hexadecimal digits of a name
	MaxBox  = 8 << 20 // bytes of what is in a box
	MaxOwed = 256     // bytes of the names of an owner
)

// Valid says that a box may be kept: its name is no path, and nothing of it is too long.
func (b Box) Valid() bool {
	return ValidBoxName(b.Name) && len(b.Sealed) > 0 && len(b.Sealed) <= MaxBox && len(b.Owner.Tenant)+len(b.Owner.App) <= MaxOwed
}

// ValidBoxName says that a text is the name of a box.
func ValidBoxName(s string) bool {
	return len(s) == BoxName && strings.Trim(s, "0123456789abcdef") == ""
}
