"""Training one module over frozen vectors: steps, held-out score, early stop, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from nestvec.errors import UserError
from nestvec.learn.adapters.checkpoint import History, State
from nestvec.learn.adapters.examples import Examples, batches, steps_an_epoch
from nestvec.learn.adapters.modules import Selection, annealed
from nestvec.learn.adapters.objectives import Apply, Mapped, Objective, pieces
from nestvec.learn.adapters.settings import Training as Training
from nestvec.progress import Progress, quiet

Score = Callable[[Apply], float]
"""How good an adapter is on held-out data; higher is better."""
Watch = Callable[[int, nn.Module], None]
"""Called after every step's gradients are there, before they are applied."""


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
    whose: str = "",
    progress: Progress | None = None,
) -> History:
    """Train module in place and leave it as it was at its best held-out score, the start included.

    frozen: what the vectors go through before the module, never changed. objective: a module of
    its own parameters (a predictor) is trained along. checkpoint: a file that is written at every
    check, and gone on from where it is there and was written with the same `whose`. Memory: a
    batch, the module and Adam's moments three times; documents are read as they are drawn.
    Raises UserError where losses or weights stop being numbers, and for a checkpoint of another
    training or a damaged one.
    """
    device = torch.device(training.device)
    listener = progress or quiet()
    before = frozen or _same
    module.to(device)
    extra = _modules(objective)
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

    state = State([module, *extra], optimizer, rates, checkpoint, whose)
    if not state.resumed:
        state.check(0.0, None, _scored(module, score, apply))
    drawn = batches(examples, training.batch, training.seed, device)
    for _ in range(state.step):
        next(drawn)
    listener.start("train", total)
    listener.advance(state.step)
    summed, count = 0.0, 0
    module.train()
    while state.step < total and state.since_best < training.patience:
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
        count += 1
        listener.advance(1)
        if state.step % every and state.step < total:
            continue
        scored = math.nan
        if math.isfinite(summed) and all(bool(w.isfinite().all()) for w in weights):
            scored = _scored(module, score, apply)
        if not math.isfinite(scored):
            # where the last step broke the weights, this is what the next loss would be
            lost = math.nan if math.isfinite(summed) else summed
            raise UserError(
                f"a loss must stay a number; at step {state.step} it was {lost}. Lower the "
                f"learning rate below {training.rate:g}."
            )
        state.check(state.step / epoch_steps, summed / count, scored)
        summed, count = 0.0, 0
    listener.finish()
    state.restore_best()
    return state.history


def _scored(module: nn.Module, score: Score, apply: Apply) -> float:
    """The score, NaN where mapped rows have no finite length."""

    def measurable(rows: Tensor) -> Tensor:
        mapped = apply(rows)
        if not mapped.norm(dim=1).isfinite().all():
            raise FloatingPointError
        return mapped

    module.eval()
    with torch.no_grad():
        try:
            value = score(measurable)
        except FloatingPointError:
            value = math.nan
    module.train()
    return value


def _set_step(module: nn.Module, taus: tuple[float, float], done: float) -> None:
    for part in module.modules():
        if isinstance(part, Selection):
            part.temperature = annealed(*taus, done)
            part.draw()


def _modules(objective: Objective) -> list[nn.Module]:
    """Those an objective is made of: its pieces, or what they hold, such as a queue."""
    found: list[nn.Module] = []
    for piece in pieces(objective):
        held = [piece] if isinstance(piece, nn.Module) else getattr(piece, "__dict__", {}).values()
        found += [each for each in held if isinstance(each, nn.Module)]
    return found


def _same(rows: Tensor) -> Tensor:
    return rows
