"""The cheapest code that keeps what is wished for, chosen on half the queries, told on the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.compare import Comparison, Split, halves, split_and_compare
from nestvec.choose.curve import shares_on_curve
from nestvec.choose.evidence import Evidence
from nestvec.choose.relevance import QueryTask
from nestvec.codec.spec import parse_spec
from nestvec.errors import UserError
from nestvec.index.plan import Plan, Stage

F64 = NDArray[np.float64]

DEFAULT_KEEP = 0.99
DEFAULT_HITS = 10
MARGIN_ERRORS = 0.5
"""Standard errors by which an option's share must exceed the wish on the choosing half.

The cheapest of many options that just pass is lucky more often than not, and does worse on other
queries; the margin shrinks as queries grow. Half an error is a bargain: a whole one mostly falls
back to int8, none misses the wish more often. studies/margin.py measures it.

The share is held to the curve through all cuts of its code, too (choose/curve.py). With 300 queries
drawn from SciFact's train and CoSQA's dev ones, two fits and 40 halvings each, the other half kept
.99 in .78 and .76 of the choices, for .71 and .72 without the curve, at a tenth more bytes.
"""


@dataclass(frozen=True)
class Wish:
    """What a choice must honour.

    keep: share of the full vectors' quality, in (0, 1]; max_bytes: bytes a vector at most, codes
    and facts together. None where there is no such wish; with neither, keep is DEFAULT_KEEP.
    """

    keep: float | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.keep is None and self.max_bytes is None:
            object.__setattr__(self, "keep", DEFAULT_KEEP)
        if self.keep is not None and not 0 < self.keep <= 1:
            raise UserError(
                f"the share to keep must be above 0 and at most 1; got {self.keep}. Try 0.99."
            )
        if self.max_bytes is not None and self.max_bytes < 1:
            raise UserError(f"the bytes a vector must be at least 1; got {self.max_bytes}. Try 48.")


@dataclass(frozen=True)
class Option:
    """One codec cut at one size, and what it would cost a collection of so many rows.

    share: of the full vectors' value, on the choosing half; error: its paired standard error.
    """

    spec: str
    method: str
    cut: int
    fact_bytes: int
    codec_bytes: int
    total_bytes: int
    share: float
    error: float

    @property
    def bytes_per_vector(self) -> int:
        """Code and facts."""
        return self.cut + self.fact_bytes

    def describe(self) -> str:
        """ "32xcb at 16 + 1 bytes"."""
        return f"{self.spec} at {self.cut} + {self.fact_bytes} bytes"


@dataclass(frozen=True)
class Choice:
    """A chosen code with its evidence.

    plan: one stage over the whole cut. option: what was chosen, met or nearest. met: whether
    it honours the wish on the choosing half. beyond: where it does not for want of max_bytes,
    the cheapest option that keeps the share. comparison: on the reporting half, its share is
    the figure to quote. by: see compare.Split. break_even_rows: rows from which codec and codes
    are smaller than float32 vectors, None where they never are. reason: one sentence.
    """

    plan: Plan
    option: Option
    wish: Wish
    met: bool
    beyond: Option | None
    comparison: Comparison
    by: str
    rows: int
    break_even_rows: int | None
    reason: str

    @property
    def spec(self) -> str:
        """The codec's spec; its code is cut at `cut`."""
        return self.option.spec

    @property
    def cut(self) -> int:
        """Code bytes kept of a vector."""
        return self.option.cut

    @property
    def queries(self) -> int:
        """Queries of the reporting half."""
        return self.comparison.value.n

    @property
    def confirmed(self) -> bool:
        """Whether the share on the reporting half is what was wished for, interval aside."""
        share = self.comparison.share
        return self.wish.keep is None or (share is not None and share.value >= self.wish.keep)

    def to_config(self) -> dict[str, Any]:
        """A JSON-able record."""
        return {
            "plan": str(self.plan),
            "option": asdict(self.option),
            "wish": asdict(self.wish),
            "met": self.met,
            "beyond": None if self.beyond is None else asdict(self.beyond),
            "comparison": self.comparison.to_config(),
            "by": self.by,
            "rows": self.rows,
            "break_even_rows": self.break_even_rows,
            "reason": self.reason,
        }

    @classmethod
    def from_config(cls, record: dict[str, Any]) -> Choice:
        """The choice that to_config describes."""
        return cls(
            plan=Plan.parse(record["plan"]),
            option=Option(**record["option"]),
            wish=Wish(**record["wish"]),
            met=record["met"],
            beyond=None if record["beyond"] is None else Option(**record["beyond"]),
            comparison=Comparison.from_config(record["comparison"]),
            by=record["by"],
            rows=record["rows"],
            break_even_rows=record["break_even_rows"],
            reason=record["reason"],
        )


