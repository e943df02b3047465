"""A first-in-first-out memory of frozen vectors: the queue of S-XBM."""

from __future__ import annotations

import torch
from torch import Tensor


class Queue:
    """The last `size` vectors that came in, as they were: frozen features do not drift.

    size: 5,000 is the paper's best bargain of speed and quality (SMEC, arXiv:2510.12474, S-XBM).
    Memory: size x dim x 4 bytes.
    """

    def __init__(self, size: int, dim: int, device: torch.device | str = "cpu") -> None:
        self.size = size
        self._vectors = torch.zeros(size, dim, device=device)
        self._names = torch.full((size,), -1, dtype=torch.int64, device=device)
        self._next = 0
        self._held = 0

    def __len__(self) -> int:
        return self._held

    def push(self, vectors: Tensor, names: Tensor) -> None:
        """Take in vectors (n, d), named by their rows (n,); the oldest make room."""
        vectors, names = vectors.detach()[-self.size :], names[-self.size :]
        places = (self._next + torch.arange(len(vectors), device=vectors.device)) % self.size
        self._vectors[places] = vectors
        self._names[places] = names
        self._next = (self._next + len(vectors)) % self.size
        self._held = min(self.size, self._held + len(vectors))

    def vectors(self) -> Tensor:
        """Those held (c, d), in no order."""
        return self._vectors[: self._held]

    def names(self) -> Tensor:
        """The rows they are (c,)."""
        return self._names[: self._held]
