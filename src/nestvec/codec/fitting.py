"""Fitting a codec on a sample: levels in turn, then the ranges; all of it without labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.directions import directions
from nestvec.codec.exponent import fit_exponent
from nestvec.codec.files import make_level
from nestvec.codec.levels import F32, Fitting, Level
from nestvec.codec.power import SpectralMap, second_moment
from nestvec.codec.ranges import ByteRange
from nestvec.codec.spec import LevelSpec
from nestvec.errors import UserError
from nestvec.progress import Progress

# A codebook is fitted on at least so many rows a codeword, or shrinks. So few may be memorized, by
# which a codec that is fitted on the very rows it serves only gains.
_ROWS_A_CODEWORD = 4
_OTHERS = 10_000
_ROWS_FOR_POWER = 4_096


@dataclass(frozen=True)
class Settings:
    """What the fit of a codec depends on, apart from its levels."""

    beam: int
    power: float | str
    seed: int
    sample_rows: int
    declared: tuple[int, ...]


@dataclass(frozen=True)
class Fitted:
    """What a fit gives; terms are the levels asked for, with fewer codewords where rows are few."""

    terms: tuple[LevelSpec, ...]
    levels: tuple[Level, ...]
    map: SpectralMap
    cuts: tuple[int, ...]
    ranges: dict[int, ByteRange]
    rows: int


def fit_levels(
    terms: tuple[LevelSpec, ...], vectors: NDArray[Any], settings: Settings, progress: Progress
) -> Fitted:
    """Fit levels on a sample of vectors (n, d).

    Raises UserError where vectors are not 2-d, empty, or not finite or all zero in the sample.
    """
    sample = draw_sample(vectors, settings.sample_rows, settings.seed)
    terms = tuple(shrink(term, len(sample)) for term in terms)
    progress.start("fit", sum(_steps(term) for term in terms))
    spectral = _choose_map(terms, sample, settings)
    levels = _fit_in_turn(terms, spectral.forward(sample), settings, progress)
    progress.finish()
    cuts = declared_cuts(levels, settings.declared)
    ranges = _fit_ranges(levels, spectral, sample, cuts)
    return Fitted(terms, levels, spectral, cuts, ranges, len(sample))


def draw_sample(vectors: NDArray[Any], rows: int, seed: int) -> F32:
    """Directions (m, d) of at most `rows` rows of vectors (n, d), drawn by seed, in order."""
    if vectors.ndim != 2 or len(vectors) == 0 or vectors.shape[1] == 0:
        raise UserError(
            f"a codec is fitted on vectors of shape (n, d), n and d at least 1; got shape "
            f"{vectors.shape}; pass one row a vector."
        )
    if len(vectors) > rows:
        picks = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:rows])
        drawn = np.asarray(vectors[picks], np.float32)
    else:
        drawn = np.asarray(vectors, np.float32)
    fine = np.all(np.isfinite(drawn), axis=1)
    if not fine.all():
        raise UserError(
            f"vectors must be finite; got NaN or infinity in {int((~fine).sum())} of "
            f"{len(fine)} sampled rows; remove those rows."
        )
    unit = directions(drawn)
    present = np.any(unit != 0, axis=1)
    if not present.any():
        raise UserError("vectors must not all be zero; got only zeros; check what made them.")
    return unit[present]


def shrink(term: LevelSpec, rows: int) -> LevelSpec:
    """The term with fewer codewords where there are under 4 rows for each; 2 at least."""
    if term.kind != "cb":
        return term
    codewords = term.codewords
    while codewords > 2 and codewords * _ROWS_A_CODEWORD > rows:
        codewords //= 2
    if codewords == term.codewords:
        return term
    # 16 is written two a byte: stepping over it keeps a byte one codebook, as was asked for.
    if codewords == 16 and term.codewords > 16:
        codewords = 8
    return replace(term, codewords=codewords)


def declared_cuts(levels: tuple[Level, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """The wanted cuts that are ends of levels, and the end of the code."""
    ends: list[int] = []
    start = 0
    for level in levels:
        ends.extend(start + end for end in level.ends)
        start += level.bytes
    return tuple(sorted({cut for cut in wanted if cut in ends} | {start}))


def _steps(term: LevelSpec) -> int:
    return term.amount * (2 if term.codewords == 16 else 1) if term.kind == "cb" else 1


def _fit_in_turn(
    terms: tuple[LevelSpec, ...], mapped: F32, settings: Settings, progress: Progress
) -> tuple[Level, ...]:
    rest = np.array(mapped, dtype=np.float32, order="C")
    levels: list[Level] = []
    start = 0
    for i, term in enumerate(terms):
        level = make_level(term, rest.shape[1])
        inside = [cut - start for cut in settings.declared]
        weights = tuple(float(b in inside) for b in range(1, level.bytes + 1))
        level.fit(rest, Fitting(settings.beam, weights, settings.seed * 31 + i, progress))
        if i + 1 < len(terms):
            decoded = np.zeros_like(rest)
            level.add_decoded(decoded, level.encode(rest), 0, level.bytes)
            rest -= decoded
        levels.append(level)
        start += level.bytes
    return tuple(levels)


def _choose_map(terms: tuple[LevelSpec, ...], rows: F32, settings: Settings) -> SpectralMap:
    moment = second_moment(rows)
    if not isinstance(settings.power, str):
        return SpectralMap.fitted(moment, float(settings.power))
    first = terms[0]
    # Few codewords mean few rows or a wish for a small codec: the map's d x d would outweigh it.
    if first.kind != "cb" or first.codewords < 256 or len(rows) < _ROWS_FOR_POWER:
        return SpectralMap(0.0)
    exponent = fit_exponent(rows, moment, settings.seed)
    return SpectralMap.fitted(moment, exponent)


def _fit_ranges(
    levels: tuple[Level, ...], spectral: SpectralMap, rows: F32, cuts: tuple[int, ...]
) -> dict[int, ByteRange]:
    """The range of |x_n| at each declared cut, over at most 10,000 of the rows."""
    few = rows[:: max(1, len(rows) // _OTHERS)][:_OTHERS]
    rest = np.array(spectral.forward(few), dtype=np.float32, order="C")
    decoded = np.zeros_like(rest)
    ranges: dict[int, ByteRange] = {}
    start = 0
    for level in levels:
        codes = level.encode(rest)
        done = 0
        for end in level.ends:
            if start + end not in cuts:
                continue
            level.add_decoded(decoded, codes, done, end)
            done = end
            ranges[start + end] = ByteRange.spanning(
                np.linalg.norm(spectral.backward(decoded), axis=1)
            )
        level.add_decoded(decoded, codes, done, level.bytes)
        rest = spectral.forward(few) - decoded
        start += level.bytes
    return ranges
