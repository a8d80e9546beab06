"""KServe's clients of the Open Inference Protocol, over HTTP and gRPC."""

import asyncio
import importlib.metadata

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput

from checks import KEY, URL, check, near, run, same

AUTH = {"Authorization": "Bearer " + KEY}


def request():
    ids = InferInput("input_ids", [1, 3], "INT64")
    ids.set_data_from_numpy(np.array([[2, 7, 3]], dtype=np.int64), binary_data=False)
    return InferRequest(model_name="embed", infer_inputs=[ids], request_outputs=[RequestedOutput("sentence_embedding")], request_id="a-1")


def rest(f):
    async def go():
        client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
        try:
            return await f(client)
        finally:
            await client.close()

    return asyncio.run(go())


def grpc(f):
    async def go():
        client = InferenceGRPCClient(URL.removeprefix("http://"), retries=0)
        try:
            return await f(client)
        finally:
            await client.close()

    return asyncio.run(go())


def unit(got):
    same(got.id, "a-1")
    out = next(o for o in got.outputs if o.name == "sentence_embedding")
    near([float((out.as_numpy() ** 2).sum())], [1])


@check("HTTP: health")
def rest_health():
    assert rest(lambda c: c.is_server_live(URL, headers=AUTH))
    assert rest(lambda c: c.is_server_ready(URL, headers=AUTH))
    assert rest(lambda c: c.is_model_ready(URL, "embed", headers=AUTH))


@check("HTTP: infer")
def rest_infer():
    unit(rest(lambda c: c.infer(URL, request(), model_name="embed", headers=AUTH)))


@check("gRPC: health")
def grpc_health():
    headers = [("authorization", AUTH["Authorization"])]
    assert grpc(lambda c: c.is_server_live(headers=headers))
    assert grpc(lambda c: c.is_server_ready(headers=headers))
    assert grpc(lambda c: c.is_model_ready("embed", headers=headers))


@check("gRPC: infer")
def grpc_infer():
    unit(grpc(lambda c: c.infer(request(), headers=[("authorization", AUTH["Authorization"])])))


run("KServe client", importlib.metadata.version("kserve"))
