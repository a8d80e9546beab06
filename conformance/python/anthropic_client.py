"""The official Python client of Anthropic's API."""

import anthropic

from checks import KEY, URL, check, refused, run, same

client = anthropic.Anthropic(base_url=URL, api_key=KEY)
SUM = [{"role": "user", "content": "sum 17 25"}]
TOOLS = [
    {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
    {"name": "add", "input_schema": {"type": "object"}},
]


@check("messages")
def messages():
    got = client.messages.create(model="calc", max_tokens=32, messages=SUM)
    same(got.content[0].text.strip(), "42")
    same(got.stop_reason, "end_turn")
    assert got.usage.input_tokens > 0 and got.usage.output_tokens > 0, got.usage


@check("messages, streamed")
def streamed():
    with client.messages.stream(model="calc", max_tokens=32, messages=SUM) as stream:
        text = "".join(stream.text_stream)
        same(stream.get_final_message().stop_reason, "end_turn")
    same(text.strip(), "42")


@check("tools")
def tools():
    asked = [{"role": "user", "content": "hello"}]
    got = client.messages.create(model="tools", max_tokens=200, messages=asked, tools=TOOLS)
    same(got.stop_reason, "tool_use")
    calls = [b for b in got.content if b.type == "tool_use"]
    same([(c.name, c.input) for c in calls], [("get_weather", {"city": "Zürich", "unit": "c"}), ("add", {"a": 2, "b": [3, {"c": '"}ü'}]})])
    asked.append({"role": "assistant", "content": got.content})
    asked.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": c.id, "content": "21"} for c in calls]})
    then = client.messages.create(model="tools", max_tokens=200, messages=asked, tools=TOOLS)
    same((then.content[0].text, then.stop_reason), ("21 °C.", "end_turn"))


@check("tools, streamed")
def tools_streamed():
    with client.messages.stream(model="tools", max_tokens=200, messages=[{"role": "user", "content": "hello"}], tools=TOOLS) as stream:
        got = stream.get_final_message()
    same([b.input for b in got.content if b.type == "tool_use"][0], {"city": "Zürich", "unit": "c"})


@check("count tokens")
def count():
    assert client.messages.count_tokens(model="calc", messages=SUM).input_tokens > 0


@check("errors")
def errors():
    refused(anthropic.AuthenticationError, lambda: anthropic.Anthropic(base_url=URL, api_key="sk-wrong").messages.create(model="calc", max_tokens=8, messages=SUM))
    refused(anthropic.NotFoundError, lambda: client.messages.create(model="none", max_tokens=8, messages=SUM))
    refused(anthropic.BadRequestError, lambda: client.messages.create(model="calc", max_tokens=8, messages=SUM, extra_body={"temperature": -1}))


@check("abort")
def abort():
    for _ in range(8):  # more than there are places: each stream that is left gives its place back
        with client.messages.stream(model="tools", max_tokens=1500, messages=[{"role": "user", "content": "loop"}]) as stream:
            next(iter(stream.text_stream))
    same(client.messages.create(model="tools", max_tokens=200, messages=[{"role": "user", "content": "hello"}]).stop_reason, "end_turn")


run("anthropic-python", anthropic.__version__)
