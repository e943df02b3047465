"""From raw sums to scores: the one place where a score is divided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import UserError

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """Queries made ready: norms |q| (q,), and one table a level (its own type)."""

    norms: F32
    tables: tuple[Any, ...]


def finish(metric: str, sums: F32, norms: F32, query_norms: F32, lengths: F32 | None) -> F32:
    """Scores (q, n), higher is better, of raw sums (q, n).

    norms: |x_n| (n,) or (q, n); query_norms: (q,); lengths: |x| (n,), needed
    for dot and l2. Divisions are products with reciprocals, so that compiled scans give the same
    to the bit. With c = sums / norms, which stands for <q, x> / |x|:
    cosine c / |q|; dot |x| c; l2 -(|x|^2 - 2 |x| c + |q|^2), the negated squared distance.
    Raises UserError where lengths are missing.
    """
    along = sums * reciprocals(norms)
    if metric == "cosine":
        along *= reciprocals(query_norms)[:, None]
        return along
    if lengths is None:
        raise UserError(
            f"the metric {metric} needs the lengths of the rows; got none; "
            "pass the facts that Codec.facts gives."
        )
    if metric == "dot":
        return along * lengths
    along *= -2 * lengths
    along += lengths**2
    along += (query_norms**2)[:, None]
    result: F32 = np.negative(along, out=along)
    return result


def reciprocals(norms: F32) -> F32:
    """1 / norm as float32, and 1 where there is none."""
    safe = np.where(norms > 0, norms, np.float32(1)).astype(np.float32, copy=False)
    found: F32 = np.float32(1) / safe
    return found
