"""Compiled scans that keep the best as they go: of codebooks, of signs, of vectors' prefixes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.directions import directions
from nestvec.codec.kernels import thread_count
from nestvec.codec.nested import Codec
from nestvec.codec.scores import Prepared, reciprocals
from nestvec.index import kernels, kernels_bounds, kernels_prefixes, kernels_signs, kernels_tables
from nestvec.index.bit_slices import GROUP_ROWS, Additions
from nestvec.index.kernels_look_ups import ENTRIES
from nestvec.index.kernels_shuffles import SHUFFLES
from nestvec.index.quantized_tables import by_deficits, by_fours
from nestvec.index.runs import PlaneRun, PrefixRun, SignRun
from nestvec.index.scan import Shortlist
from nestvec.index.selection import best_ranked

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]

# Under load a parallel kernel waits some 10 ms for its threads; so many look-ups, bytes of signs or
# coordinates of prefixes take one or two alone.
_FEW_LOOK_UPS = 2_000_000
_FEW_SIGN_BYTES = 32_000_000
_FEW_COORDINATES = 8_000_000
# What all lanes hold for the queries scanned together: 24 bytes an entry.
_HELD_ENTRIES = 1 << 22
# Bounds of four at once cost as much as sums of one, or as bounds of three by shuffles.
_FEWEST_BY_FOURS = {False: 2, True: 4}
# Of groups of rows one of so many is sampled, or so many times fewer that so many of the best are
# expected among them, where rows are so many.
_EVERY = 16
_SAMPLED_BEST = 8
# Neighbours are alike: so many groups tell more of all rows than a few do.
_FEWEST_GROUPS = 64
_FEWEST_SAMPLED = 1 << 14
_FEWEST_SAMPLED_PREFIXES = 1 << 18  # adding up takes longer than entering does
_NOTHING = np.empty(0, np.float32)
_ALL = np.empty(0, bool)
_METRICS = {"cosine": kernels_tables.COSINE, "dot": kernels_tables.DOT, "l2": kernels_tables.L2}


def fits(codec: Codec, cut: int) -> bool:
    """Whether scan_planes can score the first `cut` bytes: they are codebooks'."""
    first = codec.levels[0]
    return first.kind == "cb" and cut <= first.bytes


