"""Writes golden.safetensors: what the framework a model comes from computes with it, for Skein to compare with on publishing.

    python tools/py/make_golden.py onnx FOLDER [--length 12] [--rows 1] [--seed 1]     FOLDER/model.onnx, by ONNX Runtime
    python tools/py/make_golden.py transformers FOLDER [...]                           a Hugging Face folder, by transformers
    python tools/py/make_golden.py tensorflow FOLDER [...]                             a SavedModel, by TensorFlow

The file holds inputs as in.NAME and outputs as out.NAME, under the names of the model's ports. Inputs are drawn from a
seed; free dimensions have --length elements, the first one --rows. Of a Hugging Face folder, `transformers` may be asked
with the ports of another format of the same model: its names are input_ids, attention_mask, token_type_ids and
last_hidden_state, logits, pooler_output. An output that the published model does not have is refused there: --outputs says
which are written.
"""

import argparse
import pathlib

import numpy as np
from safetensors.numpy import save_file


def draw(rng, name, dtype, shape, high):
    """An input: ones for masks, zeros for segments, token ids below high, else numbers between -1 and 1."""
    if "mask" in name:
        return np.ones(shape, dtype)
    if "type_ids" in name or "segment" in name:
        return np.zeros(shape, dtype)
    if np.issubdtype(dtype, np.integer):
        return rng.integers(0, high, shape).astype(dtype)
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.uniform(-1, 1, shape).astype(dtype)


def lengths(shape, args):
    return [d if isinstance(d, int) and d > 0 else (args.rows if i == 0 else args.length) for i, d in enumerate(shape)]


def by_onnx(folder, args):
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    types = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_,
             "tensor(float16)": np.float16, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}
    rng = np.random.default_rng(args.seed)
    ins = {i.name: draw(rng, i.name, types[i.type], lengths(i.shape, args), args.high) for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    return ins, dict(zip(names, session.run(names, ins)))


def by_transformers(folder, args):
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    model = getattr(transformers, config.architectures[0]).from_pretrained(folder, dtype=torch.float32).eval()
    rng = np.random.default_rng(args.seed)
    shape = (args.rows, args.length)
    ins = {"input_ids": rng.integers(0, config.vocab_size, shape), "attention_mask": np.ones(shape, np.int64)}
    if getattr(config, "type_vocab_size", 0):
        ins["token_type_ids"] = np.zeros(shape, np.int64)
    with torch.no_grad():
        out = model(**{k: torch.from_numpy(v) for k, v in ins.items()})
    return ins, {k: v.numpy() for k, v in out.items() if isinstance(v, torch.Tensor)}


def by_tensorflow(folder, args):
    import tensorflow as tf

    call = tf.saved_model.load(str(folder)).signatures[args.signature]
    rng = np.random.default_rng(args.seed)
    specs = call.structured_input_signature[1]
    ins = {n: draw(rng, n, s.dtype.as_numpy_dtype, lengths(s.shape.as_list(), args), args.high) for n, s in specs.items()}
    return ins, {n: v.numpy() for n, v in call(**{n: tf.constant(v) for n, v in ins.items()}).items()}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("framework", choices=["onnx", "transformers", "tensorflow"])
    p.add_argument("folder", type=pathlib.Path)
    p.add_argument("--length", type=int, default=12)
    p.add_argument("--rows", type=int, default=1)
    p.add_argument("--high", type=int, default=100, help="whole numbers are below this")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--signature", default="serving_default")
    p.add_argument("--outputs", nargs="+", help="write only these; otherwise all that there are")
    args = p.parse_args()
    ins, outs = {"onnx": by_onnx, "transformers": by_transformers, "tensorflow": by_tensorflow}[args.framework](args.folder, args)
    outs = {k: outs[k] for k in args.outputs or outs}
    tensors = {f"in.{k}": np.ascontiguousarray(v) for k, v in ins.items()} | {f"out.{k}": np.ascontiguousarray(v) for k, v in outs.items()}
    save_file(tensors, args.folder / "golden.safetensors")


if __name__ == "__main__":
    main()
