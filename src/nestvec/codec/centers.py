"""Centers that rows are sorted into lists by, so that a search reads a few lists only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.codec import files
from nestvec.codec.directions import directions
from nestvec.codec.kmeans import progressive_kmeans, threads

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

ROWS_A_CENTER = 64
"""Rows a center that are enough to fit it on."""
_BLOCK = 8192


class Centers:
    """Centers (m, w) of length 1; a row belongs to the list of the nearest by angle.

    kind, amount: what rows are sorted by, "bytes" (their code cut there, decoded) or "dims" (their
    leading coordinates). Rege et al. 2023 (AdANNS, arXiv:2305.19435), section 4: lists may be
    clustered on a shorter representation than the one they are scanned by.
    """

    def __init__(self, kind: str, amount: int, centers: F32) -> None:
        self.kind = kind
        self.amount = amount
        self.centers = np.ascontiguousarray(centers, np.float32)

    @property
    def width(self) -> int:
        """Coordinates of a center."""
        return int(self.centers.shape[1])

    @classmethod
    def fit(cls, kind: str, amount: int, rows: F32, count: int, *, seed: int) -> Centers:
        """Of a sample of rows (n, w), n at least count, by k-means over their directions."""
        few = len(rows) < ROWS_A_CENTER * count
        with threads() as pool:
            found = progressive_kmeans(directions(rows), count, pool, seed=seed, short=few)
        return cls(kind, amount, directions(found))

    def assign(self, rows: F32) -> NDArray[np.int32]:
        """The list (n,) of each row (n, w); ties go to the first."""
        found = np.empty(len(rows), np.int32)
        for at in range(0, len(rows), _BLOCK):
            found[at : at + _BLOCK] = (rows[at : at + _BLOCK] @ self.centers.T).argmax(axis=1)
        return found

    def nearest(self, queries: F32, count: int) -> I64:
        """The `count` nearest lists of each query (q, w), the nearest first: (q, count)."""
        scores = queries @ self.centers.T
        order: I64 = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return order

    def size_bytes(self) -> int:
        """Bytes of the centers, which every search reads."""
        return self.centers.nbytes

    def save(self, path: files.PathLike) -> None:
        """Write the centers as one safetensors file, whole or not at all."""
        config: dict[str, Any] = {"format": files.FORMAT, "kind": self.kind, "amount": self.amount}
        files.write(path, config, {"centers": self.centers})

    @classmethod
    def load(cls, path: files.PathLike) -> Centers:
        """Read what save wrote."""
        config, arrays = files.read(path)
        return cls(config["kind"], int(config["amount"]), arrays["centers"])
