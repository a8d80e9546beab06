"""Makes testdata/onnx: small ONNX models as exporters write them, and what ONNX Runtime and transformers compute with them.

    python tools/py/make_onnx_fixtures.py              # from the root of the repository; packages: requirements.txt, onnx-requirements.txt
    python tools/py/make_onnx_fixtures.py bert-answer  # only this one

    mlp             made node by node: "x" F32 [rows, 8] and "k" I64 [rows] give "y" F32 [rows, 4] and "index" I64 [rows];
                    weights as float_data, constants as nodes, "k" moves the answer by a lookup
    external        the same function with weights of 64 and 32 rows in a file of external data
    bert-classify   testdata/models/bert-classify exported by torch.onnx, with its tokenizer and settings
    bert-embed      testdata/models/bert-embed exported by torch.onnx, with skein.json in place of settings
    bert-spans      testdata/models/bert-spans: labels of tokens
    bert-fill       testdata/models/bert-fill: scores of the whole vocabulary for every token
    bert-answer     testdata/models/bert-answer: start_logits and end_logits, as exporters name them
    roberta-answer  testdata/models/roberta-answer: both ends of answers in one output, of a name of its own, with skein.json in place
                    of settings
    bert-rank       testdata/models/bert-rank: one score of a pair

Each folder has a golden.safetensors: of the first two by ONNX Runtime, of the others by transformers (make_golden.py). What the pipelines of
transformers answer stands beside the models that were exported (reference.json, tasks.json, answers.json).
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
from safetensors.numpy import load_file, save_file

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


def encoder(name, outputs, stacked=None):
    """Exports an encoder of testdata/models; stacked is the name of one output that has the others side by side. The exporter's inputs
    have two rows, so that no dimension is taken for a constant."""
    folder = MODELS / name
    config = transformers.AutoConfig.from_pretrained(folder)
    model = getattr(transformers, config.architectures[0]).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()

    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, input_ids, attention_mask, token_type_ids=None):
            out = self.inner(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
            return torch.stack([out[o] for o in outputs], -1) if stacked else tuple(out[o] for o in outputs)

    to = OUT / name
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    ids = torch.randint(2, config.vocab_size, (2, 9))
    names = ["input_ids", "attention_mask", "token_type_ids"][:3 if config.type_vocab_size > 1 else 2]
    free = {n: {0: "batch", 1: "sequence"} for n in names}
    args = (ids, torch.ones_like(ids), torch.zeros_like(ids))[:len(names)]
    rows, length = torch.export.Dim("batch"), torch.export.Dim("sequence", max=config.max_position_embeddings - (2 if config.model_type == "roberta" else 0))
    program = torch.onnx.export(Plain().eval(), args, input_names=names, output_names=[stacked] if stacked else list(outputs), opset_version=18, dynamo=True,
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


def settings(folder, to):
    for f in ["config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]:
        shutil.copy(folder / f, to / f)


def side(to, **keys):
    (to / "skein.json").write_text(json.dumps(keys, indent=1) + "\n")


def by_hand(name, hidden, raw):
    shutil.rmtree(OUT / name, ignore_errors=True)
    (OUT / name).mkdir(parents=True)
    model = mlp(hidden, raw)
    if raw:
        onnx.save_model(model, OUT / name / "model.onnx", save_as_external_data=True, location="weights.data", size_threshold=512)
    else:
        onnx.save_model(model, OUT / name / "model.onnx")
    golden("onnx", OUT / name, "--rows", "3")


def exported(name, outputs, finish=settings, stacked=None):
    folder, to = encoder(name, outputs, stacked)
    finish(folder, to)
    golden("transformers", folder, "--outputs", *outputs)
    found = load_file(folder / "golden.safetensors")
    (folder / "golden.safetensors").unlink()
    ports = {f"in.{i.name}" for i in onnx.load(to / "model.onnx").graph.input}
    found = {k: v for k, v in found.items() if k in ports or k.startswith("out.")}  # RoBERTa has one segment, and its graph none
    if stacked:
        found[f"out.{stacked}"] = np.ascontiguousarray(np.stack([found.pop(f"out.{o}") for o in outputs], -1))
    save_file(found, to / "golden.safetensors")


def embeds(folder, to):
    shutil.copy(folder / "tokenizer.json", to / "tokenizer.json")
    side(to, task="embed", pooling="mean", normalize=True, context=128)


def answers(folder, to):
    for f in ["tokenizer.json", "tokenizer_config.json"]:
        shutil.copy(folder / f, to / f)
    side(to, task="answer", context=128, text={"logits": "ends"})


ENDS = ["start_logits", "end_logits"]
FOLDERS = {
    "mlp": lambda: by_hand("mlp", 16, False),
    "external": lambda: by_hand("external", 64, True),
    "bert-classify": lambda: exported("bert-classify", ["logits"]),
    "bert-embed": lambda: exported("bert-embed", ["last_hidden_state"], embeds),
    "bert-spans": lambda: exported("bert-spans", ["logits"]),
    "bert-fill": lambda: exported("bert-fill", ["logits"]),
    "bert-answer": lambda: exported("bert-answer", ENDS),
    "roberta-answer": lambda: exported("roberta-answer", ENDS, answers, "ends"),
    "bert-rank": lambda: exported("bert-rank", ["logits"]),
}


def main():
    for name in sys.argv[1:] or FOLDERS:
        torch.manual_seed(1)
        FOLDERS[name]()


if __name__ == "__main__":
    main()
