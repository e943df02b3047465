"""What a measurement asks: given judgements, else titles that must find their texts, else
agreement with exact search.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.relevance import (
    AGREEMENT_MEASURE,
    LABEL_MEASURE,
    Kind,
    QueryTask,
    agreement,
    exact_neighbours,
    from_qrels,
    from_titles,
)
from nestvec.data.rows import Query, Row
from nestvec.errors import UserError
from nestvec.jobs.settings import EvaluateSettings
from nestvec.measure.metrics import Measure, Relevance
from nestvec.progress import Progress

if TYPE_CHECKING:
    from nestvec.data.encoder import Encoder

#: the kind of questions that the rows' own labels answer
CLASSES: Kind = "same class"
#: fewer titles than this measure too little; agreement is asked for instead
FEWEST_TITLES = 20
#: agreement wants a few rows to draw queries from, and ten others to rank
FEWEST_ROWS = 12
#: queries are encoded in runs of this many texts
RUN = 256


@dataclass(frozen=True, eq=False)
class Questions:
    """What is asked, and in which words.

    task: queries and relevant rows; texts: one a query, "" where it has no words.
    about: one sentence on where they come from. qrels: {query: {document: gain}} of given
    judgements, empty otherwise.
    """

    task: QueryTask
    texts: tuple[str, ...]
    about: str
    qrels: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, Any] | None:
        """Given judgements with their words and vectors, so that a collection can be measured
        again, and without its model; of classes only that they were asked, since rows keep them.
        """
        if self.task.kind == CLASSES:
            return {"measure": self.task.measure, "kind": CLASSES, "about": self.about}
        if self.task.kind not in ("labels", "caption->image") or not all(self.texts):
            return None
        rows = np.ascontiguousarray(self.task.vectors, dtype="<f4")
        return {
            "measure": self.task.measure,
            "kind": self.task.kind,
            "about": self.about,
            "queries": [
                {"id": identity, "text": text}
                for identity, text in zip(self.task.ids, self.texts, strict=True)
            ],
            "qrels": {query: dict(self.qrels[query]) for query in self.task.ids},
            "vectors": {
                "shape": list(rows.shape),
                "float32": base64.b64encode(rows.tobytes()).decode("ascii"),
            },
        }

    @classmethod
    def from_json(
        cls, record: Mapping[str, Any], ids: Sequence[str], measure: str | None
    ) -> Questions | None:
        """What to_json described, of documents with these ids; None where it kept no vectors.

        measure: another one than its own, or None.
        """
        if "vectors" not in record:
            return None
        packed = base64.b64decode(record["vectors"]["float32"])
        vectors = np.frombuffer(packed, "<f4").reshape(record["vectors"]["shape"])
        texts = {query["id"]: query["text"] for query in record["queries"]}
        # in the order of the queries, which JSON's keys need not keep
        qrels = {identity: record["qrels"][identity] for identity in texts}
        task = from_qrels(vectors, list(texts), ids, qrels, measure or record["measure"])
        task = replace(task, kind=record.get("kind", task.kind))
        words = tuple(texts[identity] for identity in task.ids)
        return cls(task, words, record["about"], qrels)


def judged_queries(
    queries: Sequence[Query], qrels: Mapping[str, Mapping[str, float]]
) -> list[Query]:
    """The queries with a relevant row; raises UserError where there is none."""
    judged = [
        query for query in queries if any(gain > 0 for gain in qrels.get(query.id, {}).values())
    ]
    if not judged:
        raise UserError(
            f"judgements must find a relevant row for some query; got none in {len(queries):,} "
            "queries. Check that both files belong together."
        )
    return judged


def ask_judged(
    encoder: Encoder,
    queries: Sequence[Query],
    qrels: Mapping[str, Mapping[str, float]],
    ids: Sequence[str],
    measure: str,
    about: str,
    progress: Progress,
) -> Questions:
    """Given queries with their judgements; queries without a relevant row are left out."""
    judged = judged_queries(queries, qrels)
    vectors = encode_queries(encoder, [query.text for query in judged], progress)
    used = {query.id: qrels[query.id] for query in judged}
    task = from_qrels(vectors, [query.id for query in judged], ids, used, measure)
    words = {query.id: query.text for query in judged}
    return Questions(task, tuple(words[identity] for identity in task.ids), about, used)


def honest_title(row: Row) -> str:
    """The title as a query for its text; "" where the text repeats it at its beginning.

    A page whose first line is its title finds itself too easily to measure anything.
    """
    if not row.title:
        return ""
    beginning = row.text[: len(row.title) + 200].casefold()
    return "" if row.title.casefold() in beginning else row.title


def encode_queries(
    encoder: Encoder, texts: Sequence[str], progress: Progress
) -> NDArray[np.float32]:
    """(q, d) float32 vectors of queries, in runs."""
    progress.start("encoding queries", len(texts))
    parts = []
    for start in range(0, len(texts), RUN):
        run = list(texts[start : start + RUN])
        parts.append(encoder.encode(run, "query"))
        progress.advance(len(run))
    progress.finish()
    return np.concatenate(parts)


def ask_titles(
    encoder: Encoder,
    titles: Sequence[str],
    rows: Sequence[Sequence[int]],
    ids: Sequence[str],
    measure: str | None,
    progress: Progress,
) -> Questions:
    """Titles that must find the rows that bear them."""
    vectors = encode_queries(encoder, titles, progress)
    task = from_titles(vectors, rows, ids, measure or LABEL_MEASURE)
    about = "titles that must find their own text; titles were not encoded with the texts"
    return Questions(task, tuple(titles), about, {})


def hold_out(
    vectors: NDArray[Any], settings: EvaluateSettings, similarity: str, progress: Progress
) -> Questions | None:
    """Held-out rows as queries, relevant what exact search finds; None for too few rows."""
    if len(vectors) < FEWEST_ROWS:
        return None
    measure = settings.metric or AGREEMENT_MEASURE
    task = agreement(
        vectors,
        similarity,
        settings.sample_queries,
        settings.seed,
        k=agreement_depth(len(vectors)),
        progress=progress,
    )
    task = _measured(task, measure)
    about = (
        "held-out rows; relevant is what exact search by the full vectors ranks first, so the "
        "full vectors score 1 by definition"
    )
    return Questions(task, ("",) * len(task.ids), about, {})


def ask_agreement(
    vectors: NDArray[Any],
    asked: NDArray[Any],
    queries: Sequence[Query],
    settings: EvaluateSettings,
    similarity: str,
    progress: Progress,
) -> Questions | None:
    """Given queries without judgements, relevant what exact search finds; None for too few rows."""
    if len(vectors) < FEWEST_ROWS:
        return None
    rows = np.asarray(asked, dtype=np.float32)
    nobody = np.full(len(rows), -1, dtype=np.int64)
    top = exact_neighbours(
        vectors, rows, nobody, similarity, agreement_depth(len(vectors)), progress
    )
    task = QueryTask(
        rows,
        Relevance.from_top(top),
        settings.metric or AGREEMENT_MEASURE,
        "agreement",
        tuple(query.id for query in queries),
    )
    about = (
        "given queries without judgements; relevant is what exact search by the full vectors "
        "ranks first, so the full vectors score 1 by definition"
    )
    return Questions(task, tuple(query.text for query in queries), about, {})


def agreement_depth(rows: int) -> int:
    """How many exact hits count as relevant: ten, fewer where that were most of the rows."""
    return max(1, min(10, rows // 4))


def _measured(task: QueryTask, measure: str) -> QueryTask:
    Measure.parse(measure)
    return QueryTask(
        task.vectors, task.relevance, measure, task.kind, task.ids, task.seen, task.own_rows
    )
