"""The judge: whether an adapter really helps, on held-out queries, by paired intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.evidence import Evidence, unadapted
from nestvec.errors import UserError
from nestvec.measure.intervals import Interval, better, paired_difference

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """The candidate at one size beside the best baseline there.

    size: bytes a vector (codes or float32 coordinates, without facts). difference: of the
    candidate from the baseline, paired. better, worse: what its interval proves.
    """

    size: int
    value: float
    baseline: str
    baseline_value: float
    difference: Interval
    better: bool
    worse: bool


@dataclass(frozen=True)
class Verdict:
    """What the judge says of a candidate.

    used: whether it may be used. mean: its difference from the best baselines, averaged over the
    sizes, paired. reason: one sentence.
    """

    method: str
    measure: str
    queries: int
    used: bool
    mean: Interval
    sizes: tuple[Judged, ...]
    reason: str

    def to_config(self) -> dict[str, Any]:
        """A JSON-able record."""
        return asdict(self)


def judge(
    evidence: Evidence,
    candidate: str,
    baselines: Sequence[str],
    sizes: Sequence[int] | None = None,
    seed: int = 0,
    queries: NDArray[np.bool_] | None = None,
) -> Verdict:
    """Whether a method is better than the best of the baselines at equal bytes.

    evidence: with the values of single queries, none of which the candidate was trained or tuned
    on. sizes: bytes a vector at which to judge, by default all that the candidate and a baseline
    share. queries: (q,) those to judge by, by default all.
    At every size the baseline with the best mean on these very queries stands against it, which
    favours the baselines. It is used where the paired 95 % interval of the difference, averaged
    over the sizes, lies above zero, and at no size below. A baseline that has no cell at a size is
    left out there.
    Raises UserError where they share no size.
    """
    values, _ = evidence.query_values()
    if queries is not None:
        values = values[:, queries]
    rows = {(cell.method, cell.bytes): i for i, cell in enumerate(evidence.cells)}
    mine = [size for method, size in rows if method == candidate]
    wanted = sorted(set(mine) if sizes is None else set(sizes) & set(mine))
    judged, gaps = [], []
    for size in wanted:
        rivals = [name for name in baselines if (name, size) in rows]
        if not rivals:
            continue
        best = max(rivals, key=lambda name: float(values[rows[name, size]].mean()))
        own, other = values[rows[candidate, size]], values[rows[best, size]]
        difference = paired_difference(own, other, seed)
        judged.append(
            Judged(
                size,
                float(own.mean()),
                best,
                float(other.mean()),
                difference,
                better(difference),
                difference.high < 0,
            )
        )
        gaps.append(own - other)
    if not judged:
        raise UserError(
            f"a verdict needs sizes that the candidate and a baseline share; got none for "
            f"{candidate} and {', '.join(baselines)}. Evaluate both at the same bytes."
        )
    mean = paired_difference(np.mean(gaps, axis=0), np.zeros(len(gaps[0])), seed)
    worse = [each.size for each in judged if each.worse]
    used = better(mean) and not worse
    return Verdict(
        candidate,
        evidence.measure,
        len(gaps[0]),
        used,
        mean,
        tuple(judged),
        _reason(candidate, evidence.measure, mean, worse, used, len(gaps[0])),
    )


def _reason(
    candidate: str, measure: str, mean: Interval, worse: Sequence[int], used: bool, queries: int
) -> str:
    gain = f"{mean.value:+.3f} [{mean.low:+.3f}, {mean.high:+.3f}] {measure}"
    code = unadapted(candidate)
    if code is not None:
        candidate = f"adapted {code}"
    beside = f"against the best baseline at equal bytes, on {queries:,} held-out queries"
    if used:
        return f"{candidate} helps: {gain} {beside}."
    if worse:
        where = ", ".join(map(str, worse))
        return (
            f"{candidate} is not used: it is worse at {where} bytes ({gain} on average {beside})."
        )
    return f"{candidate} is not used: no gain is proven, {gain} {beside}."
