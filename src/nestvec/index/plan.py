"""The plan of a search: which bytes are read of which rows, as a value one can print and test.

A plan is a chain of stages. The first reads every row, each later one only the rows that the
stage before kept::

    8B:2000,32B:200,raw:10    scan 8 code bytes of all rows, keep 2,000; and so on
    sign:2000,33B:200,raw:10  count the signs that agree with the query's own first; of a code
                              that begins with a sign plane; sign4: the query in 4 bits, not 1
    128d:200,raw:10           the same over prefixes of the stored vectors
    probe=16;8B:2000,raw:10   the first stage reads the 16 nearest lists alone
    graph=400;8B:200,raw:10   the first stage reads 400 near rows alone, to which a graph leads
    sure=3;8B:2000,raw:10     the last stage reads until no other row is likely among the best
    exact:10                  the ten best by stored vectors, of which few are read; alone

The shape is the adaptive retrieval of Kusupati et al. 2022 (arXiv:2205.13147), section 4.3,
with code bytes beside widths.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from nestvec.errors import UserError

StageKind = Literal["sign", "bytes", "dims", "raw", "exact"]

# Within a plan the kinds come in this order: each reads more of a row than the one before.
_ORDER: dict[StageKind, int] = {"sign": 0, "bytes": 1, "dims": 2, "raw": 3, "exact": 4}
_UNIT: dict[StageKind, str] = {"bytes": "B", "dims": "d"}
_STAGE = re.compile(
    r"(?:(?P<amount>[1-9][0-9]*)(?P<unit>[Bd])|sign(?P<bits>[1-8])?|(?P<whole>raw|exact))"
    r":(?P<keep>[1-9][0-9]*)"
)
_EXAMPLE = "8B:2000,32B:200,raw:10"
_EXACT_HITS = 10


@dataclass(frozen=True)
class Stage:
    """One step of a plan: read `amount` of each row, keep the best `keep`.

    kind: "sign" (the signs that the code begins with, against the query in amount bits a
    coordinate), "bytes" (amount code bytes), "dims" (amount leading coordinates of the stored
    vector, renormalized), "raw" (the whole stored vector; amount is 0) or "exact" (what raw over
    all rows finds, by bounds that rule most of them out; amount is 0).
    """

    kind: StageKind
    amount: int
    keep: int

    def __str__(self) -> str:
        return f"{self.name}:{self.keep}"

    @property
    def name(self) -> str:
        """What is read, without the count: "sign", "sign4", "8B", "128d", "raw" or "exact"."""
        if self.kind == "sign":
            return "sign" if self.amount == 1 else f"sign{self.amount}"
        unit = _UNIT.get(self.kind)
        return self.kind if unit is None else f"{self.amount}{unit}"


@dataclass(frozen=True)
class Plan:
    """A chain of stages with one text form; `str(Plan.parse(text)) == text`.

    probe: lists that the first stage reads; graph: near rows that it reads; None for all rows.
    sure: standard errors by which a row must be out of reach before the last stage leaves it
    unread (see index.stopping); None where it reads all that it is given.
    Raises UserError where stages do not read more and keep fewer from one to the next.
    """

    stages: tuple[Stage, ...]
    probe: int | None = None
    graph: int | None = None
    sure: float | None = None

    def __post_init__(self) -> None:
        if not self.stages:
            raise UserError(f"a plan needs at least one stage; got none. Try {_EXAMPLE}.")
        for stage in self.stages:
            _check_stage(stage)
        if self.probe is not None or self.graph is not None:
            _check_nearest(self)
        if self.sure is not None:
            _check_sure(self)
        for before, after in pairwise(self.stages):
            _check_alone(self, before, after)
            _check_order(self, before, after)

    @classmethod
    def parse(cls, text: str) -> Plan:
        """The plan that the text stands for.

        Raises UserError where it does not parse, or names a kind of plan not yet offered.
        """
        compact = "".join(text.split())
        if compact == "exact":
            compact = f"exact:{_EXACT_HITS}"
        _refuse_auto(compact)
        ways, compact = _ways_of(compact)
        stages = []
        for part in compact.split(","):
            match = _STAGE.fullmatch(part)
            if match is None:
                raise UserError(
                    "a plan is stages such as 8B:2000, sign:2000, 128d:200 or raw:10, joined by "
                    "commas; "
                    f"got {part!r} in {text!r}. Try {_EXAMPLE}."
                )
            keep = int(match["keep"])
            if match["whole"]:
                stages.append(Stage("raw" if match["whole"] == "raw" else "exact", 0, keep))
            elif match["unit"] is None:
                stages.append(Stage("sign", int(match["bits"] or 1), keep))
            else:
                kind: StageKind = "bytes" if match["unit"] == "B" else "dims"
                stages.append(Stage(kind, int(match["amount"]), keep))
        return cls(tuple(stages), **ways)

    def __str__(self) -> str:
        return _ways_text(self) + ",".join(str(stage) for stage in self.stages)

    @property
    def k(self) -> int:
        """How many hits the plan gives: the last stage's count."""
        return self.stages[-1].keep

    @property
    def code_bytes(self) -> int:
        """Leading bytes of the code that stages of bytes read at most."""
        return max((s.amount for s in self.stages if s.kind == "bytes"), default=0)

    @property
    def reads_codes(self) -> bool:
        """Whether any stage reads the code."""
        return any(stage.kind in ("sign", "bytes") for stage in self.stages)

    def with_k(self, k: int) -> Plan:
        """The same plan with k hits.

        Raises UserError where k is below 1 or exceeds what the stage before keeps.
        """
        if k < 1:
            raise UserError(f"the number of hits must be at least 1; got {k}.")
        if len(self.stages) > 1 and k > self.stages[-2].keep:
            before = self.stages[-2]
            raise UserError(
                f"the number of hits may not exceed what the stage before keeps; got {k} after "
                f"{before}. Ask for at most {before.keep}, or keep more in that stage."
            )
        return replace(self, stages=(*self.stages[:-1], replace(self.stages[-1], keep=k)))

    def check(
        self,
        *,
        code_bytes: int,
        level_ends: Sequence[int],
        dim: int,
        has_vectors: bool,
        sign_bytes: int = 0,
        lists: int = 0,
        has_graph: bool = False,
    ) -> None:
        """Raise UserError where a collection of these sizes cannot run the plan.

        code_bytes: bytes of the whole code; level_ends: the byte counts at which it may be cut;
        dim: coordinates of the vectors; has_vectors: whether they are stored. sign_bytes: of the
        signs that the code begins with, 0 where it begins with something else. lists: that rows
        are sorted into, 0 for none. has_graph: whether rows are linked.
        """
        if self.graph is not None and not has_graph:
            raise UserError(
                f"a plan with graph={self.graph} walks from row to row, and this collection's rows "
                "are not linked: make the links with nestvec graph."
            )
        if self.probe is not None and self.probe > lists:
            raise UserError(
                f"a plan may not probe more lists than there are; got {self.probe}, and there are "
                f"{lists:,}{': make some with nestvec lists' if not lists else ''}."
            )
        for stage in self.stages:
            if stage.kind == "bytes":
                _check_cut(stage, code_bytes, level_ends)
            elif stage.kind == "sign":
                if not sign_bytes:
                    raise UserError(
                        "a sign stage reads the signs that a code begins with, such as that of "
                        f"--spec sign256+24xcb; got {stage} for a code of other levels: write "
                        f"{level_ends[0]}B:{stage.keep}."
                    )
            elif not has_vectors:
                raise UserError(
                    f"the stage {stage} reads stored vectors, and this collection keeps only "
                    f"codes. Use a plan of B stages such as {code_bytes}B:{stage.keep}."
                )
            elif stage.amount > dim:
                raise UserError(
                    f"a stage may not read more coordinates than a vector has; got {stage} for "
                    f"{dim}. Try raw:{stage.keep}."
                )

    def rows_read(self, rows: int) -> tuple[int, ...]:
        """Rows that each stage reads in a collection of so many rows."""
        counts = [rows]
        for stage in self.stages[:-1]:
            counts.append(min(counts[-1], stage.keep))
        return tuple(counts)

    def bytes_read(
        self,
        *,
        rows: int,
        dim: int,
        metric: str,
        cuts: Sequence[int],
        vector_itemsize: int,
        vector_read: int | None = None,
        sign_bytes: int = 0,
    ) -> tuple[int, ...]:
        """Bytes that each stage reads, facts counted.

        cuts: declared cuts, whose norm is one byte (any other cut's is a float32).
        vector_itemsize: bytes of a stored coordinate. A code stage reads only the bytes beyond
        the stage before; under dot and l2 every stage reads the length (float32) too.
        vector_read: coordinates that any stage of vectors reads, None for those it ranks by.
        sign_bytes: of the signs that the code begins with; a sign stage reads nothing else.
        A first stage of prefixes that are kept apart reads float32. An exact stage reads less than
        is told here: all vectors.
        """
        length = 0 if metric == "cosine" else 4
        counts = []
        done = 0
        apart = self.probe is None and self.graph is None and keeps_prefix(self.stages[0], dim)
        for stage, scanned in zip(self.stages, self.rows_read(rows), strict=True):
            if apart and stage is self.stages[0]:
                per_row = 4 * stage.amount + length
            elif stage.kind == "sign":
                per_row = sign_bytes
            elif stage.kind == "bytes":
                per_row = stage.amount - done + (1 if stage.amount in cuts else 4) + length
                done = stage.amount
            elif stage.kind == "dims":
                per_row = (vector_read or stage.amount) * vector_itemsize + length
            else:
                per_row = (vector_read or dim) * vector_itemsize + length
            counts.append(per_row * scanned)
        return tuple(counts)


