"""The cheapest code and plan that keep what is wished, with the fitted code itself."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Unpack

from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter
from nestvec.choose.baselines import plain_baselines
from nestvec.choose.cheapest import DEFAULT_HITS, Choice, Wish
from nestvec.choose.cheapest import choose as cheapest
from nestvec.choose.compare import halves
from nestvec.choose.evidence import Evidence, adapted_name, unadapted
from nestvec.choose.grid import evaluate_grid
from nestvec.choose.judge import Verdict, judge
from nestvec.choose.methods import Method
from nestvec.choose.specs import candidate_power, candidate_specs, is_ladder
from nestvec.codec.nested import Codec
from nestvec.jobs.amounts import in_percent
from nestvec.jobs.evaluate import gathered, needed, remarks
from nestvec.jobs.evaluation import SCHEMA_VERSION, interval_json
from nestvec.jobs.keepers import Keeper
from nestvec.jobs.machine import peak_rss_mb
from nestvec.jobs.material import Material
from nestvec.jobs.questions import Questions
from nestvec.jobs.settings import ChooseOptions, ChooseSettings
from nestvec.jobs.sheets import Coded
from nestvec.progress import Progress, quiet

#: what is taken where rows are too few to measure anything: small, and near to lossless
UNMEASURED_SPEC = "int8"


@dataclass(frozen=True, eq=False)
class Picked:
    """A code, fitted and applied, with the evidence it was chosen by.

    method: its name in the evidence. kept: the share of the full vectors' quality on queries it
    was not chosen by, with its interval; None where nothing was measured. about: how it was
    chosen. codes and facts in `coded` are cut to what the plan reads.
    """

    coded: Coded
    plan: str
    code_bytes: int
    fact_bytes: int
    method: str
    evidence: Evidence | None
    kept: tuple[float, float, float] | None
    met: bool
    sentence: str
    about: str
    warnings: tuple[str, ...]
    choice: Choice | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, eq=False)
class ChooseResult:
    """The choice for a source, as values."""

    evidence: Evidence
    choice: Choice
    plan: str
    spec: str
    kept: tuple[float, float, float] | None
    met: bool
    sentence: str
    warnings: tuple[str, ...]
    seconds: float
    peak_rss_mb: float

    @property
    def total_bytes(self) -> int:
        """Bytes of all rows' codes and facts and of the codec."""
        return self.choice.option.total_bytes

    def to_json(self) -> dict[str, Any]:
        """A JSON object; cells are those of the codes that were chosen among."""
        option = self.choice.option
        full = self.evidence.full
        return {
            "items": self.evidence.documents,
            "dim": self.evidence.dim,
            "metric": self.evidence.measure,
            "similarity": self.evidence.metric,
            "full": interval_json((full.value, full.low, full.high)),
            "plan": self.plan,
            "spec": self.spec,
            "bytes_per_vector": option.bytes_per_vector,
            "code_bytes": option.cut,
            "fact_bytes": option.fact_bytes,
            "codec_bytes": option.codec_bytes,
            "total_bytes": option.total_bytes,
            "break_even_rows": self.choice.break_even_rows,
            "kept": interval_json(self.kept),
            "met": self.met,
            "reason": self.choice.reason,
            "queries": self.evidence.queries,
            "kind_of_queries": self.evidence.kind,
            "cells": [asdict(cell) for cell in self.evidence.cells],
            "warnings": list(self.warnings),
            "seconds": round(self.seconds, 3),
            "peak_rss_mb": self.peak_rss_mb,
            "schema_version": SCHEMA_VERSION,
        }


def choose(
    src: str | os.PathLike[str] | NDArray[Any] | None = None,
    *,
    progress: Progress | None = None,
    **options: Unpack[ChooseOptions],
) -> ChooseResult:
    """Say the cheapest code and plan of a source, a collection or an array (n, d) of vectors.

    options: the fields of ChooseSettings, such as keep=0.99 or max_bytes=48. Chosen on one half
    of the queries, reported on the other. Raises UserError for what cannot be used.
    """
    return choose_with(src, ChooseSettings(**options), progress)


