"""Signs of rows and queries for engines that compare bits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.directions import directions
from nestvec.codec.nested import Codec
from nestvec.codec.signs import SignPlane

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class RowSigns:
    """What the bits of rows and queries are.

    bits: their number. axes: (bits, d) float32; bit j of a query q is whether axes[j] . q is
    positive, and None stands for the coordinates themselves. mean: (d,) float32, taken from rows'
    directions before their signs; None where rows have the signs of their code. codec: whose
    signs they are, or None.
    """

    bits: int
    axes: F32 | None
    mean: F32 | None
    codec: Codec | None = None

    @property
    def of_code(self) -> bool:
        """Whether rows have the signs that their code begins with."""
        return self.codec is not None

    @property
    def bytes(self) -> int:
        """Bytes that hold the bits."""
        return -(-self.bits // 8)

    def of_rows(self, vectors: F32) -> U8:
        """Packed signs (m, bytes) of rows (m, d) that have no code's."""
        assert self.mean is not None
        packed: U8 = np.packbits(directions(vectors) > self.mean, axis=1)
        return packed

    def of_queries(self, queries: F32) -> U8:
        """Packed signs (q, bytes) of queries (q, d), as Snapshot.map_queries gives them."""
        if self.codec is not None:
            planes = self.codec.sign_planes(self.codec.prepare(queries), 1)
            packed: U8 = planes[:, 0]
            return packed
        return np.packbits(queries > 0, axis=1)


def signs_of_code(codec: Codec) -> RowSigns:
    """The signs that a codec's codes begin with; its first level must be a sign plane."""
    plane = codec.levels[0]
    assert isinstance(plane, SignPlane)
    # a query goes through the spectral map's inverse, transposed, and then onto the axes
    axes = plane.axes if codec.map.inverse is None else plane.axes @ codec.map.inverse
    return RowSigns(plane.bits, np.ascontiguousarray(axes, np.float32), None, codec)


def coordinate_signs(vectors: Iterable[F32], dim: int) -> RowSigns:
    """A sign a coordinate of the direction, less the mean of all: rows' bits split them evenly.

    vectors: runs (m, d) of all rows. Queries keep their own signs: <q, x> = <q, mean> +
    <q, x - mean>, and the first term is the same for every row.
    """
    total = np.zeros(dim)
    count = 0
    for run in vectors:
        total += directions(run).sum(axis=0, dtype=np.float64)
        count += len(run)
    return RowSigns(dim, None, (total / max(count, 1)).astype(np.float32))
