"""From evidence and choice to the values that a report shows."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec import __version__
from nestvec.adapters.adapter import Adapter
from nestvec.choose.evidence import Evidence
from nestvec.choose.relevance import exact_neighbours
from nestvec.codec.nested import Codec
from nestvec.data.image_places import LABEL
from nestvec.data.rows import Row
from nestvec.jobs.questions import Questions
from nestvec.measure.metrics import exact_top
from nestvec.report.sheet import Cell, Hit, Question, Reading

#: questions shown, and hits of each
SHOWN_QUESTIONS = 4
SHOWN_HITS = 5
#: characters of a text that a report keeps
KEPT_CHARACTERS = 400


@dataclass(frozen=True, eq=False)
class Coded:
    """Documents under a fitted codec: codes (n, b) uint8 and facts (n,) each.

    adapter: what they went through before the codec, or None. whole: the longer codec whose codes
    were cut to these, or None: its beam looks further than that of the codec alone.
    """

    codec: Codec
    codes: NDArray[np.uint8]
    facts: Mapping[str, NDArray[Any]]
    adapter: Adapter | None = None
    whole: Codec | None = None

    @property
    def own_bytes(self) -> int:
        """Bytes of codec and adapter."""
        return self.codec.size_bytes() + (0 if self.adapter is None else self.adapter.size_bytes())


def codec_parts(adapter: str | None) -> str:
    """What is stored once beside the codes, in words. adapter: its method, or None."""
    return "codec" if adapter is None else "codec with its adapter"


def report_cells(evidence: Evidence) -> tuple[Cell, ...]:
    """The grid as a report draws it: bytes are all that is read of a row."""
    return tuple(
        Cell(
            cell.method,
            cell.dims,
            cell.bytes + cell.fact_bytes,
            cell.value,
            cell.low,
            cell.high,
            cell.delta,
            cell.delta_low,
            cell.delta_high,
            cell.fact_bytes,
        )
        for cell in evidence.cells
    )


def shown_questions(
    questions: Questions,
    vectors: NDArray[Any],
    ids: Sequence[str],
    rows: Iterable[Row],
    coded: Coded,
    cut: int,
    seed: int,
    thumbnail: Callable[[int], bytes] | None = None,
) -> tuple[Question, ...]:
    """A few queries drawn by seed, with their hits by full vectors, at the cut and below it.

    thumbnail: a small JPEG file of a row that is an image; some sixty of them are shown.
    """
    task = questions.task
    count = min(SHOWN_QUESTIONS, len(task.ids))
    drawn = np.sort(np.random.default_rng(seed).choice(len(task.ids), count, replace=False))
    asked = np.asarray(task.vectors[drawn], dtype=np.float32)
    own = np.full(count, -1, dtype=np.int64)
    if task.own_rows is not None:
        own = task.own_rows[drawn]
    k = min(SHOWN_HITS, len(vectors) - 1)
    if k < 1:
        return ()
    cuts = shown_cuts(coded.codec, cut)
    found = [exact_neighbours(vectors, asked, own, coded.codec.metric, k)]
    found += [_coded_hits(coded, asked, own, each, k) for each in cuts]
    names = ["full vectors", *("chosen" if each == cut else "smaller" for each in cuts)]
    read = [4 * vectors.shape[1], *(each + _fact_bytes(coded.codec) for each in cuts)]
    wanted = {int(row) for hits in found for row in hits.ravel()} | {int(r) for r in own if r >= 0}
    words = (_words if thumbnail is None else _captions)(rows, wanted)
    pictures = {row: _data_uri(thumbnail(row)) for row in wanted} if thumbnail else {}
    if not any(words.values()):
        return ()
    relevance = task.relevance
    shown = []
    for place, query in enumerate(drawn):
        relevant = set()
        if task.kind != "agreement":
            start, stop = relevance.indptr[query], relevance.indptr[query + 1]
            relevant = {int(row) for row in relevance.rows[start:stop]}
        full = {int(row) for row in found[0][place]}
        readings = tuple(
            Reading(
                name,
                n_bytes,
                tuple(
                    Hit(
                        ids[row],
                        words.get(row, ""),
                        row in full,
                        row in relevant,
                        pictures.get(row, ""),
                    )
                    for row in (int(each) for each in hits[place])
                ),
            )
            for name, n_bytes, hits in zip(names, read, found, strict=True)
        )
        text = questions.texts[query] or words.get(int(own[place]), "") or task.ids[query]
        picture = pictures.get(int(own[place]), "")
        shown.append(Question(text[:KEPT_CHARACTERS], readings, picture))
    return tuple(shown)


def shown_cuts(codec: Codec, cut: int) -> tuple[int, ...]:
    """The chosen cut and about a quarter of it, the larger first."""
    smaller = [each for each in codec.cuts if each <= max(cut // 3, 4) and each < cut]
    return (cut, smaller[-1]) if smaller else (cut,)


def made_today() -> str:
    """Today's date, as reports print it."""
    return datetime.date.today().isoformat()


def version() -> str:
    """The version that makes the report."""
    return __version__


def _fact_bytes(codec: Codec) -> int:
    return 1 if codec.metric == "cosine" else 5


def _coded_hits(
    coded: Coded, asked: NDArray[np.float32], own: NDArray[np.int64], cut: int, k: int
) -> NDArray[np.int64]:
    if coded.adapter is not None:
        asked = coded.adapter.transform(asked)
    scores = coded.codec.score(asked, coded.codes, cut, dict(coded.facts))
    here = np.flatnonzero(own >= 0)
    scores[here, own[here]] = -np.inf
    return exact_top(scores, k)


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _captions(rows: Iterable[Row], wanted: set[int]) -> dict[int, str]:
    """What to say of some images, by position: the class, and a caption or the id."""
    words = {}
    for position, row in enumerate(rows):
        if position in wanted:
            text = row.text.partition("\n")[0][:KEPT_CHARACTERS]
            label = str(row.columns.get(LABEL) or "")
            told = not label or text.startswith(f"{label}/")
            words[position] = text if told else f"{label}: {text}"
    return words


def _words(rows: Iterable[Row], wanted: set[int]) -> dict[int, str]:
    """What to show of some rows, by position; one pass over all of them."""
    words = {}
    for position, row in enumerate(rows):
        if position in wanted:
            stop = "" if row.title[-1:] in ".?!:" else ":"
            text = f"{row.title}{stop} {row.text}" if row.title else row.text
            words[position] = " ".join(text.split())[:KEPT_CHARACTERS]
    return words