def choose_with(
    src: str | os.PathLike[str] | NDArray[Any] | None,
    settings: ChooseSettings,
    progress: Progress | None = None,
) -> ChooseResult:
    """As choose, the options in one record."""
    begun = time.monotonic()
    listener = progress or quiet()
    with gathered(src, settings, listener) as material:
        questions = needed(material)
        keepers = _keepers(settings, material)
        evidence = _measure(material, questions, settings, keepers, listener)
        choice = _choice(evidence, questions, settings, keepers)
    share = choice.comparison.share
    return ChooseResult(
        evidence,
        choice,
        str(choice.plan),
        choice.spec,
        None if share is None else (share.value, share.low, share.high),
        choice.met,
        _sentence(choice, evidence),
        (*material.warnings, *_doubts(choice), *remarks(evidence)),
        time.monotonic() - begun,
        peak_rss_mb(),
    )


def pick(
    material: Material,
    questions: Questions,
    settings: ChooseSettings,
    progress: Progress,
    adapter: Adapter | None = None,
    forced: bool = False,
) -> Picked:
    """Choose a code by the questions, and give it fitted, with all rows' codes.

    adapter: its codes are among those chosen from where the judge, on the choosing half of the
    queries, finds that they help; with `forced` they alone are.
    """
    if len(questions.task.ids) < 2:
        return pick_unmeasured(material, settings, progress)
    plain = _keepers(settings, material)
    taken = {keeper.name for keeper in plain}
    others = [method for method in plain_baselines() if method.name not in taken]
    rows = len(material.vectors)
    specs = [keeper.spec for keeper in plain if is_ladder(keeper.spec)]
    mapped = [] if adapter is None else [Keeper(spec, rows, adapter) for spec in specs]
    evidence = _measure(material, questions, settings, [*plain, *mapped, *others], progress)
    verdict = _verdict(evidence, questions, settings, mapped, [*plain, *others])
    keepers = plain
    if verdict is not None and (verdict.used or forced):
        keepers = mapped if forced else [*plain, *mapped]
    choice = _choice(evidence, questions, settings, keepers)
    keeper = next(each for each in keepers if each.name == choice.option.method)
    coded = keeper.coded(material.vectors, choice.cut, progress)
    share = choice.comparison.share
    names = _shown_names(keepers, mapped, choice.option.method)
    return Picked(
        coded,
        str(choice.plan),
        choice.cut,
        choice.option.fact_bytes,
        names.get(choice.option.method, choice.option.method),
        _renamed(evidence, names),
        None if share is None else (share.value, share.low, share.high),
        choice.met,
        _sentence(choice, evidence),
        _about(choice, evidence),
        (*_doubts(choice), *(() if verdict is None else (verdict.reason,))),
        choice,
        verdict,
    )


def pick_unmeasured(material: Material, settings: ChooseSettings, progress: Progress) -> Picked:
    """A code for rows that are too few to measure anything: near to lossless, and said so."""
    spec = UNMEASURED_SPEC if settings.spec == "auto" else settings.spec
    power = candidate_power(len(material.vectors))
    codec = Codec(spec, metric=material.similarity, power=power, seed=settings.seed)
    codec.fit(material.vectors, progress=progress)
    codes = codec.encode(material.vectors, progress)
    facts = codec.facts(codes, material.vectors)
    rows = len(material.vectors)
    fact_bytes = 1 if codec.metric == "cosine" else 5
    sentence = (
        f"{rows:,} rows are too few to measure anything: {codec.spec} at {codec.bytes} + "
        f"{fact_bytes} bytes a vector was taken, not chosen."
    )
    return Picked(
        Coded(codec, codes, facts),
        f"{codec.bytes}B:{DEFAULT_HITS}",
        codec.bytes,
        fact_bytes,
        spec,
        None,
        None,
        False,
        sentence,
        "not chosen, for want of rows or queries",
        (sentence,),
    )


def _keepers(settings: ChooseSettings, material: Material) -> list[Keeper]:
    rows, dim = material.vectors.shape
    if settings.spec != "auto":
        return [Keeper(settings.spec, rows)]
    below = tuple(width for width in material.widths if width < dim)
    return [Keeper(spec, rows) for spec in candidate_specs(rows, below)]


