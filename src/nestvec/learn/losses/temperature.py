"""The temperature family: TempAgg, TempAggMRL and TempSpecMRL, and schedules.

Dinu et al., ICLR 2025 (openreview szRmEM8Kx5). Embeddings are cut and brought to unit length here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nestvec.errors import UserError
from nestvec.learn.losses.contrastive import info_nce
from nestvec.learn.losses.nested import Parts, prefix_name, prefixes
from nestvec.nesting import Nesting

TEMPERATURES = (0.03, 0.06, 0.1)
"""The paper's set; TempSpecMRL gives the smallest to the narrowest width."""


def temp_agg(
    queries: Tensor, documents: Tensor, *, temperatures: Sequence[float] = TEMPERATURES
) -> Parts:
    """sum over temperatures of L_tau at full width. Shapes as info_nce has them."""
    pairs = [(queries.shape[1], 1.0, tau) for tau in _checked(temperatures)]
    return _sum(queries, documents, pairs)


def temp_agg_mrl(
    queries: Tensor,
    documents: Tensor,
    nesting: Nesting,
    *,
    temperatures: Sequence[float] = TEMPERATURES,
) -> Parts:
    """sum over widths m and temperatures of c_m L_tau(n(x[:m]))."""
    _check(queries, nesting)
    taus = _checked(temperatures)
    triples = [
        (width, weight, tau)
        for width, weight in zip(nesting.widths, nesting.weights, strict=True)
        for tau in taus
    ]
    return _sum(queries, documents, triples)


def temp_spec_mrl(
    queries: Tensor,
    documents: Tensor,
    nesting: Nesting,
    *,
    temperatures: Sequence[float] | None = None,
) -> Parts:
    """sum over widths m of c_m L_tau(m)(n(x[:m])), a temperature a width, narrowest first.

    temperatures: one a width; by default the paper's .03 .06 .1 for three widths, and for
    others as many in equal ratios from .03 to .1.
    """
    _check(queries, nesting)
    taus = _checked(temperatures or spaced_temperatures(len(nesting.widths)))
    if len(taus) != len(nesting.widths):
        raise UserError(
            f"TempSpecMRL has one temperature a width; got {len(taus)} for widths "
            f"{nesting.widths}; give {len(nesting.widths)}."
        )
    triples = list(zip(nesting.widths, nesting.weights, taus, strict=True))
    return _sum(queries, documents, triples)


def spaced_temperatures(count: int) -> tuple[float, ...]:
    """TEMPERATURES for three, else so many in equal ratios from the smallest to the largest."""
    if count == len(TEMPERATURES):
        return TEMPERATURES
    low, high = TEMPERATURES[0], TEMPERATURES[-1]
    return tuple(low * (high / low) ** (i / max(1, count - 1)) for i in range(count))


Schedule = Callable[[float], float]
"""Temperature at a share of training done, 0 to 1."""


def schedule(kind: str, first: float, last: float | None = None) -> Schedule:
    """A temperature over training: constant, linear, or cosine (half a wave) from first to last.

    Raises UserError for another kind, or where a temperature is not above 0.
    """
    end = first if last is None else last
    _checked((first, end))
    if kind == "constant":
        return lambda done: first
    if kind == "linear":
        return lambda done: first + (end - first) * _share(done)
    if kind == "cosine":
        return lambda done: end + (first - end) * (1 + math.cos(math.pi * _share(done))) / 2
    raise UserError(f"a temperature is constant, linear or cosine over training; got '{kind}'.")


def _share(done: float) -> float:
    return min(1.0, max(0.0, done))


def _checked(temperatures: Sequence[float]) -> tuple[float, ...]:
    if not temperatures:
        raise UserError("at least one temperature is needed; got none; try 0.03,0.06,0.1.")
    for tau in temperatures:
        if not 0 < tau < math.inf:
            raise UserError(f"a temperature is a number above 0; got {tau}; try 0.05.")
    return tuple(temperatures)


def _check(queries: Tensor, nesting: Nesting) -> None:
    if queries.shape[1] < nesting.widths[-1]:
        nesting.check(queries.shape[1])


def _sum(queries: Tensor, documents: Tensor, triples: list[tuple[int, float, float]]) -> Parts:
    """Sum of weight x L_temperature(first width coordinates) over (width, weight, temperature)."""
    parts: dict[str, Tensor] = {}
    total = queries.new_zeros(())
    cut: dict[int, list[Tensor]] = {}
    for width, weight, tau in triples:
        if width not in cut:
            cut[width] = prefixes((queries, documents), width, normalized=True)
        value = info_nce(*cut[width], temperature=tau)
        total = total + weight * value
        parts[prefix_name(width, tau)] = value.detach()
    return Parts(torch.as_tensor(total), parts)