def keeps_prefix(stage: Stage, dim: int) -> bool:
    """Whether a scan of all rows by this stage reads prefixes that are kept once more for it.

    They take at most half of what vectors (n, dim) in float32 do.
    """
    return stage.kind == "dims" and 2 * stage.amount <= dim


def _check_nearest(plan: Plan) -> None:
    if plan.probe is not None and plan.graph is not None:
        raise UserError(
            f"a plan reads lists or walks a graph, not both; got {plan}: leave out one of them."
        )
    if plan.probe is not None and plan.probe < 1:
        raise UserError(f"a plan probes 1 list or more; got {plan.probe}.")
    if plan.stages[0].kind == "exact":
        raise UserError(
            f"an exact search rules rows out by bounds, not by lists or links; got {plan}: leave "
            f"out {'probe' if plan.graph is None else 'graph'}={plan.probe or plan.graph}."
        )
    if plan.graph is not None and plan.graph < plan.stages[0].keep:
        first = plan.stages[0]
        raise UserError(
            f"a walk must lead to the rows that the first stage keeps; got {plan}. Try "
            f"graph={first.keep} or more."
        )


def _check_stage(stage: Stage) -> None:
    if stage.keep < 1 or stage.amount < (0 if stage.kind in ("raw", "exact") else 1):
        raise UserError(f"a stage's counts must be at least 1; got {stage}. Try {_EXAMPLE}.")


