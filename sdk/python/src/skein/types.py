"""Answers of the API. Each is made of the JSON form of its message, where zeros are left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from .tensors import Tensor

JSON = Dict[str, Any]


@dataclass(frozen=True)
class Usage:
    """Counts of tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @staticmethod
    def of(v: Optional[JSON]) -> "Usage":
        v = v or {}
        return Usage(v.get("promptTokens", 0), v.get("completionTokens", 0))


@dataclass(frozen=True)
class Token:
    """A token of an answer. logprob and top are there when they were asked for."""

    id: int
    text: str
    logprob: Optional[float] = None
    top: List["Token"] = field(default_factory=list)

    @staticmethod
    def of(v: JSON) -> "Token":
        p = v.get("logprob")
        return Token(v.get("id", 0), v.get("text", ""), None if p is None else float(p), [Token.of(t) for t in v.get("top", [])])


@dataclass(frozen=True)
class Piece:
    """A part of an answer. finish_reason ("stop", "length") and usage are in the last one only."""

    text: str
    tokens: List[Token]
    finish_reason: str
    usage: Optional[Usage]
    model_version: str

    @staticmethod
    def of(v: JSON) -> "Piece":
        reason = v.get("finishReason", "").replace("FINISH_REASON_", "").lower()
        usage = Usage.of(v["usage"]) if "usage" in v else None
        return Piece(v.get("text", ""), [Token.of(t) for t in v.get("tokens", [])], reason.replace("unspecified", ""), usage, v.get("modelVersion", ""))


@dataclass(frozen=True)
class Embeddings:
    """Vectors in the order of the texts."""

    vectors: List[List[float]]
    usage: Usage
    model_version: str


@dataclass(frozen=True)
class TokenVector:
    """A token, where it is in the text (both 0: nowhere), and its vector."""

    id: int
    text: str
    start: int
    end: int
    values: List[float]

    @staticmethod
    def of(v: JSON) -> "TokenVector":
        return TokenVector(v.get("id", 0), v.get("text", ""), v.get("start", 0), v.get("end", 0), numbers(v.get("values")))


@dataclass(frozen=True)
class TokenVectors:
    """For each text its tokens."""

    results: List[List[TokenVector]]
    usage: Usage
    model_version: str


@dataclass(frozen=True)
class Label:
    """A class with its score."""

    name: str
    score: float


@dataclass(frozen=True)
class Classified:
    """For each input all labels, highest score first."""

    results: List[List[Label]]
    usage: Usage
    model_version: str


@dataclass(frozen=True)
class Span:
    """A labelled part of a text, in characters."""

    start: int
    end: int
    text: str
    label: str
    score: float

    @staticmethod
    def of(v: JSON) -> "Span":
        return Span(v.get("start", 0), v.get("end", 0), v.get("text", ""), v.get("label", ""), float(v.get("score", 0)))


@dataclass(frozen=True)
class Labeled:
    """For each text its spans, in order."""

    results: List[List[Span]]
    usage: Usage
    model_version: str


@dataclass(frozen=True)
class Fill:
    """A token that a mask may stand for."""

    id: int
    text: str
    score: float
    sequence: str

    @staticmethod
    def of(v: JSON) -> "Fill":
        return Fill(v.get("id", 0), v.get("text", ""), float(v.get("score", 0)), v.get("sequence", ""))


@dataclass(frozen=True)
class Filled:
    """For each text, for each of its masks, the most likely tokens."""

    results: List[List[List[Fill]]]
    usage: Usage
    model_version: str


@dataclass(frozen=True)
class FoundAnswer:
    """A part of the context, in characters."""

    start: int
    end: int
    text: str
    score: float

    @staticmethod
    def of(v: JSON) -> "FoundAnswer":
        return FoundAnswer(v.get("start", 0), v.get("end", 0), v.get("text", ""), float(v.get("score", 0)))


@dataclass(frozen=True)
class AnsweredQuestion:
    """The best answers, best first, and how likely it is that there is none."""

    answers: List[FoundAnswer]
    no_answer_score: float
    usage: Usage
    model_version: str


@dataclass(frozen=True)
class Ranking:
    """A document, by its place in the request, with its score."""

    index: int
    score: float


@dataclass(frozen=True)
class Reranked:
    """The documents, best first."""

    results: List[Ranking]
    usage: Usage
    model_version: str


@dataclass(frozen=True)
class Inferred:
    """The outputs that were asked for, in that order."""

    outputs: List[Tensor]
    model_version: str

    def __getitem__(self, name: str) -> Tensor:
        for t in self.outputs:
            if t.name == name:
                return t
        raise KeyError(name)


@dataclass(frozen=True)
class Model:
    """A name that can be called."""

    name: str
    version: str
    tasks: List[str]
    ready: int  # replicas that answer now
    created: int  # unix time in seconds

    @staticmethod
    def of(v: JSON) -> "Model":
        return Model(v.get("name", ""), v.get("version", ""), v.get("tasks", []), v.get("ready", 0), int(v.get("created", 0)))


def numbers(values: Optional[List[Any]]) -> List[float]:
    """Floats of their JSON form, in which what is not finite is a string ("NaN")."""
    return [float(x) for x in values or []]
