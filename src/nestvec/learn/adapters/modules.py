"""Adapters under training: torch modules whose leading outputs are what the losses see."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nestvec.adapters.maps import Linear, Map, Reflections, Residual, Select
from nestvec.errors import UserError

F32 = NDArray[np.float32]


@runtime_checkable
class Trainable(Protocol):
    """A module that maps rows (n, w) to (n, w') and can be written as numpy's maps."""

    def __call__(self, rows: Tensor) -> Tensor:
        """Rows mapped."""

    def maps(self) -> tuple[Map, ...]:
        """What it is now, for numpy."""


class LinearMap(nn.Module):
    """x W without a bias; start: (w, w') float32, the weights before training.

    Started from the right singular vectors of the data it equals SVD at every width, and can only
    be kept where it does better on held-out data.
    """

    def __init__(self, start: F32) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(np.array(start, np.float32)))

    def forward(self, rows: Tensor) -> Tensor:
        """(n, w')."""
        return rows @ self.weight

    def maps(self) -> tuple[Map, ...]:
        """One matrix."""
        return (Linear(_array(self.weight)),)


class ResidualMap(nn.Module):
    """x + relu(x A + a) B + b, B and b zero at first, so that it starts as the identity.

    Search-Adaptor (arXiv:2310.08750) and Matryoshka-Adaptor (arXiv:2407.20243) learn what is added
    to the vector; they do not say how wide the hidden layer is.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(dim, hidden)
        self.second = nn.Linear(hidden, dim)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, rows: Tensor) -> Tensor:
        """(n, w)."""
        mapped: Tensor = rows + self.second(torch.relu(self.first(rows)))
        return mapped

    def maps(self) -> tuple[Map, ...]:
        """One residual layer."""
        first, second = self.first, self.second
        return (
            Residual(
                _array(first.weight.T),
                _array(first.bias),
                _array(second.weight.T),
                _array(second.bias),
            ),
        )


class ReflectionsMap(nn.Module):
    """A product of `count` Householder reflections: AdaWidth's adapter (arXiv:2608.23862).

    Orthogonal whatever is trained: inner products of whole vectors stay. Vectors start at random,
    each with a twin, so that the product is the identity at first.
    """

    def __init__(self, dim: int, count: int, seed: int = 0) -> None:
        super().__init__()
        if count < 2 or count % 2:
            raise UserError(f"reflections come in pairs; got {count}. Give an even number.")
        drawn = torch.randn(count // 2, dim, generator=torch.Generator().manual_seed(seed))
        drawn = nn.functional.normalize(drawn, dim=1)  # or steps would hardly turn them
        self.vectors = nn.Parameter(torch.cat([drawn, drawn.flip(0)]))

    def forward(self, rows: Tensor) -> Tensor:
        """(n, w), by the product's compact form I - V T V^t: two matrix products."""
        unit = nn.functional.normalize(self.vectors, dim=1)
        gram = unit @ unit.T
        # x H_1 ... H_r = x - x V T V^t, T^-1 = I / 2 + the strictly upper part of V^t V
        upper = torch.triu(gram, diagonal=1) + torch.eye(len(unit), device=gram.device) / 2
        inner = torch.linalg.solve_triangular(upper, unit, upper=True)
        mapped: Tensor = rows - (rows @ unit.T) @ inner
        return mapped

    def maps(self) -> tuple[Map, ...]:
        """The vectors."""
        return (Reflections(_array(self.vectors)),)


class Selection(nn.Module):
    """Adaptive dimension selection: which `keep` of `dim` coordinates come first (SMEC, ADS).

    Importances a are trained. In training, coordinates are ordered by a + G, G ~ Gumbel(0, 1), and
    the first `keep` carry the gradient of z = keep softmax((a + G) / tau) (straight through);
    afterwards the order is that of a alone, and fixed. temperature (tau) is set by the caller,
    who lowers it and draws the noise anew for every step. arXiv:2510.12474 gives neither tau nor
    how z reaches the kept coordinates.
    """

    def __init__(self, dim: int, keep: int, seed: int = 0) -> None:
        super().__init__()
        if not 1 <= keep <= dim:
            raise UserError(f"a selection keeps 1 to {dim} coordinates; got {keep}.")
        self.keep = keep
        self.temperature = 1.0
        # Falling a little: where nothing is learned the order stays.
        self.importance = nn.Parameter(torch.linspace(0.05, -0.05, dim))
        self._random = torch.Generator().manual_seed(seed)
        self._noise = torch.zeros(dim)
        self.draw()

    def draw(self) -> None:
        """New noise, for a step: queries and documents of one step are ordered alike."""
        uniform = torch.rand(len(self._noise), generator=self._random).clamp(1e-9, 1 - 1e-9)
        self._noise = -torch.log(-torch.log(uniform))

    def forward(self, rows: Tensor) -> Tensor:
        """The coordinates in their present order; their values are never changed."""
        if not self.training:
            return rows[:, torch.argsort(self.importance, descending=True, stable=True)]
        disturbed = self.importance + self._noise.to(rows.device)
        order = torch.argsort(disturbed, descending=True)
        soft = self.keep * torch.softmax(disturbed / self.temperature, dim=0)
        carried = 1 + (soft - soft.detach())  # exactly 1, other than 1 + soft - soft
        kept = order < 0  # a mask of the right shape
        kept[: self.keep] = True
        scale = torch.where(kept, carried[order], torch.ones_like(carried))
        return rows[:, order] * scale

    def get_extra_state(self) -> Tensor:
        """The state of the noise's generator, for state_dict: a step draws before it uses any."""
        return self._random.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """As get_extra_state gave it."""
        self._random.set_state(state.cpu())

    def order(self) -> NDArray[np.int64]:
        """Coordinates by falling importance."""
        order = torch.argsort(self.importance.detach(), descending=True, stable=True)
        return order.cpu().numpy().astype(np.int64)

    def maps(self) -> tuple[Map, ...]:
        """The order."""
        return (Select(self.order()),)


class Chain(nn.Module):
    """Modules in turn."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows through all of them."""
        for part in self.parts:
            rows = part(rows)
        return rows

    def maps(self) -> tuple[Map, ...]:
        """Those of the parts."""
        trained = [part for part in self.parts if isinstance(part, Trainable)]
        return tuple(each for part in trained for each in part.maps())


def annealed(first: float, last: float, done: float) -> float:
    """A temperature that falls in equal ratios from first to last as done goes from 0 to 1."""
    return math.exp(math.log(first) + (math.log(last) - math.log(first)) * min(max(done, 0.0), 1.0))


def _array(weights: Tensor) -> F32:
    # A copy: on the CPU numpy would look at the weights themselves, which go on changing.
    return np.array(weights.detach().cpu().float().numpy(), order="C")
