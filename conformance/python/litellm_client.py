"""LiteLLM, by its providers openai (chat, embeddings) and anthropic."""

import importlib.metadata
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would ask the internet for prices

import litellm  # noqa: E402

from checks import KEY, URL, check, refused, run, same  # noqa: E402

litellm.telemetry = False
SUM = [{"role": "user", "content": "sum 17 25"}]
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}},
    {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},
]
TO = {"api_base": URL + "/v1", "api_key": KEY}


@check("chat")
def chat():
    got = litellm.completion(model="openai/calc", messages=SUM, **TO)
    same((got.choices[0].message.content.strip(), got.choices[0].finish_reason), ("42", "stop"))


@check("chat, streamed")
def streamed():
    text = ""
    for chunk in litellm.completion(model="openai/calc", messages=SUM, stream=True, **TO):
        text += chunk.choices[0].delta.content or ""
    same(text.strip(), "42")


@check("tools")
def tools():
    got = litellm.completion(model="openai/tools", messages=[{"role": "user", "content": "hello"}], tools=TOOLS, **TO).choices[0]
    same((got.finish_reason, [c.function.name for c in got.message.tool_calls]), ("tool_calls", ["get_weather", "add"]))


@check("embeddings")
def embeddings():
    got = litellm.embedding(model="openai/embed", input=["disk is full"], **TO)
    same(len(got.data[0]["embedding"]), 32)


@check("anthropic's messages")
def messages():
    got = litellm.completion(model="anthropic/calc", messages=SUM, max_tokens=32, api_base=URL, api_key=KEY)
    same(got.choices[0].message.content.strip(), "42")


@check("errors")
def errors():
    refused(litellm.AuthenticationError, lambda: litellm.completion(model="openai/calc", messages=SUM, api_base=TO["api_base"], api_key="sk-wrong"))
    refused(litellm.NotFoundError, lambda: litellm.completion(model="openai/none", messages=SUM, **TO))
    refused(litellm.ContextWindowExceededError, lambda: litellm.completion(model="openai/calc", messages=[{"role": "user", "content": "1 " * 5000}], **TO))


run("LiteLLM", importlib.metadata.version("litellm"))
