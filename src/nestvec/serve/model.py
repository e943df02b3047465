"""The encoder of a server: texts to vectors, counted in tokens, cut to the widths asked for."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nestvec.data.encoder_api import ApiEncoder, ApiFault
from nestvec.data.model_nesting import check_cut
from nestvec.errors import UserError
from nestvec.serve.faults import Fault
from nestvec.serve.readers import Format
from nestvec.serve.upstream import apportioned, fault_of, may_be_one_text

if TYPE_CHECKING:
    from nestvec.data.encoder import Encoder, TextKind
    from nestvec.data.model_nesting import TrainedNesting

F32 = NDArray[np.float32]
Asked = tuple[str, "TextKind"]

_WARM_UP = "a text to begin with"


@dataclass(frozen=True)
class Embedded:
    """One text's whole vector (d,) float32, and how many tokens the model read of it."""

    vector: F32
    tokens: int


class Model:
    """An encoder as a server uses it.

    encoder: loaded. trained: the widths it says it was trained for, or None. any_dimensions:
    whether other widths may be asked for. note: told what an API that embeds has to say of its
    faults. name: what clients call it.
    """

    def __init__(
        self,
        encoder: Encoder,
        trained: TrainedNesting | None,
        any_dimensions: bool,
        note: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._note = note
        self.encoder = encoder
        self.trained = trained
        self._any = any_dimensions
        # a folder's path is nobody's business
        path = Path(encoder.name)
        self.name = path.name if path.is_absolute() else encoder.name
        self.dim = encoder.dim

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths that the model was trained for, rising; none where it does not say."""
        return () if self.trained is None else self.trained.widths

    def warm_up(self) -> None:
        """Encode once, so that the first client does not wait for what is made on first use."""
        self.encoder.encode([_WARM_UP], "document")

    def work(self, asked: list[Asked]) -> Sequence[Embedded | Exception]:
        """The vectors of texts of both kinds, in their order; an error where one has none."""
        found: list[Embedded | Exception | None] = [None] * len(asked)
        for kind in ("query", "document"):
            places = [at for at, (_, own) in enumerate(asked) if own == kind]
            results = self._encoded([asked[at][0] for at in places], kind)
            for at, result in zip(places, results, strict=True):
                found[at] = result
        return [each for each in found if each is not None]

    def _encoded(self, texts: list[str], kind: TextKind) -> Sequence[Embedded | Exception]:
        if not texts:
            return []
        try:
            vectors, counts = self._counted(texts, kind)
        except ApiFault as error:
            if len(texts) == 1 or not may_be_one_text(error):
                self._note(str(error))
                return [fault_of(error) for _ in texts]
        except UserError as error:
            if len(texts) == 1:
                return [error]
        else:
            return [Embedded(v, n) for v, n in zip(vectors, counts, strict=True)]
        # one text's fault is not its neighbours'
        return [result for text in texts for result in self._encoded([text], kind)]

    def _counted(self, texts: list[str], kind: TextKind) -> tuple[F32, list[int]]:
        """Vectors, and tokens of every text: as an API says, shared among them by their lengths."""
        if isinstance(self.encoder, ApiEncoder):
            found, told = self.encoder.encode_counted(texts, kind)
            return found, apportioned(told or 0, texts)
        vectors = self.encoder.encode(texts, kind)
        count = getattr(self.encoder, "count_tokens", None)
        return vectors, [0] * len(texts) if count is None else count(texts, kind)

    def check_name(self, name: str | None) -> None:
        """Raise Fault (404) unless the name is the served model's."""
        if name in (None, self.name, self.encoder.name):
            return
        raise Fault(
            404,
            f"this server has the model {self.name!r} alone; got {str(name)[:60]!r}: ask for that.",
            param="model",
            code="model_not_found",
        )

    def check_width(self, dims: int | None) -> str:
        """A warning about a width, "" where there is none.

        Raises Fault (400) where it is wider than the model's, or narrower or wider than those that
        the model was trained for and others are not allowed.
        """
        if dims is None or dims == self.dim:
            return ""
        if dims > self.dim:
            raise Fault(
                400,
                f"the model gives {self.dim} dimensions at most; got {dims}: ask for fewer.",
                param="dimensions",
            )
        try:
            notes = check_cut(
                self.trained,
                dims=dims,
                force=self._any,
                remedy="--any-dimensions to nestvec serve",
            )
        except UserError as error:
            raise Fault(400, str(error), param="dimensions") from None
        return " ".join(notes)

    def cut(self, vectors: F32, dims: int | None) -> F32:
        """The first dims coordinates of whole vectors (n, d), of length 1 again under cosine."""
        if dims is None or dims == self.dim:
            return vectors
        short = np.ascontiguousarray(vectors[:, :dims])
        if self.encoder.metric != "cosine":
            return short
        lengths = np.linalg.norm(short, axis=1, keepdims=True)
        return np.asarray(short / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def embeddings_answer(vectors: F32, tokens: int, encoding: Format, name: str) -> dict[str, Any]:
    """The answer of /v1/embeddings to vectors (n, d): lists, or little-endian float32 in base64."""
    data = []
    for index, vector in enumerate(vectors):
        embedding: Any = vector.tolist()
        if encoding == "base64":
            embedding = base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    return {
        "object": "list",
        "data": data,
        "model": name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
