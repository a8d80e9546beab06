"""Makes testdata/onnx: small ONNX models as exporters write them, and what ONNX Runtime and transformers compute with them.

    python tools/py/make_onnx_fixtures.py        # from the root of the repository; packages: requirements.txt, onnx-requirements.txt

    mlp             made node by node: "x" F32 [rows, 8] and "k" I64 [rows] give "y" F32 [rows, 4] and "index" I64 [rows];
                    weights as float_data, constants as nodes, "k" moves the answer by a lookup
    external        the same function with weights of 64 and 32 rows in a file of external data
    bert-classify   testdata/models/bert-classify exported by torch.onnx, with its tokenizer and settings
    bert-embed      testdata/models/bert-embed exported by torch.onnx, with skein.json in place of settings

Each folder has a golden.safetensors: of the first two by ONNX Runtime, of the last two by transformers (make_golden.py).
"""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import onnx
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper

OUT = pathlib.Path("testdata/onnx")
MODELS = pathlib.Path("testdata/models")


def mlp(hidden, raw):
    rng = np.random.default_rng(7)
    draw = lambda *shape: rng.uniform(-1, 1, shape).astype(np.float32)
    weights = {"w1": draw(8, hidden), "b1": draw(hidden), "w2": draw(hidden, 4), "b2": draw(4), "table": draw(16, 4)}
    if raw:
        inits = [numpy_helper.from_array(v, k) for k, v in weights.items()]
    else:
        inits = [helper.make_tensor(k, TensorProto.FLOAT, v.shape, v.flatten().tolist()) for k, v in weights.items()]
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["z"], name="second"),
        helper.make_node("Constant", [], ["sixteen"], value_int=16, name="sixteen"),
        helper.make_node("Mod", ["k", "sixteen"], ["row"], name="mod"),
        helper.make_node("Gather", ["table", "row"], ["shift"], name="lookup", axis=0),
        helper.make_node("Add", ["z", "shift"], ["y"], name="add"),
        helper.make_node("ArgMax", ["y"], ["index"], name="argmax", axis=1, keepdims=0),
    ]
    port = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "mlp", [port("x", TensorProto.FLOAT, ["rows", 8]), port("k", TensorProto.INT64, ["rows"])],
                              [port("y", TensorProto.FLOAT, ["rows", 4]), port("index", TensorProto.INT64, ["rows"])], inits)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def bert(name, outputs):
    """Exports a BERT of testdata/models. The exporter's inputs have two rows, so that no dimension is taken for a constant."""
    folder = MODELS / name
    config = transformers.AutoConfig.from_pretrained(folder)
    model = getattr(transformers, config.architectures[0]).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()

    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            out = self.inner(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
            return tuple(out[o] for o in outputs)

    to = OUT / name
    to.mkdir(parents=True, exist_ok=True)
    ids = torch.randint(0, config.vocab_size, (2, 9))
    names = ["input_ids", "attention_mask", "token_type_ids"]
    free = {n: {0: "batch", 1: "sequence"} for n in names}
    args = (ids, torch.ones_like(ids), torch.zeros_like(ids))
    rows, length = torch.export.Dim("batch"), torch.export.Dim("sequence", max=config.max_position_embeddings)
    program = torch.onnx.export(Plain().eval(), args, input_names=names, output_names=list(outputs), opset_version=18, dynamo=True,
                                dynamic_shapes={n: {0: rows, 1: length} for n in names}, external_data=False)
    program.save(to / "model.onnx")
    plain(to / "model.onnx")
    return folder, to


def plain(path):
    """Takes out what the exporter notes of where it ran: stack traces with the paths of a machine."""
    model = onnx.load(path)
    for part in [model, model.graph, *model.functions, *model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output, *model.graph.value_info]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def golden(framework, folder, *args):
    subprocess.run([sys.executable, "tools/py/make_golden.py", framework, folder, *args], check=True)


def main():
    torch.manual_seed(1)
    shutil.rmtree(OUT, ignore_errors=True)
    for name, hidden, raw in [("mlp", 16, False), ("external", 64, True)]:
        (OUT / name).mkdir(parents=True)
        model = mlp(hidden, raw)
        if raw:
            onnx.save_model(model, OUT / name / "model.onnx", save_as_external_data=True, location="weights.data", size_threshold=512)
        else:
            onnx.save_model(model, OUT / name / "model.onnx")
        golden("onnx", OUT / name, "--rows", "3")
    folder, to = bert("bert-classify", ["logits"])
    for f in ["config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]:
        shutil.copy(folder / f, to / f)
    golden("transformers", folder)
    (folder / "golden.safetensors").rename(to / "golden.safetensors")
    folder, to = bert("bert-embed", ["last_hidden_state"])
    shutil.copy(folder / "tokenizer.json", to / "tokenizer.json")
    (to / "skein.json").write_text(json.dumps({"task": "embed", "pooling": "mean", "normalize": True, "context": 128}, indent=1) + "\n")
    golden("transformers", folder)
    (folder / "golden.safetensors").rename(to / "golden.safetensors")


if __name__ == "__main__":
    main()
