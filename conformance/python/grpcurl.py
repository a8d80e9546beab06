"""grpcurl, which knows nothing of the API but what reflection tells it."""

import json
import pathlib
import subprocess

from checks import KEY, URL, check, run, same

TOOL = str(pathlib.Path(__file__).resolve().parents[2] / "build" / "tools" / "grpcurl")
ADDRESS = URL.removeprefix("http://")


def call(*args, data=None, fails=False):
    more = [] if data is None else ["-d", json.dumps(data)]
    got = subprocess.run([TOOL, "-plaintext", "-H", "Authorization: Bearer " + KEY, *more, ADDRESS, *args], capture_output=True, text=True, timeout=30)
    if (got.returncode != 0) != fails:
        raise AssertionError(f"exit {got.returncode}: {got.stderr[:300]}")
    return got.stderr if fails else got.stdout


@check("reflection: list, describe")
def reflection():
    names = call("list").split()
    for want in ("skein.inference.v1.InferenceService", "inference.GRPCInferenceService", "grpc.health.v1.Health"):
        assert want in names, names
    assert "rpc Chat" in call("describe", "skein.inference.v1.InferenceService")


@check("health")
def health():
    same(json.loads(call("grpc.health.v1.Health/Check"))["status"], "SERVING")


@check("chat, streamed")
def chat():
    got = call("skein.inference.v1.InferenceService/Chat", data={"model": "calc", "messages": [{"role": "user", "content": "sum 17 25"}]})
    decoder, text, at = json.JSONDecoder(), "", 0
    while got[at:].strip():
        at += len(got[at:]) - len(got[at:].lstrip())
        piece, end = decoder.raw_decode(got[at:])
        text, at = text + piece.get("text", ""), at + end
    same(text.strip(), "42")


@check("embed")
def embed():
    got = json.loads(call("skein.inference.v1.InferenceService/Embed", data={"model": "embed", "texts": ["disk is full"]}))
    same(len(got["vectors"][0]["values"]), 32)


@check("Open Inference Protocol")
def oip():
    same(json.loads(call("inference.GRPCInferenceService/ModelMetadata", data={"name": "embed"}))["inputs"][0]["name"], "input_ids")


@check("errors")
def errors():
    got = call("skein.inference.v1.InferenceService/Embed", data={"model": "none", "texts": ["x"]}, fails=True)
    assert "NotFound" in got, got


run("grpcurl", "1.9.3")  # as scripts/fetch-clients.sh builds it; it does not know its version itself
