"""Training one module over frozen vectors: steps, held-out score, early stop, checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nestvec.errors import UserError
from nestvec.learn.adapters.examples import Examples, batches, steps_an_epoch
from nestvec.learn.adapters.modules import Selection, annealed
from nestvec.learn.adapters.objectives import Apply, Mapped, Objective
from nestvec.progress import Progress, quiet

Score = Callable[[Apply], float]
"""How good an adapter is on held-out data; higher is better."""
Watch = Callable[[int, nn.Module], None]
"""Called after every step's gradients are there, before they are applied."""


@dataclass(frozen=True)
class Training:
    """How long and how fast.

    batch: pairs (or documents) a step. rate: of AdamW at first; it falls to 0 as a cosine does.
    epochs: passes at most. checks: held-out scores an epoch. patience: checks without a better
    score before it stops. decay: weight decay. device: "cpu", "cuda" or "mps".
    """

    batch: int = 256
    rate: float = 1e-3
    epochs: int = 10
    checks: int = 1
    patience: int = 3
    decay: float = 0.0
    taus: tuple[float, float] = (2.0, 0.2)
    seed: int = 0
    device: str = "cpu"


@dataclass
class History:
    """One entry a check: passes done, mean loss since the last, held-out score.

    The first is the start, before any step; its loss is NaN.
    """

    epochs: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    @property
    def best(self) -> int:
        """The entry of the highest score, the first of equals."""
        return max(range(len(self.scores)), key=lambda i: (self.scores[i], -i))


def train(
    module: nn.Module,
    objective: Objective,
    examples: Examples,
    score: Score,
    training: Training,
    *,
    frozen: Apply | None = None,
    watch: Watch | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> History:
    """Train module in place and leave it as it was at its best held-out score, the start included.

    frozen: what the vectors go through before the module, never changed. objective: a module of
    its own parameters (a predictor) is trained along. checkpoint: a file that is written at every
    check, and gone on from where it is there. Memory: a batch, the module and Adam's moments
    three times; documents are read as they are drawn.
    Raises UserError where the loss stops being a number.
    """
    device = torch.device(training.device)
    listener = progress or quiet()
    before = frozen or _same
    module.to(device)
    extra = [objective] if isinstance(objective, nn.Module) else _modules(objective)
    for each in extra:
        each.to(device)
    weights = [p for m in (module, *extra) for p in m.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=training.rate, weight_decay=training.decay)
    epoch_steps = steps_an_epoch(examples, training.batch)
    every = max(1, epoch_steps // training.checks)
    total = epoch_steps * training.epochs
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)

    def apply(rows: Tensor) -> Tensor:
        mapped: Tensor = module(before(rows))
        return mapped

    state = _State(module, optimizer, rates, checkpoint)
    if not state.resumed:
        state.check(0.0, float("nan"), _scored(module, score, apply))
    drawn = batches(examples, training.batch, training.seed, device)
    for _ in range(state.step):
        next(drawn)
    listener.start("train", total)
    listener.advance(state.step)
    summed = 0.0
    module.train()
    while state.step < total:
        batch = next(drawn)
        _set_step(module, training.taus, state.step / total)
        queries = None if batch.queries is None else apply(batch.queries)
        loss = objective(Mapped(apply(batch.documents), queries), batch, apply)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if watch is not None:
            watch(state.step, module)
        optimizer.step()
        rates.step()
        state.step += 1
        summed += float(loss.detach())
        listener.advance(1)
        if state.step % every and state.step < total:
            continue
        if summed != summed or abs(summed) == float("inf"):
            raise UserError(
                f"a loss must stay a number; at step {state.step} it was {summed}. Lower the "
                f"learning rate below {training.rate:g}."
            )
        state.check(state.step / epoch_steps, summed / every, _scored(module, score, apply))
        summed = 0.0
        if state.since_best >= training.patience:
            break
    listener.finish()
    state.restore_best()
    return state.history


class _State:
    """What a checkpoint holds."""

    def __init__(
        self, module: nn.Module, optimizer: Any, rates: Any, checkpoint: Path | None
    ) -> None:
        self.module, self.optimizer, self.rates = module, optimizer, rates
        self.place = checkpoint
        self.step = 0
        self.history = History()
        self.best = copy.deepcopy(module.state_dict())
        self.resumed = checkpoint is not None and checkpoint.exists()
        if self.resumed:
            assert checkpoint is not None
            found = torch.load(checkpoint, weights_only=True)
            module.load_state_dict(found["module"])
            optimizer.load_state_dict(found["optimizer"])
            rates.load_state_dict(found["rates"])
            self.step, self.best = int(found["step"]), found["best"]
            self.history = History(**found["history"])

    @property
    def since_best(self) -> int:
        """Checks since the best score."""
        return len(self.history.scores) - 1 - self.history.best

    def check(self, epochs: float, loss: float, score: float) -> None:
        """Take a score down; keep the weights where it is the best."""
        self.history.epochs.append(epochs)
        self.history.losses.append(loss)
        self.history.scores.append(score)
        if self.since_best == 0:
            self.best = copy.deepcopy(self.module.state_dict())
        if self.place is None:
            return
        partial = self.place.with_suffix(".partial")
        torch.save(
            {
                "module": self.module.state_dict(),
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
        self.module.load_state_dict(self.best)
        self.module.eval()


def _scored(module: nn.Module, score: Score, apply: Apply) -> float:
    module.eval()
    with torch.no_grad():
        value = score(apply)
    module.train()
    return value


def _set_step(module: nn.Module, taus: tuple[float, float], done: float) -> None:
    for part in module.modules():
        if isinstance(part, Selection):
            part.temperature = annealed(*taus, done)
            part.draw()


def _modules(objective: Objective) -> list[nn.Module]:
    parts = getattr(objective, "parts", ())
    return [part for _, part in parts if isinstance(part, nn.Module)]


def _same(rows: Tensor) -> Tensor:
    return rows
