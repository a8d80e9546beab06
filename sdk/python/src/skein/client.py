"""The calls of skein.inference.v1."""

from __future__ import annotations

import json
import ssl
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple, Union

from .tensors import Tensor
from .transport import Transport
from .types import (
    AnsweredQuestion,
    Classified,
    Embeddings,
    Fill,
    Filled,
    FoundAnswer,
    Inferred,
    Label,
    Labeled,
    Model,
    Piece,
    Ranking,
    Reranked,
    Span,
    TokenVector,
    TokenVectors,
    Usage,
    numbers,
)


class Client:
    """Calls one cluster with one key; threads may share it.

    url is the client API ("http://127.0.0.1:8080"). timeout is in seconds between two parts of an answer. What is refused for now (429, 503) is
    tried again, retries times, after what Retry-After says. Every call raises SkeinError.
    """

    def __init__(self, url: str, key: str, *, timeout: float = 300.0, retries: int = 2, ssl_context: Optional[ssl.SSLContext] = None):
        self._transport = Transport(url, key, timeout, retries, ssl_context)

    def generate(self, model: str, prompt: Union[str, Sequence[int]], **sampling: Any) -> Iterator[Piece]:
        """Continues a text, or a sequence of token ids, piece by piece.

        sampling: temperature, top_k, top_p, seed, stop (strings), max_tokens, logprobs (bool), top_logprobs, frequency_penalty, presence_penalty,
        repetition_penalty, logit_bias ({token id: number}). What the answer must look like: json_object (True), json_schema (a dict or a text),
        regex, or choice (texts).
        """
        ask: Dict[str, Any] = {"model": model, **_asked(sampling)}
        if isinstance(prompt, str):
            ask["prompt"] = prompt
        else:
            ask["tokens"] = {"ids": list(prompt)}
        return map(Piece.of, self._transport.stream("Generate", ask))

    def chat(self, model: str, messages: Sequence[Mapping[str, str]], **sampling: Any) -> Iterator[Piece]:
        """Continues a conversation, [{"role": "user", "content": "…"}, …], piece by piece. sampling is as in generate."""
        ask = {"model": model, "messages": [dict(m) for m in messages], **_asked(sampling)}
        return map(Piece.of, self._transport.stream("Chat", ask))

    def embed(self, model: str, texts: Sequence[str], *, pooling: str = "", normalize: Optional[bool] = None) -> Embeddings:
        """A vector per text. pooling: "" = as the model declares, "cls", "mean", "last"."""
        ask: Dict[str, Any] = {"model": model, "texts": list(texts)}
        if pooling:
            ask["pooling"] = "POOLING_" + pooling.upper()
        if normalize is not None:
            ask["normalize"] = normalize
        v = self._transport.unary("Embed", ask)
        return Embeddings([numbers(x.get("values")) for x in v.get("vectors", [])], *_end(v))

    def embed_tokens(self, model: str, texts: Sequence[str]) -> TokenVectors:
        """A vector per token."""
        v = self._transport.unary("EmbedTokens", {"model": model, "texts": list(texts)})
        return TokenVectors([[TokenVector.of(t) for t in r.get("tokens", [])] for r in v.get("results", [])], *_end(v))

    def classify(self, model: str, inputs: Sequence[Union[str, Tuple[str, str]]]) -> Classified:
        """Every label's score, for each text or pair of texts."""
        asked = [{"text": i} if isinstance(i, str) else {"text": i[0], "pair": i[1]} for i in inputs]
        v = self._transport.unary("Classify", {"model": model, "inputs": asked})
        labels = [[Label(c.get("name", ""), float(c.get("score", 0))) for c in r.get("labels", [])] for r in v.get("results", [])]
        return Classified(labels, *_end(v))

    def label_tokens(self, model: str, texts: Sequence[str], *, aggregation: str = "", outside: bool = False) -> Labeled:
        """The spans that a token classifier finds. aggregation: "" = "simple", "none", "first", "average", "max"."""
        ask: Dict[str, Any] = {"model": model, "texts": list(texts), "outside": outside}
        if aggregation:
            ask["aggregation"] = "AGGREGATION_" + aggregation.upper()
        v = self._transport.unary("LabelTokens", ask)
        return Labeled([[Span.of(s) for s in r.get("spans", [])] for r in v.get("results", [])], *_end(v))

    def fill_mask(self, model: str, texts: Sequence[str], *, top: int = 0) -> Filled:
        """The most likely tokens for the masks of texts; top = 0: five."""
        v = self._transport.unary("FillMask", {"model": model, "texts": list(texts), "top": top})
        return Filled([[[Fill.of(f) for f in m.get("fills", [])] for m in r.get("masks", [])] for r in v.get("results", [])], *_end(v))

    def answer(self, model: str, question: str, context: str, *, best: int = 1, max_answer_tokens: int = 0, split_words: bool = False) -> AnsweredQuestion:
        """The parts of a context that answer a question."""
        ask = {"model": model, "question": question, "context": context, "best": best, "maxAnswerTokens": max_answer_tokens, "splitWords": split_words}
        v = self._transport.unary("Answer", ask)
        return AnsweredQuestion([FoundAnswer.of(a) for a in v.get("answers", [])], float(v.get("noAnswerScore", 0)), *_end(v))

    def rerank(self, model: str, query: str, documents: Sequence[str], *, top: int = 0, max_document_tokens: int = 0) -> Reranked:
        """How well documents fit a query, best first; top = 0: all of them."""
        ask = {"model": model, "query": query, "documents": list(documents), "top": top, "maxDocumentTokens": max_document_tokens}
        v = self._transport.unary("Rerank", ask)
        return Reranked([Ranking(r.get("index", 0), float(r.get("score", 0))) for r in v.get("results", [])], *_end(v))

    def infer(self, model: str, inputs: Sequence[Tensor], outputs: Sequence[str] = ()) -> Inferred:
        """Runs a model on tensors. outputs: names of what is wanted; none = all."""
        v = self._transport.unary("Infer", {"model": model, "inputs": [t.to_json() for t in inputs], "outputs": list(outputs)})
        return Inferred([Tensor.from_json(t) for t in v.get("outputs", [])], v.get("modelVersion", ""))

    def models(self) -> "list[Model]":
        """What can be called now."""
        return [Model.of(m) for m in self._transport.unary("ListModels", {}).get("models", [])]


