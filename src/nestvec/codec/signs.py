"""A sign plane: one bit a coordinate of the rotated residual, and a scale a row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.levels import F32, U8, Arrays, Fitting, products
from nestvec.codec.ranges import ByteRange
from nestvec.errors import UserError

_BLOCK = 8192
_ROUNDS = 10


class SignPlane:
    """bits / 8 bytes of signs and one byte of scale a row.

    The residual less its mean is projected onto its leading `bits` principal components, rotated
    so that signs lose least, and replaced by scale * signs, the scale being the mean absolute
    coordinate, which minimizes the squared error. The rotation: Gong & Lazebnik 2011, "Iterative
    quantization". decode = mean + scale * signs @ axes.
    """

    kind = "sign"

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.bytes = bits // 8 + 1
        self.ends = (self.bytes,)
        self.axes: F32 = np.zeros((bits, 0), np.float32)
        self.mean: F32 = np.zeros(0, np.float32)
        self.scales = ByteRange(1.0, 2.0)

    def fit(self, residuals: F32, fitting: Fitting) -> None:
        """Raises UserError where there are more bits than coordinates."""
        n, d = residuals.shape
        if self.bits > d:
            raise UserError(
                f"a sign plane has at most one bit a coordinate; got {self.bits} bits for {d} "
                f"coordinates; write sign{d // 8 * 8}."
            )
        self.mean = residuals.mean(axis=0).astype(np.float16).astype(np.float32)
        centred = residuals - self.mean
        _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64) / n)
        top = np.ascontiguousarray(vectors[:, ::-1][:, : self.bits]).astype(np.float32)
        rng = np.random.default_rng(fitting.seed)
        turn, _ = np.linalg.qr(rng.standard_normal((self.bits, self.bits)))
        turn = turn.astype(np.float32)
        flat = centred @ top
        for _ in range(_ROUNDS):
            signs = np.where(flat @ turn > 0, np.float32(1), np.float32(-1))
            left, _, right = np.linalg.svd(flat.T @ signs)
            turn = (left @ right).astype(np.float32)
        self.axes = (top @ turn).T.astype(np.float16).astype(np.float32)
        self.scales = ByteRange.spanning(np.abs(centred @ self.axes.T).mean(axis=1))
        fitting.progress.advance(1)

    def encode(self, residuals: F32) -> U8:
        """Signs packed first coordinate first (high bit), then the scale's byte: (n, bytes)."""
        out = np.empty((len(residuals), self.bytes), np.uint8)
        for start in range(0, len(residuals), _BLOCK):
            flat = (residuals[start : start + _BLOCK] - self.mean) @ self.axes.T
            out[start : start + _BLOCK, :-1] = np.packbits(flat > 0, axis=1)
            out[start : start + _BLOCK, -1] = self.scales.pack(np.abs(flat).mean(axis=1))
        return out

    def add_decoded(self, out: F32, codes: U8, start: int, stop: int) -> None:
        """Add mean + scale * signs @ axes to out (n, d), in place."""
        for at in range(0, len(codes), _BLOCK):
            block = codes[at : at + _BLOCK]
            out[at : at + _BLOCK] += self._scaled_signs(block) @ self.axes + self.mean

    def table(self, queries: F32) -> tuple[F32, F32]:
        """Rotated queries (q, bits) and their products with the mean (q,)."""
        return queries @ self.axes.T, queries @ self.mean

    def planes(self, table: tuple[F32, F32], n_bits: int) -> U8:
        """Rotated queries in n_bits bits a coordinate, plane by plane: (q, n_bits, bits / 8).

        A coordinate is step * the sum over planes j of 2^j * (1/2 or -1/2), the last plane its
        sign, with steps as long as the largest coordinate needs. So a sum of signs weighted by the
        query is, but for the step, the planes' agreements with the signs, weighted by 2^j.
        Gao & Long 2024, "RaBitQ", section 3.3, with levels that have no zero and no offset.
        """
        turned = table[0]
        half = 1 << (n_bits - 1)
        largest = np.abs(turned).max(axis=1, keepdims=True)
        step = np.where(largest > 0, largest, np.float32(1)) / half
        levels = np.clip(np.floor(turned / step) + half, 0, 2 * half - 1).astype(np.uint8)
        bits = levels[:, None, :] >> np.arange(n_bits, dtype=np.uint8)[None, :, None] & 1
        packed: U8 = np.packbits(bits, axis=2)
        return packed

    def add_sums(self, out: F32, table: tuple[F32, F32], codes: U8, start: int, stop: int) -> None:
        """Add <query, mean + scale * signs> to out (q, n), in place: float query, sign rows."""
        turned, offsets = table
        for at in range(0, len(codes), _BLOCK):
            signs = self._scaled_signs(codes[at : at + _BLOCK])
            out[:, at : at + _BLOCK] += products(turned, signs) + offsets[:, None]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """axes (bits, d) and mean (d,), both float16."""
        return {"axes": self.axes.astype(np.float16), "mean": self.mean.astype(np.float16)}

    def to_config(self) -> dict[str, Any]:
        """Everything but the arrays."""
        return {"kind": self.kind, "bits": self.bits, "scales": self.scales.to_config()}

    @classmethod
    def from_config(cls, config: dict[str, Any], arrays: Arrays) -> SignPlane:
        """The plane that to_config and arrays describe."""
        plane = cls(int(config["bits"]))
        plane.scales = ByteRange.from_config(config["scales"])
        plane.axes = np.asarray(arrays["axes"], np.float32)
        plane.mean = np.asarray(arrays["mean"], np.float32)
        return plane

    def cut(self, n_bytes: int) -> SignPlane:
        """The plane itself: it is whole or absent."""
        return self

    def _scaled_signs(self, codes: U8) -> F32:
        signs = np.unpackbits(codes[:, :-1], axis=1).astype(np.float32) * 2 - 1
        scaled: F32 = signs * self.scales.unpack(codes[:, -1])[:, None]
        return scaled