def scan_planes(
    codec: Codec, prepared: Prepared, runs: Iterable[PlaneRun], count: int, cut: int, keep: int
) -> list[Shortlist]:
    """For each query the best `keep` of all `count` rows by their first `cut` bytes, as scan.scan.

    Memory: the runs' pages, and 24 bytes an entry for twice the shortlist a query and thread,
    100 MB at most, or that of a single query.
    """
    fragments = [_rows(codec, run, cut) for run in runs]
    keep = min(keep, count)
    lanes = 1 if count * cut * len(prepared.norms) < _FEW_LOOK_UPS else thread_count()
    together = max(1, _HELD_ENTRIES // (lanes * 2 * keep))
    every = _every(count, keep)
    found: list[Shortlist] = []
    for first in range(0, len(prepared.norms), together):
        part = slice(first, first + together)
        tables = np.ascontiguousarray(prepared.tables[0][part, :cut])
        ask = partial(_asked, codec, tables, prepared.norms[part])
        scans = kernels_tables.scan_lane, kernels_tables.scan_tables
        found += _shortlists(_held(fragments, ask, len(tables), count, keep, lanes, scans, every))
    return found


def _every(count: int, keep: int) -> int:
    """Of so many groups of 256 rows one is sampled."""
    wanted, groups = keep // _SAMPLED_BEST, count // (GROUP_ROWS * _FEWEST_GROUPS)
    return _EVERY * max(1, min(wanted, groups) // _EVERY)


def _held(
    fragments: list[Any],
    ask: Callable[[slice | I64], Any],
    queries: int,
    count: int,
    keep: int,
    lanes: int,
    scans: tuple[Callable[..., None], Callable[..., None]],
    every: int,
) -> kernels.Held:
    """What lanes hold after a scan of all rows; scans: of one lane, and of all at once.

    ask: what the kernels read of some of the queries. A sample, one row in `every`, is scanned
    first, and what a row must beat from the start is taken from it, a little too low. Where it was
    too high after all, and too few rows entered, all are scanned without it for that query.
    """
    alone, together = scans

    def scan(asked: Any, held: kernels.Held, every: int) -> None:
        for rows in fragments:
            if len(held.counts) == 1:
                alone(0, 1, rows, asked, held, every)
            else:
                together(rows, asked, held, every)

    asked = ask(slice(None))
    # threads take longer to begin than one of them takes for few rows
    sampling = 1 if every and queries * count // every < _FEWEST_SAMPLED else lanes
    floors = _sampled_floors(partial(scan, asked), sampling, queries, count, keep, every)
    held = kernels.held(lanes, queries, keep)
    if floors is not None:
        held.floors[:] = floors
        held.floor_seqs[:] = np.iinfo(np.int64).max
    scan(asked, held, 0)
    lacking = np.flatnonzero(held.counts.sum(axis=0) < keep)
    if floors is not None and len(lacking):
        again = kernels.held(lanes, len(lacking), keep)
        scan(ask(lacking), again, 0)
        for name in ("scores", "sums", "seqs", "rows", "counts"):
            getattr(held, name)[:, lacking] = getattr(again, name)
    return held


def _sampled_floors(
    scan: Callable[[kernels.Held, int], None],
    lanes: int,
    queries: int,
    count: int,
    keep: int,
    every: int,
) -> F32 | None:
    """Scores (q,) that more than `keep` of all rows reach, as a sample of them has it.

    scan: of one row in `every`. None where rows are few, or what is kept of them is much, or
    every is 0.
    """
    if not every:
        return None
    expected = keep / every
    wanted = math.ceil(expected + 4 * math.sqrt(expected) + 4)
    if count < _FEWEST_SAMPLED or every * wanted > count // 4:
        return None
    held = kernels.held(lanes, queries, wanted)
    scan(held, every)
    floors = np.full(queries, -np.inf, np.float32)
    for q in range(queries):
        scores = np.concatenate([held.scores[i, q, : held.counts[i, q]] for i in range(lanes)])
        if len(scores) >= wanted:
            floors[q] = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
    return floors


def _sign_rows(run: SignRun) -> kernels_signs.SignRows:
    alive = _ALL if run.alive is None else run.alive
    return kernels_signs.SignRows(
        _frozen(run.slices), run.bits, run.start, _frozen(run.seqs), _frozen(alive)
    )


def _additions(planes: U8, some: slice | I64) -> Additions:
    asked = kernels_signs.additions(_frozen(np.ascontiguousarray(planes[some])))
    arrays: dict[str, Any] = {
        name: _frozen(each) for name, each in asked._asdict().items() if name != "depth"
    }
    return asked._replace(**arrays)


def scan_sign_spans(runs: Iterable[tuple[SignRun, I64]], planes: U8, keep: int) -> list[Shortlist]:
    """As scan_signs, but only of the rows within spans (q, m, 2) of each run, from one to another.

    Memory: 24 bytes an entry for twice the shortlist a query.
    """
    asked = _additions(planes, slice(None))
    held = kernels.held(1, len(planes), keep)
    for run, spans in runs:
        rows, some = _sign_rows(run), _frozen(np.ascontiguousarray(spans))
        if len(planes) == 1:
            kernels_signs.scan_spans_alone(rows, asked, some, held)
        else:
            kernels_signs.scan_spans(rows, asked, some, held)
    return [replace(each, sums=np.zeros_like(each.sums)) for each in _shortlists(held)]


def scan_spans(
    codec: Codec,
    prepared: Prepared,
    runs: Iterable[tuple[PlaneRun, I64]],
    cut: int,
    keep: int,
) -> list[Shortlist]:
    """As scan_planes, but only of the rows within spans (q, m, 2) of each run, from one to another.

    A run's norms are exact. Memory: 24 bytes an entry for twice the shortlist a query.
    """
    tables = np.ascontiguousarray(prepared.tables[0][:, :cut])
    asked = _asked(codec, tables, prepared.norms, slice(None), bounded=False)
    held = kernels.held(1, len(tables), keep)
    for run, spans in runs:
        rows = _rows(codec, run, cut)
        some = _frozen(np.ascontiguousarray(spans))
        if len(tables) == 1:
            kernels_tables.scan_spans_alone(rows, asked, some, held)
        else:
            kernels_tables.scan_spans(rows, asked, some, held)
    return _shortlists(held)


def _rows(codec: Codec, run: PlaneRun, cut: int) -> kernels_bounds.Rows:
    of_byte = np.zeros(256, np.float32)
    if cut in codec.cuts:
        of_byte = reciprocals(codec.unpack_norms(np.arange(256, dtype=np.uint8), cut))
    return kernels_bounds.Rows(
        _frozen(run.planes),
        run.count,
        run.start,
        _frozen(np.empty(0, np.uint8) if run.packed is None else run.packed),
        _frozen(of_byte),
        _frozen(_NOTHING if run.exact is None else reciprocals(run.exact)),
        _frozen(_NOTHING if run.lengths is None else run.lengths),
        _frozen(run.seqs),
        _frozen(_ALL if run.alive is None else run.alive),
    )


def _asked(
    codec: Codec, tables: F32, norms: F32, some: slice | I64, bounded: bool = True
) -> kernels_bounds.Asked:
    """What kernels read of some queries; bounded: with bounds of sums, where they are read."""
    tables, norms = np.ascontiguousarray(tables[some]), norms[some]
    factors = np.stack([reciprocals(norms), norms**2], axis=1)
    if tables.shape[2] < ENTRIES:
        tables = np.pad(tables, ((0, 0), (0, 0), (0, ENTRIES - tables.shape[2])))
    deficits, fours = np.empty((0, 1, 1), np.uint8), np.empty((0, 1, 1), np.uint64)
    bounds = np.empty((0, 2), np.float32)
    if not bounded or codec.metric != "cosine":
        pass
    elif len(tables) >= _FEWEST_BY_FOURS[SHUFFLES]:
        fours, bounds = by_fours(tables)
    elif SHUFFLES:
        deficits, bounds = by_deficits(tables)
    arrays = (_frozen(each) for each in (tables, factors, deficits, fours, bounds))
    tables, factors, deficits, fours, bounds = arrays
    return kernels_bounds.Asked(tables, factors, _METRICS[codec.metric], deficits, fours, bounds)


def scan_signs(runs: Iterable[SignRun], planes: U8, count: int, keep: int) -> list[Shortlist]:
    """For each query the best `keep` of all `count` rows by their signs.

    planes: (q, b, bytes) uint8, SignPlane.planes of the queries. A score is over planes j the
    number of agreeing bits less that of the others, times 2^j; with one plane it falls with the
    angle (Charikar 2002, "Similarity estimation techniques from rounding algorithms"). Sums in hand
    are 0: a score is no sum of decoded bytes.
    """
    fragments = [_sign_rows(run) for run in runs]
    keep = min(keep, count)
    lanes = 1 if count * planes.size < _FEW_SIGN_BYTES else thread_count()
    together = max(1, _HELD_ENTRIES // (lanes * 2 * keep))
    every = _every(count, keep)
    found: list[Shortlist] = []
    for first in range(0, len(planes), together):
        some = planes[first : first + together]
        scans = kernels_signs.scan_lane, kernels_signs.scan_signs
        ask = partial(_additions, some)
        held = _held(fragments, ask, len(some), count, keep, lanes, scans, every)
        found += [replace(each, sums=np.zeros_like(each.sums)) for each in _shortlists(held)]
    return found


def scan_prefixes(
    runs: Iterable[PrefixRun], queries: F32, width: int, metric: str, count: int, keep: int
) -> list[Shortlist]:
    """For each query (q, d) the best `keep` of all `count` rows by their first coordinates.

    Scores are those of scan.scan_vectors but for rounding; equal prefixes have equal ones. Sums in
    hand are 0. Memory: as scan_planes.
    """
    fragments = [_prefix_rows(run) for run in runs]
    keep = min(keep, count)
    prefixes = directions(np.ascontiguousarray(queries[:, :width]))
    lengths = np.sqrt(np.einsum("qd,qd->q", queries, queries))
    lanes = 1 if count * prefixes.size < _FEW_COORDINATES else thread_count()
    together = max(1, _HELD_ENTRIES // (lanes * 2 * keep))
    scans = kernels_prefixes.scan_prefix_lane, kernels_prefixes.scan_prefix_rows
    every = _EVERY if count >= _FEWEST_SAMPLED_PREFIXES else 0
    found: list[Shortlist] = []
    for first in range(0, len(prefixes), together):
        part = slice(first, first + together)
        ask = partial(_asked_prefixes, prefixes[part], lengths[part], _METRICS[metric])
        n_queries = len(prefixes[part])
        found += _shortlists(_held(fragments, ask, n_queries, count, keep, lanes, scans, every))
    return found


def _prefix_rows(run: PrefixRun) -> kernels_prefixes.PrefixRows:
    return kernels_prefixes.PrefixRows(
        _frozen(run.planes),
        run.count,
        run.start,
        _frozen(_NOTHING if run.lengths is None else run.lengths),
        _frozen(run.seqs),
        _frozen(_ALL if run.alive is None else run.alive),
    )


def _asked_prefixes(
    prefixes: F32, lengths: F32, metric: int, some: slice | I64
) -> kernels_prefixes.PrefixAsked:
    own = np.ascontiguousarray(prefixes[some])
    return kernels_prefixes.PrefixAsked(_frozen(own), _frozen(lengths[some]), metric)


def _shortlists(held: kernels.Held) -> list[Shortlist]:
    """The best of all lanes, a query each."""
    lanes, queries = held.counts.shape
    found = []
    for q in range(queries):
        rows, seqs, sums, scores = (
            np.concatenate([each[lane, q, : held.counts[lane, q]] for lane in range(lanes)])
            for each in (held.rows, held.seqs, held.sums, held.scores)
        )
        at = best_ranked(scores, seqs, held.keep)
        found.append(Shortlist(rows[at], seqs[at], sums[at], scores[at]))
    return found


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The same, read-only, as mapped files are: a kernel is compiled anew for every kind."""
    view = array.view()
    view.flags.writeable = False
    return view
