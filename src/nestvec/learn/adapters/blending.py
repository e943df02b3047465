"""A trained matrix drawn back towards its start, as far as held-out examples rank better by it.

Steps fit the pairs that were trained on; the start knows no pairs. A mean of both weights ranks
other data better than either (WiSE-FT, arXiv:2109.01903). Here every block of columns between two
widths has its own share, since the columns that only wide vectors have are fitted most closely.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nestvec.learn.adapters.objectives import Apply
from nestvec.nesting import Nesting
from nestvec.progress import Progress, quiet

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0)


def blended(
    start: Tensor,
    trained: Tensor,
    nesting: Nesting,
    score: Callable[[Apply], float],
    progress: Progress | None = None,
) -> tuple[Tensor, list[float]]:
    """Matrix (d, d') of both, and the start's share of each block of columns, narrowest first.

    Block after block, narrowest first, takes the share of SHARES with the highest score, the least
    of equals; blocks not yet reached are as they were trained. The start is first made as long as
    the trained matrix (Frobenius), since scores know no length. score: higher is better, as
    HeldOut's; it is never lower for what is returned than for the trained matrix. Memory: four
    matrices.
    """
    listener = progress or quiet()
    longer = start * (trained.norm() / start.norm())
    weight, shares = trained.clone(), []
    best = _scored(weight, score)
    listener.start("blend", len(nesting.widths))
    for begin, end in zip((0, *nesting.widths), nesting.widths, strict=False):
        columns = slice(begin, end)
        found = 0.0
        for share in SHARES[1:]:
            tried = weight.clone()
            tried[:, columns] = torch.lerp(trained[:, columns], longer[:, columns], share)
            value = _scored(tried, score)
            if value > best:
                best, found = value, share
        weight[:, columns] = torch.lerp(trained[:, columns], longer[:, columns], found)
        shares.append(found)
        listener.advance(1)
    listener.finish()
    return weight, shares


def _scored(weight: Tensor, score: Callable[[Apply], float]) -> float:
    return score(lambda rows: rows @ weight)
