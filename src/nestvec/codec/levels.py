"""What every kind of level can do, and the settings they share when they are fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nestvec.progress import Progress

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Fitting:
    """What the fit of a level is told.

    beam: entries kept by beam encoding; weights: weights of the squared error by the number of
    bytes kept within this level, (bytes,), 0 where no cut is declared; seed: of every draw.
    """

    beam: int
    weights: tuple[float, ...]
    seed: int
    progress: Progress


class Level(Protocol):
    """One level, or one ladder of equal levels, over what the levels before it left.

    All of it happens in code space. n rows, d coordinates, b bytes, q queries.
    """

    @property
    def kind(self) -> str:
        """cb, sign, int8, float16 or raw."""

    @property
    def bytes(self) -> int:
        """Bytes of a row's code."""

    @property
    def ends(self) -> tuple[int, ...]:
        """Numbers of leading bytes, within this level, after which it may be cut."""

    def fit(self, residuals: F32, fitting: Fitting) -> None:
        """Learn from residuals (n, d)."""

    def encode(self, residuals: F32) -> U8:
        """Codes (n, bytes) of residuals (n, d)."""

    def add_decoded(self, out: F32, codes: U8, start: int, stop: int) -> None:
        """Add what bytes start to stop of codes (n, bytes) say to out (n, d), in place."""

    def table(self, queries: F32) -> Any:
        """What scoring queries (q, d) needs of them, made once."""

    def add_sums(self, out: F32, table: Any, codes: U8, start: int, stop: int) -> None:
        """Add <query, decoded bytes start to stop> to out (q, n), in place."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The fitted arrays, as they are stored and counted."""

    def to_config(self) -> dict[str, Any]:
        """JSON-able settings; with arrays() enough to build the level again."""

    def cut(self, n_bytes: int) -> Level:
        """The same level with its first n_bytes only; n_bytes is one of ends."""


Placed = tuple[int, Level]
"""A level and the byte of the code that it starts at."""


def place(levels: Sequence[Level]) -> list[Placed]:
    """Levels in a row, each with the byte it starts at."""
    starts = np.cumsum([0, *(level.bytes for level in levels)])
    return [(int(start), level) for start, level in zip(starts, levels, strict=False)]


def add_decoded(out: F32, placed: Sequence[Placed], codes: U8, start: int, stop: int) -> None:
    """Add what bytes start to stop of whole codes (n, b) say to out (n, d), in code space."""
    for begin, level in placed:
        low, high = max(start - begin, 0), min(stop - begin, level.bytes)
        if low < high:
            level.add_decoded(out, codes[:, begin : begin + level.bytes], low, high)


def products(queries: F32, rows: F32) -> F32:
    """Inner products (q, n) of queries (q, d) and rows (n, d).

    Of one query each row's is summed alike wherever it stands, which a matrix product's is not: a
    shortlist may be rescored in parts.
    """
    if len(queries) == 1:
        return np.asarray(np.einsum("nd,d->n", rows, queries[0]))[None]
    found: F32 = queries @ rows.T
    return found
