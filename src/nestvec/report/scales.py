"""From data to pixels: a logarithmic axis of bytes, a linear axis of quality, and their ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class LogScale:
    """low..high (> 0) to start..stop, equal ratios to equal lengths."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.stop - self.start)


@dataclass(frozen=True)
class LinearScale:
    """low..high to start..stop."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)


def byte_range(values: Iterable[float]) -> tuple[float, float]:
    """The ends of the byte axis: a little beyond the smallest and largest count."""
    found = [value for value in values if value > 0]
    low, high = min(found, default=1.0), max(found, default=1024.0)
    return low / 1.12, max(high, 4 * low) * 1.12


def byte_ticks(low: float, high: float, most: int) -> list[int]:
    """At most `most` powers of two within low..high, evenly thinned."""
    powers = [2**i for i in range(0, 40) if low <= 2**i <= high]
    step = max(1, math.ceil(len(powers) / most))
    return powers[::step]


def quality_range(lows: Iterable[float], highs: Iterable[float]) -> tuple[float, float]:
    """The ends of the quality axis: from 0 where values come near it, else a round start."""
    low, high = min(lows, default=0.0), max(highs, default=1.0)
    top = high + 0.04 * max(high - low, 0.05)
    if low < 0.4 * top:
        return min(0.0, low), top
    step = quality_step(low, top, 5)
    return math.floor(low / step) * step, top


def quality_step(low: float, high: float, most: int) -> float:
    """A round step (1, 2, 2.5 or 5 times a power of ten) giving at most `most` intervals."""
    raw = max(high - low, 1e-9) / most
    power = 10.0 ** math.floor(math.log10(raw))
    return next(step * power for step in STEPS if step * power >= raw * (1 - 1e-9))


def quality_ticks(low: float, high: float, most: int) -> list[float]:
    """Round values within low..high."""
    step = quality_step(low, high, most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]
