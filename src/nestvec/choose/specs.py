"""Which codecs suit a collection of so many rows: a short list, and `auto` by measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.evidence import Cell, Evidence
from nestvec.choose.grid import evaluate_grid
from nestvec.choose.methods import NestedMethod
from nestvec.choose.relevance import MOST_FITTING_ROWS, agreement
from nestvec.codec.spec import parse_spec
from nestvec.progress import Progress

FALLBACKS = ("int8", "float16")
"""What keeps nearly everything where no codebook does; their codecs take next to nothing."""

_TINY = 5_000
_SMALL = 20_000
_LARGE = 200_000
_BUDGETS = 16
_MOST_ROWS = 50_000


def codebook_specs(rows: int) -> tuple[str, ...]:
    """Codebook codecs worth measuring for so many rows, cheapest codec first.

    A codebook of 64 codewords takes a quarter of the room of 256 at the same code bytes and loses
    quality; codewords in 4 bits take half the room and lose .002 of nDCG@10, in 2 bits (-1, 0 or 1)
    a quarter and lose .02 of it on ACL abstracts, but nothing where a few thousand rows are coded
    by a codec fitted on themselves. What is better in all turns with the number of rows. A code
    holds all of its shorter cuts, so one spec stands for many sizes. From 5,000 rows on the small
    codebook saves a quarter of all bytes at a wish of .95 and nothing at .99 (SciFact), and its fit
    takes as long as the other one's. The list is short on
    purpose: the luckiest of many codes that are about equally good disappoints on other queries.
    """
    if rows < _TINY:
        return ("48xcb64@2", "48xcb@2")
    if rows < _SMALL:
        return ("48xcb@2",)
    if rows < _LARGE:
        return ("64xcb@4",)
    return ("48xcb",)


def candidate_power(rows: int) -> float | str:
    """The codec's spectral power for so many rows: none where they are few, else fitted.

    Its matrix is d x d, which few rows do not pay for, and it serves cuts of 4 and 8 bytes at
    the expense of longer ones, which a small collection can afford.
    """
    return 0.0 if rows < _SMALL else "auto"


def candidate_specs(rows: int, widths: tuple[int, ...] = ()) -> tuple[str, ...]:
    """Every codec that a choice for so many rows should measure.

    widths: those below the whole that the vectors' model was trained for; int8 of each is one.
    """
    return (*codebook_specs(rows), *(f"{width}xint8" for width in widths), *FALLBACKS)


def is_ladder(spec: str) -> bool:
    """Whether a code has cuts to show: codebooks or sign planes."""
    return any(term.kind in ("cb", "sign") for term in parse_spec(spec))


def nested_methods(specs: tuple[str, ...], rows: int) -> list[NestedMethod]:
    """A method for each spec, named by it, as it suits so many rows."""
    return [NestedMethod(spec, power=candidate_power(rows), name=spec) for spec in specs]


@dataclass(frozen=True)
class SpecChoice:
    """The spec that `auto` stands for, and what was measured for it.

    scores: {spec: mean share}, see area_under_totals.
    """

    spec: str
    scores: dict[str, float]
    evidence: Evidence


def choose_spec(
    documents: NDArray[Any],
    metric: str = "cosine",
    rows: int | None = None,
    seed: int = 0,
    fit_rows: int = MOST_FITTING_ROWS,
    progress: Progress | None = None,
) -> SpecChoice:
    """The codebook codec that serves a collection best, by agreement with exact search.

    documents: (n, d); of more than 50,000 a sample is measured, drawn by seed, in memory.
    rows: of the collection to be, by default n; it decides what a codec's own size costs a row.
    No labels are used: 1,000 held-out rows are the queries, R@10 of their exact ten nearest.
    """
    count = len(documents) if rows is None else rows
    specs = codebook_specs(count)
    sample = documents
    if len(documents) > _MOST_ROWS:
        drawn = np.random.default_rng(seed).choice(len(documents), _MOST_ROWS, replace=False)
        sample = np.asarray(documents[np.sort(drawn)])
    task = agreement(sample, metric, seed=seed, progress=progress)
    evidence = evaluate_grid(
        sample,
        task,
        nested_methods(specs, count),
        metric=metric,
        seed=seed,
        fit_rows=fit_rows,
        progress=progress,
    )
    scores = area_under_totals(evidence.cells, count)
    return SpecChoice(max(specs, key=lambda spec: scores[spec]), scores, evidence)


def area_under_totals(cells: tuple[Cell, ...], rows: int) -> dict[str, float]:
    """For each method, its best value within a budget of total bytes, averaged over budgets.

    Budgets run in equal ratios from the cheapest total of all cells to the dearest; a method
    without a cell within a budget counts 0 there.
    """
    totals = [cell.total_bytes(rows) for cell in cells]
    budgets = np.geomspace(min(totals), max(totals), _BUDGETS)
    # geomspace may end a hair below the dearest total
    budgets[-1] = max(totals)
    scores = {}
    for method in dict.fromkeys(cell.method for cell in cells):
        mine = [(c.total_bytes(rows), c.value) for c in cells if c.method == method]
        best = [max((v for total, v in mine if total <= b), default=0.0) for b in budgets]
        scores[method] = float(np.mean(best))
    return scores
