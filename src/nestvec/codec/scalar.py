"""Scalar levels: int8 with stored calibration, float16, and raw float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.kernels import add_products
from nestvec.codec.levels import F32, U8, Arrays, Fitting, products

_BLOCK = 8192
# From more queries on a matrix product, for which bytes are converted once, takes less.
_FEW_QUERIES = 32
# Half a per mille on each side is clipped: one outlier a coordinate must not widen every step.
_CLIPPED = 0.0005


def calibrate_int8(rows: F32) -> tuple[F32, F32]:
    """low (d,) and step (d,) so that low + byte * step spans each coordinate of rows (n, d).

    Clipped at the .05 and 99.95 percentiles. A constant coordinate has step 0.
    """
    low, high = np.quantile(rows, [_CLIPPED, 1 - _CLIPPED], axis=0)
    return low.astype(np.float32), ((high - low) / 255.0).astype(np.float32)


def to_int8(rows: F32, low: F32, step: F32) -> U8:
    """Bytes (n, d), each the nearest step; coordinates with step 0 give 0."""
    safe = np.where(step > 0, step, np.float32(np.inf))
    return np.clip(np.rint((rows - low) / safe), 0, 255).astype(np.uint8)


class Int8:
    """One byte for each of the leading coordinates; scores are of the decoded values.

    width: how many coordinates of dim are kept, as of vectors whose prefixes were trained; the
    others decode to 0.
    """

    kind = "int8"

    def __init__(self, dim: int, width: int | None = None) -> None:
        self.dim = dim
        self.bytes = dim if width is None else width
        self.ends = (self.bytes,)
        self.low: F32 = np.zeros(self.bytes, np.float32)
        self.step: F32 = np.zeros(self.bytes, np.float32)

    def fit(self, residuals: F32, fitting: Fitting) -> None:
        """Calibrate each coordinate."""
        self.low, self.step = calibrate_int8(residuals[:, : self.bytes])
        fitting.progress.advance(1)

    def encode(self, residuals: F32) -> U8:
        """Codes (n, width) of residuals (n, d)."""
        out = np.empty((len(residuals), self.bytes), np.uint8)
        for start in range(0, len(residuals), _BLOCK):
            block = residuals[start : start + _BLOCK, : self.bytes]
            out[start : start + _BLOCK] = to_int8(block, self.low, self.step)
        return out

    def add_decoded(self, out: F32, codes: U8, start: int, stop: int) -> None:
        """Add low + byte * step to out (n, d), in place."""
        for at in range(0, len(codes), _BLOCK):
            decoded = codes[at : at + _BLOCK] * self.step + self.low
            out[at : at + _BLOCK, : self.bytes] += decoded

    def table(self, queries: F32) -> tuple[F32, F32]:
        """Queries times step (q, width), and their products with low (q,)."""
        leading = queries[:, : self.bytes]
        return leading * self.step, leading @ self.low

    def add_sums(self, out: F32, table: tuple[F32, F32], codes: U8, start: int, stop: int) -> None:
        """Add <query, low + byte * step> to out (q, n), in place."""
        scaled, offsets = table
        if len(scaled) <= _FEW_QUERIES:
            contiguous = np.ascontiguousarray(codes)
            add_products(out, np.ascontiguousarray(scaled), offsets, contiguous)
            return
        for at in range(0, len(codes), _BLOCK):
            block = codes[at : at + _BLOCK].astype(np.float32)
            out[:, at : at + _BLOCK] += scaled @ block.T + offsets[:, None]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """low (width,) and step (width,), float32."""
        return {"low": self.low, "step": self.step}

    def to_config(self) -> dict[str, Any]:
        """Everything but the arrays."""
        return {"kind": self.kind, "dim": self.dim, "width": self.bytes}

    @classmethod
    def from_config(cls, config: dict[str, Any], arrays: Arrays) -> Int8:
        """The level that to_config and arrays describe."""
        level = cls(int(config["dim"]), int(config.get("width", config["dim"])))
        level.low = np.asarray(arrays["low"], np.float32)
        level.step = np.asarray(arrays["step"], np.float32)
        return level

    def cut(self, n_bytes: int) -> Int8:
        """The level itself: it is whole or absent."""
        return self


class Floats:
    """The coordinates themselves as little-endian float16 or float32 (raw)."""

    def __init__(self, kind: str, dim: int) -> None:
        self.kind = kind
        self.dtype = np.dtype("<f2" if kind == "float16" else "<f4")
        self.bytes = dim * self.dtype.itemsize
        self.ends = (self.bytes,)
        self.dim = dim

    def fit(self, residuals: F32, fitting: Fitting) -> None:
        """Nothing to learn."""
        fitting.progress.advance(1)

    def encode(self, residuals: F32) -> U8:
        """Codes (n, d * itemsize)."""
        return np.ascontiguousarray(residuals.astype(self.dtype)).view(np.uint8)

    def add_decoded(self, out: F32, codes: U8, start: int, stop: int) -> None:
        """Add the coordinates to out (n, d), in place."""
        for at in range(0, len(codes), _BLOCK):
            out[at : at + _BLOCK] += self._values(codes[at : at + _BLOCK])

    def table(self, queries: F32) -> F32:
        """The queries themselves (q, d)."""
        return queries

    def add_sums(self, out: F32, table: F32, codes: U8, start: int, stop: int) -> None:
        """Add the inner products to out (q, n), in place."""
        for at in range(0, len(codes), _BLOCK):
            out[:, at : at + _BLOCK] += products(table, self._values(codes[at : at + _BLOCK]))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """None."""
        return {}

    def to_config(self) -> dict[str, Any]:
        """Everything."""
        return {"kind": self.kind, "dim": self.dim}

    @classmethod
    def from_config(cls, config: dict[str, Any], arrays: Arrays) -> Floats:
        """The level that to_config describes."""
        return cls(str(config["kind"]), int(config["dim"]))

    def cut(self, n_bytes: int) -> Floats:
        """The level itself: it is whole or absent."""
        return self

    def _values(self, codes: U8) -> F32:
        return np.ascontiguousarray(codes).view(self.dtype).astype(np.float32)
