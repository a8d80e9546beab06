"""Tensors as skein.inference.v1 carries them: a dtype, a shape, and little-endian elements without gaps."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence

# FORMATS are the element types that have a form in module struct.
FORMATS = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i", "I16": "h", "I8": "b", "U64": "Q", "U32": "I", "U16": "H", "U8": "B", "BOOL": "?"}

_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"}


@dataclass(frozen=True)
class Tensor:
    """A dense array in row-major order. data holds the elements, little-endian; of BYTES each is its length (4 bytes) and that many bytes."""

    name: str
    dtype: str  # "F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL", "BYTES"
    shape: Sequence[int]
    data: bytes

    @staticmethod
    def of(name: str, dtype: str, shape: Sequence[int], values: Sequence[Any]) -> "Tensor":
        """A tensor of a flat sequence of numbers, bools, or (BYTES) bytes and strings."""
        if dtype == "BYTES":
            parts = [v.encode() if isinstance(v, str) else bytes(v) for v in values]
            return Tensor(name, dtype, tuple(shape), b"".join(struct.pack("<I", len(p)) + p for p in parts))
        return Tensor(name, dtype, tuple(shape), struct.pack(f"<{len(values)}{_format(dtype)}", *values))

    @staticmethod
    def of_numpy(name: str, array: Any) -> "Tensor":
        """A tensor of an array of numpy, which must be installed."""
        import numpy as np

        array = np.ascontiguousarray(array)
        kinds = {np.dtype(form): dtype for dtype, form in _NUMPY.items()}
        if array.dtype.newbyteorder("<") not in kinds:
            raise TypeError(f"arrays of {array.dtype} have no dtype here: use Tensor.of")
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        return Tensor(name, kinds[little.dtype], tuple(array.shape), little.tobytes())

    def values(self) -> List[Any]:
        """The elements, flat. BF16 becomes floats, BYTES bytes."""
        if self.dtype == "BYTES":
            out, at = [], 0
            while at < len(self.data):
                (size,) = struct.unpack_from("<I", self.data, at)
                at += 4 + size
                if at > len(self.data):
                    raise ValueError("an element is longer than the data")
                out.append(self.data[at - size : at])
            return out
        if self.dtype == "BF16":
            halves = struct.unpack(f"<{len(self.data) // 2}H", self.data)
            return list(struct.unpack(f"<{len(halves)}f", struct.pack(f"<{len(halves)}I", *(h << 16 for h in halves))))
        form = _format(self.dtype)
        return list(struct.unpack(f"<{len(self.data) // struct.calcsize('<' + form)}{form}", self.data))

    def numpy(self) -> Any:
        """The elements as an array of numpy, which must be installed."""
        import numpy as np

        if self.dtype in _NUMPY:
            return np.frombuffer(self.data, dtype=_NUMPY[self.dtype]).reshape(self.shape)
        return np.array(self.values(), dtype=object if self.dtype == "BYTES" else "<f4").reshape(self.shape)

    def to_json(self) -> Dict[str, Any]:
        """As the API takes it."""
        return {"name": self.name, "dtype": self.dtype, "shape": [str(n) for n in self.shape], "data": base64.b64encode(self.data).decode()}

    @staticmethod
    def from_json(v: Dict[str, Any]) -> "Tensor":
        """As the API gives it."""
        return Tensor(v.get("name", ""), v.get("dtype", ""), tuple(int(n) for n in v.get("shape", [])), base64.b64decode(v.get("data", "")))


def _format(dtype: str) -> str:
    if dtype not in FORMATS:
        raise ValueError(f"{dtype!r} has no numbers of Python: give its bytes")
    return FORMATS[dtype]
