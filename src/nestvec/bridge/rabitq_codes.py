"""What faiss's RaBitQ codes say: digits off their bytes, factors from scores that faiss gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.methods import Rows
from nestvec.errors import UserError

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_PROBES = 4
_SIGN_FACTORS = 12
"""Bytes between the signs and the further bits of a code of more than one bit."""
_ROUNDING = 1e-3


@dataclass(frozen=True, eq=False)
class Readings:
    """Rows by the estimates of their inner products with a query q: offset + <q, c + scale g>.

    c is the centroid, g the digits that a code holds. codes: (n, bytes) uint8, without faiss's
    factors; offsets, scales: (n,).
    """

    codes: U8
    offsets: F32
    scales: F32

    @classmethod
    def joined(cls, parts: Sequence[Readings]) -> Readings:
        """The rows of all parts, in order."""
        return cls(
            np.concatenate([part.codes for part in parts]),
            np.concatenate([part.offsets for part in parts]),
            np.concatenate([part.scales for part in parts]),
        )

    def functions(self, rows: Rows, centre: F32, bits: int) -> F32:
        """The chosen rows as (m, 1 + d), whose inner products with (1, q) are the estimates."""
        digits = digits_of(self.codes[rows], len(centre), bits)
        out = np.empty((len(digits), 1 + len(centre)), np.float32)
        out[:, 0] = self.offsets[rows]
        np.multiply(digits, self.scales[rows][:, None], out=out[:, 1:])
        out[:, 1:] += centre
        return out


def read_off(
    records: U8, centre: F32, bits: int, scores: Callable[[F32], F32], seed: int = 0
) -> Readings:
    """The readings of some rows that lie in a faiss index.

    records: (m, bytes) as the index keeps them. scores: what the index gives rows for queries,
    (p, d) to (p, m). The factors of a row follow from its scores for the origin and four drawn
    queries, so that they need not be read; the four agree with the digits, or else faiss lays its
    codes out in another way, which raises UserError.
    """
    codes = _without_factors(records, len(centre), bits)
    probes = np.random.default_rng(seed).standard_normal((_PROBES, len(centre)))
    queries = np.concatenate([np.zeros((1, len(centre))), probes]).astype(np.float32)
    found = scores(queries)
    said = found[1:] - found[0] - (queries[1:] @ centre)[:, None]
    parts = queries[1:] @ digits_of(codes, len(centre), bits).T
    scales = np.einsum("pm,pm->m", said, parts) / np.einsum("pm,pm->m", parts, parts)
    if not np.allclose(scales * parts, said, rtol=0, atol=_ROUNDING * max(1, np.abs(said).max())):
        raise UserError(
            f"RaBitQ's codes of {bits} bits read otherwise in this version of faiss than in 1.15: "
            "pip install faiss-cpu==1.15.1, or uninstall it to evaluate without faiss."
        )
    return Readings(codes, found[0], scales)


def digits_of(codes: U8, dim: int, bits: int) -> F32:
    """The digits (m, d) that codes hold, as odd multiples of a half around 0.

    codes: (m, bytes): a sign a coordinate, then bits - 1 further bits a coordinate, the lowest
    first; together they count up from the most negative digit.
    """
    signs = -(-dim // 8)
    counts = np.unpackbits(codes[:, :signs], axis=1, count=dim, bitorder="little").astype(
        np.float32
    )
    counts *= 1 << (bits - 1)
    more = np.unpackbits(codes[:, signs:], axis=1, count=dim * (bits - 1), bitorder="little")
    for bit, plane in enumerate(np.moveaxis(more.reshape(len(codes), dim, bits - 1), 2, 0)):
        counts += plane * np.float32(1 << bit)
    counts -= (1 << (bits - 1)) - 0.5
    return counts


def _without_factors(records: U8, dim: int, bits: int) -> U8:
    signs, more = -(-dim // 8), -(-dim * (bits - 1) // 8)
    start = signs + _SIGN_FACTORS
    return np.concatenate([records[:, :signs], records[:, start : start + more]], axis=1)
