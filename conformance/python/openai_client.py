"""The official Python client of OpenAI's API."""

import base64
import json
import struct
import time
from typing import List, Literal

import openai
import pydantic

from checks import KEY, URL, check, near, refused, run, same

client = openai.OpenAI(base_url=URL + "/v1", api_key=KEY)
SUM = [{"role": "user", "content": "sum 17 25"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "unit": {"type": "string"}}, "required": ["city"]},
    },
}
ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


@check("models")
def models():
    names = [m.id for m in client.models.list()]
    for want in ("calc", "embed", "tools"):
        if want not in names:
            raise AssertionError(names)
    same(client.models.retrieve("calc").id, "calc")


@check("chat")
def chat():
    got = client.chat.completions.create(model="calc", messages=SUM)
    same(got.choices[0].message.content.strip(), "42")
    same(got.choices[0].finish_reason, "stop")
    same(got.usage.total_tokens, got.usage.prompt_tokens + got.usage.completion_tokens)


@check("chat, streamed")
def streamed():
    text, finish, usage = "", None, None
    for chunk in client.chat.completions.create(model="calc", messages=SUM, stream=True, stream_options={"include_usage": True}):
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
            finish = chunk.choices[0].finish_reason or finish
        usage = chunk.usage or usage
    same((text.strip(), finish), ("42", "stop"))
    assert usage and usage.completion_tokens > 0, usage


@check("completions")
def completions():
    got = client.completions.create(model="calc", prompt="sort 9 3 14 7 =", max_tokens=32)
    same(got.choices[0].text.strip(), "3 7 9 14")


@check("logprobs")
def logprobs():
    got = client.chat.completions.create(model="calc", messages=SUM, logprobs=True, top_logprobs=2)
    first = got.choices[0].logprobs.content[0]
    assert first.logprob <= 0 and len(first.top_logprobs) == 2, first


@check("tools")
def tools():
    asked = [{"role": "user", "content": "hello"}]
    got = client.chat.completions.create(model="tools", messages=asked, tools=[WEATHER, ADD]).choices[0]
    same(got.finish_reason, "tool_calls")
    same([c.function.name for c in got.message.tool_calls], ["get_weather", "add"])
    same(json.loads(got.message.tool_calls[0].function.arguments), {"city": "Zürich", "unit": "c"})
    asked.append(got.message.model_dump(exclude_none=True))
    for call in got.message.tool_calls:
        asked.append({"role": "tool", "tool_call_id": call.id, "content": "21"})
    then = client.chat.completions.create(model="tools", messages=asked, tools=[WEATHER, ADD]).choices[0]
    same((then.message.content, then.finish_reason), ("21 °C.", "stop"))


@check("tools, streamed")
def tools_streamed():
    with client.chat.completions.stream(model="tools", messages=[{"role": "user", "content": "hello"}], tools=[WEATHER, ADD]) as stream:
        got = stream.get_final_completion().choices[0]
    same([c.function.name for c in got.message.tool_calls], ["get_weather", "add"])
    same(json.loads(got.message.tool_calls[1].function.arguments), {"a": 2, "b": [3, {"c": '"}ü'}]})


@check("embeddings, base64 and floats")
def embeddings():
    texts = ["disk is full", "all is well"]
    plain = client.embeddings.create(model="embed", input=texts, encoding_format="float")
    default = client.embeddings.create(model="embed", input=texts)  # asks for base64
    for a, b in zip(plain.data, default.data):
        near(a.embedding, b.embedding, 1e-6)
        same(len(a.embedding), 32)
    raw = client.embeddings.with_raw_response.create(model="embed", input=texts, encoding_format="base64").http_response.json()
    near(struct.unpack("<32f", base64.b64decode(raw["data"][0]["embedding"])), plain.data[0].embedding, 1e-6)


@check("responses")
def responses():
    got = client.responses.create(model="calc", input="sum 17 25")
    same(got.output_text.strip(), "42")
    same(client.responses.retrieve(got.id).id, got.id)
    text = ""
    for event in client.responses.create(model="calc", input="sum 17 25", stream=True):
        if event.type == "response.output_text.delta":
            text += event.delta
    same(text.strip(), "42")


class Reading(pydantic.BaseModel):
    """Every text is short: calc has room for 256 tokens."""

    kind: Literal["sum", "sort"]
    value: int = pydantic.Field(ge=0, le=999)
    ok: bool
    tags: List[Literal["a", "b"]] = pydantic.Field(max_length=2)


@check("structured outputs")
def structured():
    for seed in range(3):
        got = client.chat.completions.parse(model="calc", messages=SUM, response_format=Reading, temperature=1.5, seed=seed)
        parsed = got.choices[0].message.parsed
        assert isinstance(parsed, Reading) and 0 <= parsed.value <= 999, got
    got = client.responses.parse(model="calc", input="sum 17 25", text_format=Reading)
    assert isinstance(got.output_parsed, Reading), got
    got = client.chat.completions.create(model="calc", messages=SUM, extra_body={"structured_outputs": {"choice": ["yes", "no"]}})
    assert got.choices[0].message.content in ("yes", "no"), got