def _check_alone(plan: Plan, before: Stage, after: Stage) -> None:
    if "exact" in (before.kind, after.kind):
        raise UserError(
            f"an exact search reads all rows' bounds and stands alone; got {plan}. Try "
            f"exact:{plan.k}, or {_EXAMPLE}."
        )


def _check_order(plan: Plan, before: Stage, after: Stage) -> None:
    rises = (_ORDER[before.kind], before.amount) < (_ORDER[after.kind], after.amount)
    if not rises:
        raise UserError(
            "each stage must read more than the one before (sign, then B stages, then d stages, "
            f"then raw, amounts rising); got {after} after {before} in {plan}. Try {_EXAMPLE}."
        )
    if after.keep > before.keep:
        raise UserError(
            f"a stage may not keep more than the one before; got {after} after {before} in "
            f"{plan}. Try {after.name}:{before.keep}."
        )


def _check_cut(stage: Stage, code_bytes: int, level_ends: Sequence[int]) -> None:
    if stage.amount > code_bytes:
        raise UserError(
            f"a plan may not ask for more bytes than the code has; got {stage} for a code of "
            f"{code_bytes}. Try {code_bytes}B:{stage.keep}."
        )
    if stage.amount in level_ends:
        return
    below = [end for end in level_ends if end < stage.amount][-1:]
    above = [end for end in level_ends if end > stage.amount][:1]
    nearest = " or ".join(f"{end}B:{stage.keep}" for end in (*below, *above))
    raise UserError(
        f"a plan may cut the code only where a level ends; got {stage}, inside a level. "
        f"Try {nearest}."
    )


def _refuse_auto(compact: str) -> None:
    if compact == "auto":
        raise UserError(
            "a plan is written as its stages; got 'auto', which names the one that nestvec plan "
            f"chose for a collection: write {_EXAMPLE}, for instance."
        )


def _check_sure(plan: Plan) -> None:
    assert plan.sure is not None
    if not 0 < plan.sure < 100:
        raise UserError(f"sure is a number of standard errors below 100; got {plan.sure:g}; try 3.")
    if len(plan.stages) < 2:
        raise UserError(
            f"a last stage may stop early where one before it put rows in order; got {plan}: "
            f"leave out sure={plan.sure:g}."
        )


def _ways_text(plan: Plan) -> str:
    """What stands before the stages: which rows are read."""
    sure = None if plan.sure is None else f"{plan.sure:g}"
    ways = (("probe", plan.probe), ("graph", plan.graph), ("sure", sure))
    said = [f"{name}={value}" for name, value in ways if value is not None]
    return ",".join(said) + ";" if said else ""


def _ways_of(compact: str) -> tuple[dict[str, Any], str]:
    """probe, graph and sure, where they are given, and the stages' text."""
    before, semicolon, stages = compact.partition(";")
    if not semicolon:
        return {}, compact
    found: dict[str, Any] = {}
    for part in before.split(","):
        match = re.fullmatch(r"(probe|graph)=([1-9][0-9]*)|(sure)=([0-9]+(?:\.[0-9]+)?)", part)
        if match is None or (match[1] or match[3]) in found:
            raise UserError(
                "before ';' a plan says how many lists it probes, how many rows a graph leads to, "
                f"or how sure the last stage must be, once each; got {part!r}. Try "
                f"probe=16;{_EXAMPLE}."
            )
        if match[1]:
            found[match[1]] = int(match[2])
        else:
            found["sure"] = float(match[4])
    return found, stages
