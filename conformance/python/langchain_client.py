"""LangChain, by its integration of OpenAI's API."""

import asyncio
import importlib.metadata
from typing import Literal

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

from checks import KEY, URL, check, near, run, same


def llm(model):
    return ChatOpenAI(model=model, base_url=URL + "/v1", api_key=KEY)


@tool
def get_weather(city: str, unit: str = "c") -> str:
    """The weather of a city."""
    return f"21 {unit} in {city}"


@tool
def add(a: int, b: list) -> str:
    """Adds."""
    return "7"


@check("invoke")
def invoke():
    got = llm("calc").invoke("sum 17 25")
    same(got.content.strip(), "42")
    assert got.usage_metadata["total_tokens"] > 0, got.usage_metadata


@check("stream")
def stream():
    same("".join(c.content for c in llm("calc").stream("sum 17 25")).strip(), "42")


@check("batch, asynchronous")
def batch():
    got = asyncio.run(llm("calc").abatch(["sum 17 25", "sum 1 2", "sum 40 2"]))
    same([m.content.strip() for m in got], ["42", "3", "42"])


@check("tools")
def tools():
    model = llm("tools").bind_tools([get_weather, add])
    asked = [HumanMessage("hello")]
    got = model.invoke(asked)
    same([c["name"] for c in got.tool_calls], ["get_weather", "add"])
    same(get_weather.invoke(got.tool_calls[0]["args"]), "21 c in Zürich")
    asked += [got] + [ToolMessage("21", tool_call_id=c["id"]) for c in got.tool_calls]
    same(model.invoke(asked).content, "21 °C.")


class Reading(BaseModel):
    """A reading."""

    kind: Literal["sum", "sort"]
    value: int = Field(ge=0, le=999)
    ok: bool


@check("with_structured_output")
def structured():
    for how in ("json_schema", "function_calling"):
        model = llm("tools" if how == "function_calling" else "calc").with_structured_output(Reading, method=how, strict=True)
        assert isinstance(model.invoke("sum 17 25"), Reading), how


@check("embeddings")
def embeddings():
    got = OpenAIEmbeddings(model="embed", base_url=URL + "/v1", api_key=KEY, check_embedding_ctx_length=False).embed_documents(["disk is full", "all is well"])
    same([len(v) for v in got], [32, 32])
    near([sum(x * x for x in v) for v in got], [1, 1])


run("LangChain", f"langchain-openai {importlib.metadata.version('langchain-openai')}")
