"""Rows turned to their principal axes and rounded, block by block, with what bounds the rest.

A query's product with a unit row is at most what the blocks read so far say, plus what rounding may
hide, plus the product of both rests' lengths (Cauchy-Schwarz). Reading one block more tightens it,
so most rows need not be read whole to be ruled out. Blocks of turned floats are Panorama's
(facebookresearch/faiss#4606); here they are bytes beside the vectors, which stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

FACT_BYTES = 4
"""Bytes beside a block: its step and the length of what comes after it, both float16."""
SAMPLE_ROWS = 20_000
"""Rows that principal axes are taken of."""
_MOST = 127


def block_ends(dim: int) -> tuple[int, ...]:
    """Where blocks of coordinates end: a sixth, a third, two thirds, and all."""
    return tuple(sorted({-(-dim * part // 6) for part in (1, 2, 4, 6)}))


def principal_axes(rows: F32) -> F32:
    """Orthonormal axes (d, d) as columns, those of the largest variance about 0 first.

    rows: (n, d) unit vectors.
    """
    _, vectors = np.linalg.eigh((rows.T @ rows).astype(np.float64))
    axes: F32 = np.ascontiguousarray(vectors[:, ::-1]).astype(np.float32)
    return axes


def coded_blocks(rows: F32, axes: F32) -> list[U8]:
    """Unit rows (n, d) as one array a block: (n, width + 4), int8 coordinates and the two facts."""
    turned = rows @ axes
    ends = block_ends(len(axes))
    found = []
    for start, end in zip((0, *ends), ends, strict=False):
        part = turned[:, start:end]
        step = _up(np.abs(part).max(axis=1) / _MOST)
        rest = _up(np.sqrt(np.einsum("nd,nd->n", turned[:, end:], turned[:, end:])))
        safe = np.where(step > 0, step, np.float16(1)).astype(np.float32)
        words = np.rint(part / safe[:, None]).astype(np.int8)
        facts = np.stack([step, rest], axis=1).view(np.uint8)
        found.append(np.concatenate([words.view(np.uint8), facts], axis=1))
    return found


def block_facts(block: U8) -> F32:
    """The facts (m, 2) of a block: its steps, and the lengths of what comes after it."""
    packed = np.ascontiguousarray(block[:, -FACT_BYTES:])
    return packed.view(np.float16).astype(np.float32)


@dataclass(frozen=True)
class Bound:
    """Some products (m,), from the blocks read so far: at most dots + hidden + beyond.

    hidden: what rounding may hide in those blocks. beyond: what the coordinates after them may add.
    """

    dots: F32
    hidden: F32
    beyond: F32

    @property
    def most(self) -> F32:
        """The upper bounds."""
        return self.dots + self.hidden + self.beyond

    def of(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Bound:
        """The same of some of them."""
        return Bound(self.dots[rows], self.hidden[rows], self.beyond[rows])


def bound(block: U8, query: F32, rest: np.float32, before: Bound | None = None) -> Bound:
    """What a block (m, w + 4) adds to what those before it say.

    query: its coordinates (w,) in the block, turned as the rows are. rest: the length of the
    query's coordinates after the block.
    """
    words = block[:, :-FACT_BYTES].view(np.int8)
    facts = block_facts(block)
    dots = (words.astype(np.float32) @ query) * facts[:, 0]
    hidden = (np.float32(0.5 * len(query) ** 0.5) * np.sqrt(query @ query)) * facts[:, 0]
    if before is not None:
        dots, hidden = dots + before.dots, hidden + before.hidden
    return Bound(dots, hidden, rest * facts[:, 1])


def _up(values: F32) -> NDArray[np.float16]:
    """As float16, and never less."""
    rounded = values.astype(np.float16)
    short = rounded.astype(np.float32) < values
    return np.where(short, np.nextafter(rounded, np.float16(np.inf)), rounded).astype(np.float16)
