"""Client of Skein's inference API, skein.inference.v1, by Connect's protocol with JSON; the standard library is all it needs."""

from .client import Client
from .errors import Disconnected, SkeinError
from .tensors import Tensor
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
    Token,
    TokenVector,
    TokenVectors,
    Usage,
)

__all__ = [
    "AnsweredQuestion",
    "Classified",
    "Client",
    "Disconnected",
    "Embeddings",
    "Fill",
    "Filled",
    "FoundAnswer",
    "Inferred",
    "Label",
    "Labeled",
    "Model",
    "Piece",
    "Ranking",
    "Reranked",
    "SkeinError",
    "Span",
    "Tensor",
    "Token",
    "TokenVector",
    "TokenVectors",
    "Usage",
]
