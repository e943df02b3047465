"""Gradient caching: a loss over any number of rows, an encoder run on few at a time.

Gao et al. 2021, GradCache (arXiv:2101.06983). What is cached are embeddings, of one layer or of
many; every loss of embeddings works on top, as it is. Rows are encoded twice: once without a
graph, and once more in the backward pass, chunk by chunk, with the random state of the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Features = Mapping[str, Any]
Encode = Callable[[Features], Sequence[Tensor]]
"""Runs a model on the features of some rows: embeddings (rows, d), one tensor a layer wanted."""


def cached(encode: Encode, features: Features, mini_batch: int) -> tuple[Tensor, ...]:
    """Embeddings (n, d) of all rows, as encode would give them; gradients flow back by chunks.

    features: tensors of n rows each; what is no tensor goes to every chunk. mini_batch: rows
    encoded at a time, with a graph. Memory: the embeddings and one chunk's graph.
    Where no gradient is wanted, rows are encoded once.
    """
    chunks = list(split(features, mini_batch))
    if not torch.is_grad_enabled():
        return _joined([tuple(encode(chunk)) for chunk in chunks])
    states, made = [], []
    with torch.no_grad():
        for chunk in chunks:
            states.append(_RandomState(chunk))
            made.append(tuple(encode(chunk)))

    def replay(gradients: Sequence[Tensor]) -> None:
        start = 0
        for chunk, state, before in zip(chunks, states, made, strict=True):
            stop = start + len(before[0])
            with state.restored(), torch.enable_grad():
                again = tuple(encode(chunk))
            torch.autograd.backward(again, [gradient[start:stop] for gradient in gradients])
            start = stop

    whole = _joined(made)
    made[:] = [tuple(part[:, :0] for part in parts) for parts in made]  # only lengths are needed
    anchor = torch.zeros((), device=whole[0].device, requires_grad=True)
    outputs: tuple[Tensor, ...] = _Replay.apply(  # type: ignore[no-untyped-call]
        anchor, replay, *whole
    )
    return outputs


def split(features: Features, mini_batch: int) -> Iterator[dict[str, Any]]:
    """Features of mini_batch rows at a time."""
    rows = next(len(value) for value in features.values() if isinstance(value, Tensor))
    for start in range(0, rows, mini_batch):
        yield {
            name: value[start : start + mini_batch] if isinstance(value, Tensor) else value
            for name, value in features.items()
        }


class _Replay(torch.autograd.Function):
    """Embeddings made without a graph; their gradients are handed to a function that has one."""

    @staticmethod
    def forward(
        ctx: Any, anchor: Tensor, replay: Callable[[Sequence[Tensor]], None], *whole: Tensor
    ) -> tuple[Tensor, ...]:
        """The embeddings; anchor only makes them require gradients."""
        ctx.replay = replay
        return tuple(part.view_as(part) for part in whole)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:
        """Replays; parameters get their gradients there."""
        ctx.replay(gradients)
        return (None, None, *(None for _ in gradients))


class _RandomState:
    """The random state that a chunk was encoded with, so that dropout falls the same."""

    def __init__(self, chunk: Features) -> None:
        self.cpu = torch.get_rng_state()
        devices = {v.device for v in chunk.values() if isinstance(v, Tensor) and v.is_cuda}
        self.devices = [device.index for device in devices]
        self.cuda = [torch.cuda.get_rng_state(device) for device in self.devices]

    @contextmanager
    def restored(self) -> Iterator[None]:
        """The state as it was; the one from outside comes back afterwards."""
        with torch.random.fork_rng(devices=self.devices, enabled=True):
            torch.set_rng_state(self.cpu)
            for device, state in zip(self.devices, self.cuda, strict=True):
                torch.cuda.set_rng_state(state, device)
            yield


def _joined(parts: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(each) for each in zip(*parts, strict=True))