_SAMPLING = {
    "temperature": "temperature",
    "top_k": "topK",
    "top_p": "topP",
    "seed": "seed",
    "stop": "stop",
    "max_tokens": "maxTokens",
    "logprobs": "logprobs",
    "top_logprobs": "topLogprobs",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "repetition_penalty": "repetitionPenalty",
    "logit_bias": "logitBias",
}

_FORMS = {"json_object": "jsonObject", "json_schema": "jsonSchema", "regex": "regex", "choice": "choice"}


def _asked(given: Mapping[str, Any]) -> Dict[str, Any]:
    """How tokens are chosen, and what the answer must look like."""
    rest, form = {}, {}
    for name, value in given.items():
        if name not in _FORMS:
            rest[name] = value
        elif value is not None:
            if name == "json_schema" and not isinstance(value, str):
                value = json.dumps(value)
            form[_FORMS[name]] = {"texts": list(value)} if name == "choice" else value
    if len(form) > 1:
        raise TypeError("an answer has one form: " + " or ".join(_FORMS))
    return {"sampling": _sampling(rest), **({"constraint": form} if form else {})}


def _sampling(given: Mapping[str, Any]) -> Dict[str, Any]:
    out = {}
    for name, value in given.items():
        if name not in _SAMPLING:
            raise TypeError(f"{name!r} says nothing about sampling: {', '.join([*_SAMPLING, *_FORMS])} do")
        if value is not None:
            out[_SAMPLING[name]] = str(value) if name == "seed" else value  # 64 bits do not fit into a number of JSON
    return out


def _end(v: Dict[str, Any]) -> Tuple[Usage, str]:
    return Usage.of(v.get("usage")), v.get("modelVersion", "")
