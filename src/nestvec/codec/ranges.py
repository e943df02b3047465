"""A positive number in one byte, on a logarithmic grid fitted to the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class ByteRange:
    """256 values from low to high in equal ratios; what lies outside is clipped.

    The relative error is at most half a step: (high / low) ** (1 / 510) - 1.
    """

    low: float
    high: float

    @classmethod
    def spanning(cls, values: NDArray[np.floating[Any]]) -> ByteRange:
        """The range of positive values (n,), 2 % wider on both sides for rows not yet seen."""
        positive = values[values > 0]
        if len(positive) == 0:
            return cls(1.0, 2.0)
        return cls(float(positive.min()) / 1.02, float(positive.max()) * 1.02)

    def pack(self, values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
        """The byte (n,) nearest to each value (n,)."""
        floor = np.maximum(values, self.low).astype(np.float64)
        steps = np.log(floor / self.low) / np.log(self.high / self.low) * 255.0
        packed: NDArray[np.uint8] = np.rint(np.clip(steps, 0, 255)).astype(np.uint8)
        return packed

    def unpack(self, packed: NDArray[np.uint8]) -> F32:
        """The value (n,) float32 of each byte (n,)."""
        grid = self.low * (self.high / self.low) ** (np.arange(256) / 255.0)
        return grid.astype(np.float32)[packed]

    def to_config(self) -> list[float]:
        """[low, high]."""
        return [self.low, self.high]

    @classmethod
    def from_config(cls, config: list[float]) -> ByteRange:
        """The range that to_config describes."""
        low, high = config
        return cls(float(low), float(high))