def _measure(
    material: Material,
    questions: Questions,
    settings: ChooseSettings,
    methods: Sequence[Method],
    progress: Progress,
) -> Evidence:
    return evaluate_grid(
        material.vectors,
        questions.task,
        methods,
        metric=material.similarity,
        seed=settings.seed,
        progress=progress,
    )


def _choice(
    evidence: Evidence, questions: Questions, settings: ChooseSettings, keepers: Sequence[Keeper]
) -> Choice:
    return cheapest(
        evidence,
        questions.task,
        Wish(settings.keep, settings.max_bytes),
        specs={keeper.name: keeper.spec for keeper in keepers},
        seed=settings.seed,
    )


def _verdict(
    evidence: Evidence,
    questions: Questions,
    settings: ChooseSettings,
    mapped: Sequence[Keeper],
    baselines: Sequence[Method],
) -> Verdict | None:
    """The judge's word on the longest code over adapted vectors; None without an adapter."""
    if not mapped:
        return None
    choosing = halves(questions.task, settings.seed).choosing
    names = [method.name for method in baselines]
    return judge(evidence, mapped[-1].name, names, seed=settings.seed, queries=choosing)


def _shown_names(
    keepers: Sequence[Keeper], mapped: Sequence[Keeper], chosen: str
) -> dict[str, str]:
    """Which code a report calls "nested", and the same one over adapted vectors.

    It is the chosen one where that has cuts to show. keepers: those chosen among. mapped: adapted.
    """
    laddered = [keeper.spec for keeper in keepers if is_ladder(keeper.spec)]
    spec = unadapted(chosen) or chosen
    if laddered and spec not in laddered:
        spec = laddered[0]
    names = {spec: "nested"}
    for keeper in mapped:
        if keeper.spec == spec and keeper.adapter is not None:
            names[keeper.name] = adapted_name(keeper.adapter.method, "nested")
    return names


def _renamed(evidence: Evidence, names: Mapping[str, str]) -> Evidence:
    """The evidence with some methods under other names."""
    cells = tuple(
        replace(cell, method=names.get(cell.method, cell.method)) for cell in evidence.cells
    )
    return replace(evidence, cells=cells)


def _sentence(choice: Choice, evidence: Evidence) -> str:
    """What the choice keeps, on the queries it was not chosen by."""
    option = choice.option
    smaller = 4 * evidence.dim / option.bytes_per_vector
    size = f"{option.bytes_per_vector} bytes a vector"
    if unadapted(option.method) is not None:
        size += " of adapted nested code"
    share = choice.comparison.share
    if share is None:
        return f"{size}: {choice.reason}"
    kept = (
        f"{size} keep {in_percent(share.value)} of the full vectors' {evidence.measure} "
        f"({100 * share.low:.1f} to {in_percent(share.high)}, on {choice.queries:,} queries "
        f"that had no part in the choice), {smaller:.3g} times smaller."
    )
    return kept if choice.met else f"{choice.reason} {kept}"


def _about(choice: Choice, evidence: Evidence) -> str:
    shared = (
        "queries that share a relevant document stay in one half"
        if choice.by == "document"
        else "documents are too widely shared to keep the halves apart by document"
    )
    return (
        f"chosen on {evidence.queries - choice.queries:,} queries, reported on the other "
        f"{choice.queries:,}; {shared}; {choice.reason}"
    )


def _doubts(choice: Choice) -> tuple[str, ...]:
    found = []
    if not choice.met:
        found.append(choice.reason)
    share = choice.comparison.share
    keep = choice.wish.keep
    if choice.met and not choice.confirmed and share is not None and keep is not None:
        found.append(
            f"the choice kept the wish on its own half of the queries, but "
            f"{in_percent(share.value)} on the other half, short of {in_percent(keep)}."
        )
    elif choice.met and share is not None and keep is not None and share.low < keep:
        found.append(
            f"{in_percent(keep)} is not proven at {choice.queries:,} queries: the interval starts "
            f"at {in_percent(share.low)}."
        )
    return tuple(found)
