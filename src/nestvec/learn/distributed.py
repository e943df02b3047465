"""What processes that train together share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def processes() -> int:
    """How many processes train together, 1 where there is no group."""
    return distributed.get_world_size() if _grouped() else 1


def unwrapped(model: Any) -> Any:
    """The model itself, out of what makes it distributed or compiled."""
    while hasattr(model, "module") or hasattr(model, "_orig_mod"):
        model = model.module if hasattr(model, "module") else model._orig_mod
    return model


def gathered(rows: Tensor) -> Tensor:
    """This process's rows (n, d), then those of all others, with gradients to where they came from.

    With gradients averaged over processes, as they are, a mean over this process's queries then
    trains as one process would with all queries and documents in one batch.
    """
    if processes() == 1 or not torch.is_grad_enabled():
        return rows
    from torch.distributed.nn.functional import all_gather

    parts = list(all_gather(rows))  # type: ignore[no-untyped-call]
    own = parts.pop(distributed.get_rank())
    return torch.cat([own, *parts])


def average_gradients(parameters: Any) -> None:
    """Replace every gradient by its mean over the processes."""
    for parameter in parameters:
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= processes()


def _grouped() -> bool:
    return distributed.is_available() and distributed.is_initialized()