@check("strict functions")
def strict():
    tools = [openai.pydantic_function_tool(Reading, name="read"), {"type": "function", "function": {"name": "stop", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}, "strict": True}}]
    for seed in range(3):
        got = client.chat.completions.parse(model="tools", messages=[{"role": "user", "content": "hello"}], tools=tools, tool_choice="required", seed=seed, temperature=1)
        (call,) = got.choices[0].message.tool_calls
        assert call.function.name == "stop" or isinstance(call.function.parsed_arguments, Reading), call
        same(got.choices[0].finish_reason, "tool_calls")


@check("penalties and bias")
def penalties():
    got = client.completions.create(model="calc", prompt="sum 17 25 =", max_tokens=4, logit_bias={"20": 100}, frequency_penalty=0.1, presence_penalty=-0.1)
    same(len(set(got.choices[0].text.strip())), 1)


@check("responses, listed and deleted")
def responses_kept():
    first = client.responses.create(model="calc", input="sum 17 25")
    then = client.responses.create(model="calc", input="sum 1 2", previous_response_id=first.id)
    items = list(client.responses.input_items.list(then.id, order="asc", limit=1))  # page after page
    same([(i.role, i.content[0].text.strip()) for i in items], [("user", "sum 17 25"), ("assistant", "42"), ("user", "sum 1 2")])
    client.responses.delete(then.id)
    refused(openai.NotFoundError, lambda: client.responses.retrieve(then.id))
    same(client.responses.retrieve(first.id).id, first.id)


@check("files, by pages")
def files():
    made = [client.files.create(file=(f"{i}.jsonl", b"{}\n" * (i + 1)), purpose="batch") for i in range(5)]
    same([f.bytes for f in made], [3, 6, 9, 12, 15])
    seen = [f.id for f in client.files.list(limit=2, order="asc")]  # page after page
    same([i for i in seen if i in {f.id for f in made}], [f.id for f in made])
    same(client.files.content(made[2].id).read(), b"{}\n" * 3)
    for f in made:
        assert client.files.delete(f.id).deleted
    refused(openai.NotFoundError, lambda: client.files.retrieve(made[0].id))


@check("batches")
def batches():
    lines = [{"custom_id": f"c{i}", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "calc", "messages": SUM}} for i in range(2)]
    lines.append({"custom_id": "none", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "none", "messages": SUM}})
    file = client.files.create(file=("in.jsonl", "\n".join(map(json.dumps, lines)).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"for": "conformance"})
    until = time.monotonic() + 60
    while batch.status not in ("completed", "failed", "expired", "cancelled") and time.monotonic() < until:
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    same((batch.status, batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed), ("completed", 3, 2, 1))
    out = [json.loads(x) for x in client.files.content(batch.output_file_id).text.splitlines()]
    same([(x["custom_id"], x["response"]["status_code"]) for x in out], [("c0", 200), ("c1", 200)])
    same(out[0]["response"]["body"]["choices"][0]["message"]["content"].strip(), "42")
    bad = [json.loads(x) for x in client.files.content(batch.error_file_id).text.splitlines()]
    same([(x["custom_id"], x["response"]["body"]["error"]["code"]) for x in bad], [("none", "model_not_found")])
    assert batch.id in [b.id for b in client.batches.list(limit=1)]
    again = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert client.batches.cancel(again.id).status in ("cancelling", "cancelled", "completed")
    refused(openai.BadRequestError, lambda: client.batches.create(input_file_id=file.id, endpoint="/v1/images", completion_window="24h"))


@check("errors")
def errors():
    e = refused(openai.AuthenticationError, lambda: client.with_options(api_key="sk-wrong").models.list())
    same(e.code, "invalid_api_key")
    e = refused(openai.NotFoundError, lambda: client.chat.completions.create(model="none", messages=SUM))
    same(e.code, "model_not_found")
    refused(openai.BadRequestError, lambda: client.chat.completions.create(model="calc", messages=SUM, temperature=-1))
    e = refused(openai.BadRequestError, lambda: client.chat.completions.create(model="calc", messages=[{"role": "user", "content": "1 " * 5000}]))
    same(e.code, "context_length_exceeded")


@check("abort")
def abort():
    stream = client.chat.completions.create(model="tools", messages=[{"role": "user", "content": "loop"}], stream=True)
    for i, _ in enumerate(stream):
        if i == 3:
            break
    stream.close()
    for _ in range(8):  # more than there are places: each stream that is left gives its place back
        with client.chat.completions.create(model="tools", messages=[{"role": "user", "content": "loop"}], stream=True) as s:
            next(iter(s))
    same(client.chat.completions.create(model="tools", messages=[{"role": "user", "content": "hello"}]).choices[0].finish_reason, "stop")


run("openai-python", openai.__version__)
