export type DType = "F64" | "F32" | "F16" | "BF16" | "I64" | "I32" | "I16" | "I8" | "U64" | "U32" | "U16" | "U8" | "BOOL" | "BYTES";

type Numbers = Float64Array | Float32Array | BigInt64Array | Int32Array | Int16Array | Int8Array | BigUint64Array | Uint32Array | Uint16Array | Uint8Array;

const arrays = {
  F64: Float64Array, F32: Float32Array, I64: BigInt64Array, I32: Int32Array, I16: Int16Array, I8: Int8Array,
  U64: BigUint64Array, U32: Uint32Array, U16: Uint16Array, U8: Uint8Array, BOOL: Uint8Array,
} as const;

// Tensor is a dense array in row-major order. data holds the elements, little-endian (as every machine that runs JavaScript today has them); of BYTES
// each is its length (4 bytes) and that many bytes.
export class Tensor {
  constructor(
    readonly name: string,
    readonly dtype: DType,
    readonly shape: readonly number[],
    readonly data: Uint8Array,
  ) {}

  // of makes a tensor of a typed array, of the type that dtype has: a BigInt64Array for I64, a Float32Array for F32.
  static of(name: string, dtype: DType, shape: readonly number[], values: Numbers): Tensor {
    const kind = arrays[dtype as keyof typeof arrays];
    if (!kind || !(values instanceof kind)) throw new TypeError(`${values.constructor.name} is not of ${dtype}`);
    return new Tensor(name, dtype, shape, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }

  // ofStrings makes a tensor of BYTES.
  static ofStrings(name: string, shape: readonly number[], values: readonly string[]): Tensor {
    const parts = values.map((v) => new TextEncoder().encode(v));
    const data = new Uint8Array(parts.reduce((n, p) => n + 4 + p.length, 0));
    let at = 0;
    for (const p of parts) {
      new DataView(data.buffer).setUint32(at, p.length, true);
      data.set(p, at + 4);
      at += 4 + p.length;
    }
    return new Tensor(name, "BYTES", shape, data);
  }

  // values are the elements as a typed array; F16, BF16 and BYTES have none: read data.
  values(): Numbers {
    const kind = arrays[this.dtype as keyof typeof arrays];
    if (!kind) throw new TypeError(`${this.dtype} has no typed array: read data`);
    return new kind(this.data.slice().buffer);
  }

  toJSON(): object {
    let text = "";
    for (let i = 0; i < this.data.length; i += 32768) text += String.fromCharCode(...this.data.subarray(i, i + 32768));
    return { name: this.name, dtype: this.dtype, shape: this.shape.map(String), data: btoa(text) };
  }

  static fromJSON(v: { name?: string; dtype?: string; shape?: (string | number)[]; data?: string }): Tensor {
    return new Tensor(v.name ?? "", (v.dtype ?? "BYTES") as DType, (v.shape ?? []).map(Number), Uint8Array.from(atob(v.data ?? ""), (c) => c.charCodeAt(0)));
  }
}
