"""Skein's own client, sdk/python, with nothing but the standard library."""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "sdk" / "python" / "src"))

import skein  # noqa: E402

from checks import KEY, URL, check, near, refused, run, same  # noqa: E402

client = skein.Client(URL, KEY)
TEXT = "The scheduler keeps a table of every machine."


@check("models")
def models():
    names = {m.name: m for m in client.models()}
    assert names["calc"].ready >= 1 and "generate" in names["calc"].tasks, names
    assert names["calc"].created > 0


@check("generate")
def generate():
    pieces = list(client.generate("calc", "sort 9 3 14 7 =", max_tokens=32))
    same("".join(p.text for p in pieces).strip(), "3 7 9 14")
    same(pieces[-1].finish_reason, "stop")
    assert pieces[-1].usage.completion_tokens > 0
    same(pieces[-1].model_version, "calc@1")


@check("chat")
def chat():
    pieces = list(client.chat("calc", [{"role": "user", "content": "sum 17 25"}], seed=2**64 - 1, temperature=0, logprobs=True, top_logprobs=2))
    same("".join(p.text for p in pieces).strip(), "42")
    tokens = [t for p in pieces for t in p.tokens]
    assert tokens and all(t.logprob <= 0 and len(t.top) == 2 for t in tokens), tokens


@check("embed")
def embed():
    got = client.embed("embed", ["disk is full", "all is well"], pooling="mean", normalize=True)
    same([len(v) for v in got.vectors], [32, 32])
    near([sum(x * x for x in v) for v in got.vectors], [1, 1])
    same(len(client.embed_tokens("embed", ["disk"]).results[0][0].values), 32)


@check("classify")
def classify():
    got = client.classify("triage", ["no space left on device while writing /var/log", ("gpu 3 on node-7 has fallen off the bus", "")])
    same([r[0].name for r in got.results], ["disk", "gpu"])
    near([sum(label.score for label in r) for r in got.results], [1, 1])


@check("label tokens")
def label_tokens():
    got = client.label_tokens("segment", ["这台机器人不能用。"]).results[0]
    same("".join(s.text for s in got), "这台机器人不能用。")
    same([(s.start, s.end) for s in got][-1][1], 9)


@check("fill")
def fill():
    got = client.fill_mask("fill", ["The scheduler keeps a [MASK] of every machine."], top=3).results[0][0]
    same(len(got), 3)
    assert got[0].score >= got[1].score >= got[2].score > 0, got


@check("answer")
def answer():
    got = client.answer("answer", "What is kept?", TEXT, best=2)
    for a in got.answers:
        same(a.text, TEXT[a.start : a.end])
    same(len(got.answers), 2)


@check("rerank")
def rerank():
    got = client.rerank("rank", "disk", ["all well", "disk is full", "rain"]).results
    same(sorted(r.index for r in got), [0, 1, 2])
    assert got[0].score >= got[1].score >= got[2].score, got


@check("infer tensors")
def infer():
    ids = skein.Tensor.of("input_ids", "I64", [1, 3], [2, 7, 3])
    got = client.infer("embed", [ids], ["sentence_embedding"])
    same([(t.name, t.dtype, t.shape) for t in got.outputs], [("sentence_embedding", "F32", (1, 32))])
    near([sum(x * x for x in got["sentence_embedding"].values())], [1])


@check("constraints")
def constraints():
    schema = {"type": "object", "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 999}}, "required": ["sum"], "additionalProperties": False}
    got = json.loads("".join(p.text for p in client.chat("calc", [{"role": "user", "content": "sum 17 25"}], json_schema=schema, temperature=1.5)))
    assert 0 <= got["sum"] <= 999, got
    same("".join(p.text for p in client.generate("calc", "sum 17 25 =", choice=[" 42", "yes"], temperature=0, frequency_penalty=0.1)), " 42")
    same("".join(p.text for p in client.generate("calc", "sum 17 25 =", regex="[a-c]{4}"))[:1] in "abc", True)


@check("errors")
def errors():
    same(refused(skein.SkeinError, lambda: client.embed("none", ["x"])).code, "not_found")
    same(refused(skein.SkeinError, lambda: list(client.chat("none", []))).code, "not_found")
    same(refused(skein.SkeinError, lambda: client.embed("embed", [])).code, "invalid_argument")
    e = refused(skein.SkeinError, skein.Client(URL, "sk-wrong").models)
    same((e.code, e.status), ("unauthenticated", 401))
    assert e.request_id, "no request id"
    same(refused(skein.Disconnected, skein.Client("http://127.0.0.1:9", "k", retries=1).models).code, "unavailable")


@check("abort")
def abort():
    for _ in range(8):  # more than there are places: each stream that is left gives its place back
        stream = client.chat("tools", [{"role": "user", "content": "loop"}])
        next(stream)
        del stream
    same(list(client.chat("tools", [{"role": "user", "content": "hello"}]))[-1].finish_reason, "stop")


@check("retries, and what fails")
def faults():
    got = subprocess.run([sys.executable, "-m", "unittest", "discover", "tests"], cwd=ROOT / "sdk" / "python", env={**os.environ, "PYTHONPATH": "src"}, capture_output=True, text=True, timeout=120)
    assert got.returncode == 0, got.stderr[-2000:]


run("skein (Python SDK)", "0.1.0")
