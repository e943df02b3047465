"""Maps of vectors as numpy applies them: what a trained adapter is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import UserError

F32 = NDArray[np.float32]
Arrays = Mapping[str, NDArray[Any]]


class Map(Protocol):
    """A function of vectors (n, w) with weights of its own."""

    @property
    def kind(self) -> str:
        """Its name in files."""

    def apply(self, rows: F32) -> F32:
        """Rows (n, w) mapped: (n, w')."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that it takes to make it again."""


@dataclass(frozen=True, eq=False)
class Linear:
    """x W of rows (n, w); weight (w, w') float32."""

    weight: F32
    kind: ClassVar[str] = "linear"

    def apply(self, rows: F32) -> F32:
        """(n, w')."""
        return rows @ self.weight

    def arrays(self) -> dict[str, NDArray[Any]]:
        """weight."""
        return {"weight": self.weight}


@dataclass(frozen=True, eq=False)
class Residual:
    """x + relu(x A + a) B + b of rows (n, w).

    first A (w, h), first_bias a (h,), second B (h, w), second_bias b (w,), all float32. The form
    of Search-Adaptor (arXiv:2310.08750) and Matryoshka-Adaptor (arXiv:2407.20243).
    """

    first: F32
    first_bias: F32
    second: F32
    second_bias: F32
    kind: ClassVar[str] = "residual"

    def apply(self, rows: F32) -> F32:
        """(n, w)."""
        hidden = np.maximum(rows @ self.first + self.first_bias, 0)
        mapped: F32 = rows + hidden @ self.second + self.second_bias
        return mapped

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Weights and biases."""
        return {
            "first": self.first,
            "first_bias": self.first_bias,
            "second": self.second,
            "second_bias": self.second_bias,
        }


@dataclass(frozen=True, eq=False)
class Reflections:
    """A product of Householder reflections x - 2 (x v) v, in turn.

    vectors (r, w) float32, of any length but 0. Orthogonal, so that inner products of whole
    vectors stay: AdaWidth (arXiv:2608.23862).
    """

    vectors: F32
    kind: ClassVar[str] = "reflections"

    def apply(self, rows: F32) -> F32:
        """(n, w)."""
        out = np.array(rows, np.float32)
        for vector in self.vectors:
            unit = vector / np.linalg.norm(vector)
            out -= 2 * np.outer(out @ unit, unit)
        return out

    def arrays(self) -> dict[str, NDArray[Any]]:
        """vectors."""
        return {"vectors": self.vectors}


@dataclass(frozen=True, eq=False)
class Select:
    """Coordinates in another order, perhaps not all of them: order (w',) int64.

    What the selection of SMEC (arXiv:2510.12474, ADS) is once it is trained.
    """

    order: NDArray[np.int64]
    kind: ClassVar[str] = "select"

    def apply(self, rows: F32) -> F32:
        """(n, w')."""
        return np.ascontiguousarray(rows[:, self.order])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """order."""
        return {"order": self.order}


_KINDS: dict[str, Callable[..., Map]] = {
    "linear": Linear,
    "residual": Residual,
    "reflections": Reflections,
    "select": Select,
}


def make_map(kind: str, arrays: Arrays) -> Map:
    """The map of that kind with these arrays. Raises UserError for a kind not known here."""
    if kind not in _KINDS:
        raise UserError(
            f"an adapter is made of maps of the kinds {', '.join(_KINDS)}; got {kind!r}: it was "
            "written by a newer nestvec, install that."
        )
    return _KINDS[kind](**{name: np.ascontiguousarray(array) for name, array in arrays.items()})
