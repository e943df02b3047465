"""What an adapter's training depends on, checked once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from nestvec.errors import UserError
from nestvec.nesting import Nesting

MOST_RATE = 1e30
"""The first steps of Adam are ten times the rate, which torch wants as a float32."""


@dataclass(frozen=True)
class Training:
    """How long and how fast.

    batch: pairs (or documents) a step. rate: of AdamW at first; it falls to 0 as a cosine does.
    epochs: passes at most. checks: held-out scores an epoch. patience: checks without a better
    score before it stops. decay: weight decay. taus: temperatures of a selection, first and last.
    device: "cpu", "cuda" or "mps".
    Raises UserError for counts below 1, and for rates and temperatures not above 0.
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

    def __post_init__(self) -> None:
        for name in ("batch", "epochs", "checks", "patience"):
            _check_least(name, getattr(self, name), 1)
        _check_least("decay", self.decay, 0)
        _check_least("seed", self.seed, 0)
        _check_positive("rate", self.rate)
        if self.rate > MOST_RATE:
            raise UserError(
                f"an adapter's rate must be at most {MOST_RATE:g}; got {self.rate:g}. Try 0.001."
            )
        for tau in self.taus:
            _check_positive("tau", tau)


@dataclass(frozen=True)
class Parts:
    """Which parts of SMEC are used; each can be left out alone.

    sequential: SMRL, stage after stage; else one map with all widths at once. selecting: ADS;
    else a stage keeps the leading coordinates. remembering: S-XBM; else L_unsup is left out.
    """

    sequential: bool = True
    selecting: bool = True
    remembering: bool = True


@dataclass(frozen=True)
class AdapterSettings:
    """What an adapter's training depends on, apart from its method.

    widths: to be good at, rising; the vectors' own is added. training: see Training. alpha:
    weight of L_unsup beside L_rank (SMEC's .1). queue: frozen vectors remembered (SMEC's 5,000).
    neighbours: k of L_topk and L_unsup. scale: of cosines in L_rank, 1 in the papers. temperature:
    of InfoNCE and of distillation. hidden: of residual maps, by default the vectors' width.
    reflections: how many. parts: of SMEC. start: of the first matrix of mrl and smec, "identity"
    or "svd"; the papers do not say. blend: draw the matrix of linear back towards SVD, block by
    block, as far as held-out examples rank better by it (see learn/adapters/blending.py).
    Raises UserError for counts below 1, a scale or a temperature not above 0, and another start.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    training: Training = field(default_factory=Training)
    alpha: float = 0.1
    queue: int = 5_000
    neighbours: int = 10
    scale: float = 20.0
    temperature: float = 0.05
    hidden: int = 0
    reflections: int = 16
    parts: Parts = field(default_factory=Parts)
    start: str = "identity"
    blend: bool = False

    def __post_init__(self) -> None:
        if self.start not in ("identity", "svd"):
            raise UserError(f"a matrix starts from identity or svd; got {self.start!r}.")
        _check_least("queue", self.queue, 1)
        _check_least("neighbours", self.neighbours, 1)
        _check_least("hidden", self.hidden, 0)
        _check_least("alpha", self.alpha, 0)
        _check_positive("scale", self.scale)
        _check_positive("temperature", self.temperature)

    def nesting(self, dim: int) -> Nesting:
        """The widths up to dim, and dim. Raises UserError for one above dim."""
        above = [width for width in self.widths if width > dim]
        if above:
            raise UserError(
                f"an adapter's widths go up to the vectors' own, {dim}; got "
                f"{', '.join(map(str, above))}. Leave them out."
            )
        return Nesting(tuple(sorted({*self.widths, dim})))


def default_widths(dim: int) -> tuple[int, ...]:
    """Powers of two from 16 up to below dim."""
    return tuple(2**n for n in range(4, dim.bit_length()) if 2**n < dim)


def check_device(name: str) -> None:
    """Raise UserError unless torch can put a number on the device of that name."""
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(
            f"a device is one that torch finds here, such as cpu; got {name!r}. Choose another."
        ) from None


def _check_least(name: str, value: float, least: int) -> None:
    if not (math.isfinite(value) and value >= least):
        raise UserError(
            f"an adapter's {name} must be at least {least}; got {value}. Give {least} or more."
        )


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise UserError(
            f"an adapter's {name} must be a number above 0; got {value}. Give such a number."
        )
