"""NVIDIA's client of the Open Inference Protocol over gRPC."""

import importlib.metadata
import queue

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from checks import KEY, URL, check, near, refused, run, same

AUTH = {"authorization": "Bearer " + KEY}
client = triton.InferenceServerClient(URL.removeprefix("http://"))
IDS = np.array([[2, 25, 17, 5, 3], [2, 7, 8, 3, 0]], dtype=np.int64)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]], dtype=np.int64)


def inputs():
    out = []
    for name, values in (("input_ids", IDS), ("attention_mask", MASK)):
        t = triton.InferInput(name, list(values.shape), "INT64")
        t.set_data_from_numpy(values)
        out.append(t)
    return out


@check("health")
def health():
    assert client.is_server_live(headers=AUTH) and client.is_server_ready(headers=AUTH)
    assert client.is_model_ready("embed", headers=AUTH)


@check("metadata")
def metadata():
    same(client.get_server_metadata(headers=AUTH).name, "skein")
    same(client.get_model_metadata("embed", headers=AUTH).inputs[0].name, "input_ids")
    same(client.get_model_config("embed", headers=AUTH).config.name, "embed")


@check("infer")
def infer():
    wanted = [triton.InferRequestedOutput("sentence_embedding")]
    got = client.infer("embed", inputs(), outputs=wanted, headers=AUTH, request_id="a-1")
    v = got.as_numpy("sentence_embedding")
    same((v.shape, v.dtype, got.get_response().id), ((2, 32), np.float32, "a-1"))
    near(np.linalg.norm(v, axis=1), [1, 1])


@check("infer, 8 MiB of answer")
def large():
    ids = np.tile(np.array([[2, 7, 3] * 40], dtype=np.int64), (256, 1))
    t = triton.InferInput("input_ids", list(ids.shape), "INT64")
    t.set_data_from_numpy(ids)
    got = client.infer("embed", [t], headers=AUTH).as_numpy("last_hidden_state")
    same(got.shape, (256, 120, 32))


@check("infer, compressed")
def compressed():
    got = client.infer("embed", inputs(), headers=AUTH, compression_algorithm="gzip").as_numpy("sentence_embedding")
    same(got.shape, (2, 32))


@check("stream infer")
def stream():
    answers = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)), headers=AUTH)
    for i in range(3):
        client.async_stream_infer("embed", inputs(), request_id=str(i))
    for i in range(3):
        result, error = answers.get(timeout=30)
        same((error, result.get_response().id), (None, str(i)))
    client.stop_stream()


@check("repository")
def repository():
    assert {m.name for m in client.get_model_repository_index(headers=AUTH).models} >= {"embed", "calc"}


@check("statistics")
def statistics():
    got = client.get_inference_statistics("embed", headers=AUTH).model_stats[0]
    assert got.name == "embed" and got.inference_stats.success.count > 0, got


@check("errors")
def errors():
    same(refused(InferenceServerException, lambda: client.get_model_metadata("none", headers=AUTH)).status(), "StatusCode.NOT_FOUND")
    bad = triton.InferInput("input_ids", [1, 2], "FP32")
    bad.set_data_from_numpy(np.zeros((1, 2), np.float32))
    same(refused(InferenceServerException, lambda: client.infer("embed", [bad], headers=AUTH)).status(), "StatusCode.INVALID_ARGUMENT")
    same(refused(InferenceServerException, lambda: client.infer("embed", inputs())).status(), "StatusCode.UNAUTHENTICATED")


run("tritonclient grpc", importlib.metadata.version("tritonclient"))
