"""NVIDIA's client of the Open Inference Protocol over HTTP, with its extension for binary tensors."""

import importlib.metadata

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from checks import KEY, URL, check, near, refused, run, same


def auth():
    """A new header each time: the client writes into what it is given."""
    return {"Authorization": "Bearer " + KEY}


client = triton.InferenceServerClient(URL.removeprefix("http://"))
IDS = np.array([[2, 25, 17, 5, 3], [2, 7, 8, 3, 0]], dtype=np.int64)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]], dtype=np.int64)


def inputs(binary):
    out = []
    for name, values in (("input_ids", IDS), ("attention_mask", MASK)):
        t = triton.InferInput(name, list(values.shape), "INT64")
        t.set_data_from_numpy(values, binary_data=binary)
        out.append(t)
    return out


def vectors(binary):
    wanted = [triton.InferRequestedOutput("sentence_embedding", binary_data=binary)]
    return client.infer("embed", inputs(binary), outputs=wanted, headers=auth(), request_id="a-1")


@check("health")
def health():
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("embed", headers=auth())
    assert not client.is_model_ready("none", headers=auth())


@check("metadata")
def metadata():
    same(client.get_server_metadata(headers=auth())["name"], "skein")
    got = client.get_model_metadata("embed", headers=auth())
    assert {t["name"] for t in got["inputs"]} >= {"input_ids", "attention_mask"}, got
    same(client.get_model_config("embed", headers=auth())["name"], "embed")


@check("infer, binary")
def infer_binary():
    got = vectors(True)
    v = got.as_numpy("sentence_embedding")
    same((v.shape, v.dtype, got.get_response()["id"]), ((2, 32), np.float32, "a-1"))
    near(np.linalg.norm(v, axis=1), [1, 1])


@check("infer, JSON")
def infer_json():
    near(vectors(False).as_numpy("sentence_embedding").ravel(), vectors(True).as_numpy("sentence_embedding").ravel())


@check("infer, compressed")
def infer_compressed():
    got = client.infer("embed", inputs(True), headers=auth(), request_compression_algorithm="gzip", response_compression_algorithm="gzip")
    near(got.as_numpy("sentence_embedding").ravel(), vectors(True).as_numpy("sentence_embedding").ravel())


@check("async infer")
def infer_async():
    waiting = [client.async_infer("embed", inputs(True), headers=auth()) for _ in range(4)]
    for w in waiting:
        same(w.get_result().as_numpy("sentence_embedding").shape, (2, 32))


@check("repository")
def repository():
    names = {m["name"] for m in client.get_model_repository_index(headers=auth())}
    assert names >= {"embed", "calc"}, names


@check("statistics")
def statistics():
    got = client.get_inference_statistics("embed", headers=auth())["model_stats"][0]
    same(got["name"], "embed")
    assert int(got["inference_stats"]["success"]["count"]) > 0, got


@check("errors")
def errors():
    e = refused(InferenceServerException, lambda: client.get_model_metadata("none", headers=auth()))
    same(e.status(), "404")
    bad = triton.InferInput("input_ids", [1, 2], "FP32")
    bad.set_data_from_numpy(np.zeros((1, 2), np.float32))
    e = refused(InferenceServerException, lambda: client.infer("embed", [bad], headers=auth()))
    same(e.status(), "400")
    e = refused(InferenceServerException, lambda: client.infer("embed", inputs(True)))
    same(e.status(), "401")


run("tritonclient http", importlib.metadata.version("tritonclient"))
