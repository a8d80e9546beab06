// Package tensor is a dense array with a name: element type, shape and bytes.
package tensor

import (
	"fmt"

	"github.com/skein-project/skein/model"
)

// Tensor is an array in row-major order.
type Tensor struct {
	Name  string
	DType model.DType
	Shape []int64
	Data  []byte // elements, little-endian, without gaps; of Bytes each is its length (4 bytes, little-endian) and that many bytes
}

// Invalid says which tensor is wrong, and why.
type Invalid struct {
	Name string
	Why  string
}

// Error implements error.
func (e Invalid) Error() string { return fmt.Sprintf("tensor %.80q: %s", e.Name, e.Why) }

// Elements is the product of the dimensions, or −1 where it is not a number of elements.
func (t Tensor) Elements() int64 { return model.Elements(t.Shape) }