def choose(
    evidence: Evidence,
    task: QueryTask,
    wish: Wish,
    *,
    specs: Mapping[str, str] | None = None,
    rows: int | None = None,
    k: int = DEFAULT_HITS,
    seed: int = 0,
    margin: float = MARGIN_ERRORS,
) -> Choice:
    """Choose the cheapest code by total bytes that honours a wish.

    evidence: with the values of single queries. specs: {method: codec spec}, the methods to
    choose among; None takes those whose names are specs. rows: of the collection to be, by
    default the documents of the evidence. k: hits of the plan.

    On the choosing half, an option keeps the wished share if its own share, and that of the curve
    through all cuts of its codec, exceed it by `margin` standard errors, and the shares of all
    larger cuts reach it too: a short cut that beats the longer ones is luck. Of these the cheapest
    is taken: rows x (code and fact bytes) and the codec. Without a share, of the options within
    max_bytes the cheapest whose loss from the best of them is within one standard error. Where
    nothing honours the wish, the nearest is taken, and met is False.
    Raises UserError where no method is a codec or the full vectors find nothing.
    """
    values, full_values = evidence.query_values()
    chosen_specs = dict(specs) if specs is not None else _spec_names(evidence)
    entries = [i for i, cell in enumerate(evidence.cells) if cell.method in chosen_specs]
    if not entries:
        raise UserError(
            f"choosing needs a codec among the methods; got {', '.join(evidence.methods)}. "
            "Evaluate one, such as 32xcb."
        )
    count = evidence.documents if rows is None else rows
    split = halves(task, seed)
    options = _options(evidence, entries, chosen_specs, count, values, full_values, split)
    met = _honouring(options, wish, margin)
    limit = [o for o in options if _fits(o, wish)]

    def select(half: F64, _: F64) -> int:
        if not met:
            return options.index(_nearest(options, limit, wish))
        if wish.keep is None:
            return _cheapest_of_best(half, options, met)
        return min(met, key=lambda i: (options[i].total_bytes, options[i].bytes_per_vector))

    picked, comparison = split_and_compare(values[entries], full_values, split, select, seed)
    beyond = None
    if not met and wish.keep is not None and wish.max_bytes is not None:
        keeping = _honouring(options, Wish(wish.keep), margin)
        beyond = min((options[i] for i in keeping), key=_total, default=None)
    option = options[picked]
    return Choice(
        plan=Plan((Stage("bytes", option.cut, k),)),
        option=option,
        wish=wish,
        met=bool(met),
        beyond=beyond,
        comparison=comparison,
        by=split.by,
        rows=count,
        break_even_rows=break_even_rows(option.bytes_per_vector, option.codec_bytes, evidence.dim),
        reason=_reason(option, wish, bool(met), beyond),
    )


def break_even_rows(bytes_per_vector: int, codec_bytes: int, dim: int) -> int | None:
    """The number of rows from which codec and codes are smaller than float32 vectors."""
    saved = 4 * dim - bytes_per_vector
    return codec_bytes // saved + 1 if saved > 0 else None


def _spec_names(evidence: Evidence) -> dict[str, str]:
    found = {}
    for method in evidence.methods:
        try:
            parse_spec(method)
        except UserError:
            continue
        found[method] = method
    return found


