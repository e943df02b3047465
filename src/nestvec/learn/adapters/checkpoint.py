"""Where a training of an adapter stands, and the file it goes on from after an interruption."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nestvec.errors import UserError


@dataclass
class History:
    """One entry a check: passes done, mean loss since the last, held-out score.

    The first is the start, before any step; its loss is None.
    """

    epochs: list[float] = field(default_factory=list)
    losses: list[float | None] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    @property
    def best(self) -> int:
        """The entry of the highest score, the first of equals."""
        return max(range(len(self.scores)), key=lambda i: (self.scores[i], -i))


_DAMAGED = (
    *(RuntimeError, KeyError, TypeError, ValueError, AttributeError, IndexError),
    *(EOFError, OSError, pickle.UnpicklingError),
)
"""What torch raises for files that are cut short or hold something else."""


class State:
    """Where a training stands, written at every check, and gone on from where it was."""

    def __init__(
        self,
        modules: Sequence[nn.Module],
        optimizer: Any,
        rates: Any,
        checkpoint: Path | None,
        whose: str,
    ) -> None:
        """modules: the trained one, then those of the objective."""
        self.modules, self.optimizer, self.rates = modules, optimizer, rates
        self.place, self.whose = checkpoint, whose
        self.step = 0
        self.history = History()
        self.best = copy.deepcopy(modules[0].state_dict())
        self.resumed = checkpoint is not None and checkpoint.exists()
        if checkpoint is not None and self.resumed:
            try:
                # on the CPU: what is loaded goes to where the weights are
                found = torch.load(checkpoint, map_location="cpu", weights_only=True)
                ours = found["whose"] == whose
                if ours:
                    self._load(found)
            except _DAMAGED as error:
                said = " ".join(str(error).split())[:200]
                raise UserError(
                    f"a training goes on from a whole checkpoint; {checkpoint} is damaged or of "
                    f"other weights ({said}). Remove the folder {checkpoint.parent}."
                ) from None
            if not ours:
                raise UserError(
                    f"a training goes on from its own checkpoint; {checkpoint} is of another "
                    "method, other settings or other examples. Remove the folder "
                    f"{checkpoint.parent}."
                )

    def _load(self, found: Mapping[str, Any]) -> None:
        for module, state in zip(self.modules, found["modules"], strict=True):
            module.load_state_dict(state)
        self.optimizer.load_state_dict(found["optimizer"])
        self.rates.load_state_dict(found["rates"])
        self.step, self.best = int(found["step"]), found["best"]
        self.history = History(**found["history"])

    @property
    def since_best(self) -> int:
        """Checks since the best score."""
        return len(self.history.scores) - 1 - self.history.best

    def check(self, epochs: float, loss: float | None, score: float) -> None:
        """Take a score down; keep the weights where it is the best."""
        self.history.epochs.append(epochs)
        self.history.losses.append(loss)
        self.history.scores.append(score)
        if self.since_best == 0:
            self.best = copy.deepcopy(self.modules[0].state_dict())
        if self.place is None:
            return
        partial = self.place.with_suffix(".partial")
        torch.save(
            {
                "whose": self.whose,
                "modules": [module.state_dict() for module in self.modules],
                "optimizer": self.optimizer.state_dict(),
                "rates": self.rates.state_dict(),
                "step": self.step,
                "best": self.best,
                "history": vars(self.history),
            },
            partial,
        )
        partial.replace(self.place)

    def restore_best(self) -> None:
        """The weights of the best score, ready for use."""
        self.modules[0].load_state_dict(self.best)
        self.modules[0].eval()
