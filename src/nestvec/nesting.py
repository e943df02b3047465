"""The nesting: rising prefix widths with weights, checked once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from nestvec.errors import UserError


@dataclass(frozen=True)
class Nesting:
    """Rising prefix widths, in coordinates, each with the weight of its loss.

    widths: at least one, each >= 1, strictly rising.
    weights: one a width, finite and > 0; all 1 where none are given.
    Raises UserError where a rule is broken.
    Kusupati et al. 2022 (arXiv:2205.13147), section 3: the set M and the c_m.
    """

    widths: tuple[int, ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        widths = tuple(int(width) for width in self.widths)
        weights = tuple(float(weight) for weight in self.weights) or (1.0,) * len(widths)
        if not widths:
            raise UserError("a nesting needs at least one width; got none. Try 32,64,128.")
        rising = all(a < b for a, b in pairwise(widths))
        if widths[0] < 1 or not rising:
            suggestion = tuple(sorted({w for w in widths if w >= 1})) or (32, 64, 128)
            raise UserError(
                f"the widths of a nesting must be positive and rise; got {widths}. "
                f"Try {','.join(map(str, suggestion))}."
            )
        if len(weights) != len(widths):
            raise UserError(
                f"a nesting has one weight a width; got {len(weights)} weights for "
                f"{len(widths)} widths. Give {len(widths)}, or none for all 1."
            )
        for width, weight in zip(widths, weights, strict=True):
            if not (math.isfinite(weight) and weight > 0):
                raise UserError(
                    f"the weight of a width must be a number above 0; got {weight} for width "
                    f"{width}. Leave the width out instead of weighing it 0."
                )
        object.__setattr__(self, "widths", widths)
        object.__setattr__(self, "weights", weights)

    @classmethod
    def parse(cls, text: str) -> Nesting:
        """The nesting written as "32,64,128", or with weights as "32:2,64:1"."""
        widths: list[int] = []
        weights: list[float] = []
        for part in text.split(","):
            width, colon, weight = part.partition(":")
            try:
                widths.append(int(width))
                weights.append(float(weight) if colon else 1.0)
            except ValueError:
                raise UserError(
                    f"a nesting is written as widths, or width:weight, with commas between; got "
                    f"{part.strip()!r} in {text!r}. Try 32,64,128 or 32:2,64:1."
                ) from None
        return cls(tuple(widths), tuple(weights))

    def __str__(self) -> str:
        if all(weight == 1.0 for weight in self.weights):
            return ",".join(map(str, self.widths))
        # repr keeps every digit of a weight, so that parse(str(x)) == x
        pairs = zip(self.widths, self.weights, strict=True)
        return ",".join(f"{width}:{repr(weight).removesuffix('.0')}" for width, weight in pairs)

    def check(self, dim: int) -> None:
        """Raise UserError unless the nesting ends at the vectors' width dim."""
        if self.widths[-1] == dim:
            return
        within = tuple(width for width in self.widths if width < dim)
        raise UserError(
            f"a nesting must end at the vectors' width; got {self.widths} for width {dim}. "
            f"Try {','.join(map(str, (*within, dim)))}."
        )
