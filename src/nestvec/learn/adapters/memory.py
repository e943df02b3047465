"""A first-in-first-out memory of frozen vectors: the queue of S-XBM."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Queue(nn.Module):
    """The last `size` vectors that came in, as they were: frozen features do not drift.

    size: 5,000 is the paper's best bargain of speed and quality (SMEC, arXiv:2510.12474, S-XBM).
    A module, so that a checkpoint holds it; nothing in it is trained. Memory: size x dim x 4 bytes.
    """

    _vectors: Tensor
    _names: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("_vectors", torch.zeros(size, dim))
        self.register_buffer("_names", torch.full((size,), -1, dtype=torch.int64))
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

    def get_extra_state(self) -> dict[str, int]:
        """Where the next vector goes and how many are held, for state_dict."""
        return {"next": self._next, "held": self._held}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """As get_extra_state gave it."""
        self._next, self._held = state["next"], state["held"]
