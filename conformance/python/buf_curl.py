"""buf curl, by Connect, gRPC and gRPC-Web, with the schema that reflection tells."""

import json
import pathlib
import subprocess

from checks import KEY, URL, check, run, same

TOOL = str(pathlib.Path(__file__).resolve().parents[2] / "build" / "conformance" / "node" / "node_modules" / ".bin" / "buf")
REFLECT = ["--reflect-header", "Authorization: Bearer " + KEY]


def call(method, data, *args, fails=False):
    cmd = [TOOL, "curl", "--http2-prior-knowledge", "--header", "Authorization: Bearer " + KEY, *REFLECT, "--data", json.dumps(data), *args, URL + "/" + method]
    got = subprocess.run(cmd, capture_output=True, text=True, timeout=60)
    if (got.returncode != 0) != fails:
        raise AssertionError(f"exit {got.returncode}: {got.stderr[:300]}")
    return got.stderr if fails else got.stdout


@check("list")
def names():
    got = subprocess.run([TOOL, "curl", "--http2-prior-knowledge", "--header", "Authorization: Bearer " + KEY, *REFLECT, "--list-services", URL], capture_output=True, text=True, timeout=60)
    assert "skein.inference.v1.InferenceService" in got.stdout.split(), got.stdout + got.stderr[:300]


for protocol in ("connect", "grpc", "grpcweb"):

    @check(protocol)
    def embed(protocol=protocol):
        got = json.loads(call("skein.inference.v1.InferenceService/Embed", {"model": "embed", "texts": ["disk is full"]}, "--protocol", protocol))
        same(len(got["vectors"][0]["values"]), 32)
        got = call("skein.inference.v1.InferenceService/Chat", {"model": "calc", "messages": [{"role": "user", "content": "sum 17 25"}]}, "--protocol", protocol)
        assert '"FINISH_REASON_STOP"' in got, got

    @check(protocol + ", errors")
    def errors(protocol=protocol):
        got = call("skein.inference.v1.InferenceService/Embed", {"model": "none", "texts": ["x"]}, "--protocol", protocol, fails=True)
        assert "not_found" in got, got


run("buf curl", subprocess.run([TOOL, "--version"], capture_output=True, text=True, check=True).stdout.strip())
