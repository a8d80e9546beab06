package onnx

import (
	"testing"

	"github.com/skein-project/skein/model"
)

// Every number stands for one type and the other way round; numbers of types that are not served stand for none.
func TestTypes(t *testing.T) {
	for _, d := range []model.DType{model.F64, model.F32, model.F16, model.BF16, model.I64, model.I32, model.I16, model.I8, model.U64, model.U32, model.U16, model.U8, model.Bool, model.Bytes} {
		if n := TypeOf(d); n == 0 || DType(int64(n)) != d {
			t.Errorf("%s is %d, which is %q", d, n, DType(int64(n)))
		}
	}
	for _, n := range []int64{0, 14, 15, 17, 23, -1, 1 << 40} { // none, complex numbers, floats of 8 bits and 4
		if d := DType(n); d != "" {
			t.Errorf("%d is %s", n, d)
		}
	}
	if TypeOf("X") != 0 {
		t.Error(TypeOf("X"))
	}
}