def _options(
    evidence: Evidence,
    entries: list[int],
    specs: Mapping[str, str],
    rows: int,
    values: F64,
    full_values: F64,
    split: Split,
) -> list[Option]:
    half = full_values[split.choosing]
    full = float(half.mean())
    if full <= 0:
        raise UserError(
            f"a share of quality needs full vectors that find something; they find nothing for "
            f"{int(split.choosing.sum())} queries. Check that queries and documents belong "
            "together."
        )
    found = []
    for i in entries:
        cell = evidence.cells[i]
        own = values[i, split.choosing]
        share = float(own.mean()) / full
        # the ratio's error by linearization (the delta method), query by query
        error = float((own - share * half).std() / (full * np.sqrt(len(half))))
        found.append(
            Option(
                specs[cell.method],
                cell.method,
                cell.bytes,
                cell.fact_bytes,
                cell.codec_bytes,
                cell.total_bytes(rows),
                share,
                error,
            )
        )
    return found


def _total(option: Option) -> tuple[int, int]:
    return option.total_bytes, option.bytes_per_vector


def _fits(option: Option, wish: Wish) -> bool:
    return wish.max_bytes is None or option.bytes_per_vector <= wish.max_bytes


def _honouring(options: list[Option], wish: Wish, margin: float) -> list[int]:
    fitting = [i for i, option in enumerate(options) if _fits(option, wish)]
    if wish.keep is None:
        return fitting
    shares = _cautious_shares(options)
    return [i for i in fitting if _keeps(i, options, shares, wish.keep, margin)]


def _keeps(i: int, options: list[Option], shares: list[float], keep: float, margin: float) -> bool:
    own = options[i]
    larger = [
        share
        for option, share in zip(options, shares, strict=True)
        if option.method == own.method and option.cut > own.cut
    ]
    return shares[i] - margin * own.error >= keep and min(larger, default=1.0) >= keep


def _cautious_shares(options: list[Option]) -> list[float]:
    """Each option's share, or that of the curve through its code's cuts where it is less."""
    shares = np.array([option.share for option in options])
    cuts = np.array([option.cut for option in options], np.float64)
    errors = np.array([option.error for option in options])
    methods = np.array([option.method for option in options])
    cautious = shares.copy()
    for method in np.unique(methods):
        own = methods == method
        curve = shares_on_curve(cuts[own], shares[own], errors[own])
        cautious[own] = np.minimum(shares[own], curve)
    return [float(share) for share in cautious]


def _nearest(options: list[Option], limit: list[Option], wish: Wish) -> Option:
    """The best share within max_bytes; where nothing is that small, the smallest."""
    if limit:
        return max(limit, key=lambda o: (o.share, -o.total_bytes))
    return min(options, key=lambda o: (o.bytes_per_vector, -o.share))


def _cheapest_of_best(half: F64, options: list[Option], among: list[int]) -> int:
    """One-standard-error rule (Breiman et al. 1984, section 3.4.3), on paired losses."""
    best = max(among, key=lambda i: float(half[i].mean()))
    losses = half[best] - half[among]
    error = losses.std(axis=1) / np.sqrt(half.shape[1])
    level = [i for i, mean, se in zip(among, losses.mean(axis=1), error, strict=True) if mean <= se]
    return min(level, key=lambda i: _total(options[i]))


def _reason(option: Option, wish: Wish, met: bool, beyond: Option | None) -> str:
    wished = []
    if wish.keep is not None:
        wished.append(f"keeps {wish.keep:g} of the full vectors' quality")
    if wish.max_bytes is not None:
        wished.append(f"takes at most {wish.max_bytes} bytes a vector")
    asked = " and ".join(wished)
    if met:
        return f"{option.describe()} is the cheapest in all that {asked}."
    sentence = f"Nothing measured {asked}; the nearest is {option.describe()}"
    sentence += f", which keeps {option.share:.3f}"
    return sentence + (f"; {beyond.describe()} would keep it." if beyond else ".")
