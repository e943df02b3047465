"""What a measurement asks: given judgements, else titles that must find their texts, else
agreement with exact search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.relevance import (
    AGREEMENT_MEASURE,
    LABEL_MEASURE,
    QueryTask,
    agreement,
    exact_neighbours,
    from_qrels,
    from_titles,
    title_queries,
)
from nestvec.data.rows import Query, Row
from nestvec.data.source import Source, read_queries
from nestvec.errors import UserError
from nestvec.jobs.encoders import encoder_of
from nestvec.jobs.settings import EvaluateSettings
from nestvec.measure.metrics import Measure, Relevance
from nestvec.progress import Progress

if TYPE_CHECKING:
    from nestvec.data.encoder import Encoder
    from nestvec.index.collection import Collection

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
        """Given judgements with their words, so that a collection can be measured again."""
        if self.task.kind != "labels" or not all(self.texts):
            return None
        return {
            "measure": self.task.measure,
            "about": self.about,
            "queries": [
                {"id": identity, "text": text}
                for identity, text in zip(self.task.ids, self.texts, strict=True)
            ],
            "qrels": {query: dict(self.qrels[query]) for query in self.task.ids},
        }


@dataclass(frozen=True, eq=False)
class Asking:
    """What will be asked of texts, known before they are encoded.

    titled: whether documents are encoded with their titles; not where these are the queries.
    finish: (encoder, vectors, ids, similarity, progress) -> the questions.
    """

    titled: bool
    finish: Callable[[Encoder, NDArray[Any], Sequence[str], str, Progress], Questions | None]


def ask_texts(source: Source, settings: EvaluateSettings) -> Asking:
    """What to ask of a source of texts that has been surveyed."""
    queries = source.queries()
    if queries and source.qrels_path is not None:
        qrels, about = source.qrels(), _about(source)
        measure = settings.metric or LABEL_MEASURE

        def labelled(
            encoder: Encoder, vectors: NDArray[Any], ids: Sequence[str], _: str, p: Progress
        ) -> Questions:
            return ask_judged(encoder, queries, qrels, ids, measure, about, p)

        return Asking(not _ask_by_title(source, queries, qrels), labelled)
    if queries:

        def given(
            encoder: Encoder, vectors: NDArray[Any], ids: Sequence[str], sim: str, p: Progress
        ) -> Questions | None:
            asked = encode_queries(encoder, [query.text for query in queries], p)
            return _agree(vectors, asked, queries, settings, sim, p)

        return Asking(True, given)
    titles = [""] * source.tally.rows
    if source.tally.titled:
        titles = [honest_title(row) for row in source.rows()]
    chosen, rows = title_queries(titles, settings.sample_queries, settings.seed)
    if len(chosen) >= FEWEST_TITLES:

        def titled(
            encoder: Encoder, vectors: NDArray[Any], ids: Sequence[str], _: str, p: Progress
        ) -> Questions:
            return _ask_titles(encoder, chosen, rows, ids, settings.metric, p)

        return Asking(False, titled)

    def unlabelled(
        encoder: Encoder, vectors: NDArray[Any], ids: Sequence[str], sim: str, p: Progress
    ) -> Questions | None:
        return hold_out(vectors, settings, sim, p)

    return Asking(True, unlabelled)


def ask_vectors(
    source: Source, settings: EvaluateSettings, similarity: str, progress: Progress
) -> Questions | None:
    """What to ask of a source of vectors."""
    asked = source.query_vectors
    if asked is None:
        return hold_out(source.vectors, settings, similarity, progress)
    queries = source.queries()
    if source.qrels_path is None:
        return _agree(source.vectors, asked, queries, settings, similarity, progress)
    qrels = source.qrels()
    task = from_qrels(
        asked, [q.id for q in queries], source.ids, qrels, settings.metric or LABEL_MEASURE
    )
    return Questions(task, ("",) * len(task.ids), _about(source), qrels)


def ask_collection(
    opened: Collection,
    ids: Sequence[str],
    vectors: NDArray[Any],
    settings: EvaluateSettings,
    progress: Progress,
) -> Questions | None:
    """What to ask of a collection: given files, else what it was built with, else its titles."""
    kept = opened.manifest.encoder.get("settings")
    stored = (opened.evidence() or {}).get("questions")

    def encoder() -> Encoder:
        if not kept:
            raise UserError(
                f"queries in words need a model, and {opened.path} was built from vectors: "
                "evaluate the vectors' own source with --queries and --qrels instead."
            )
        return encoder_of(
            kept,
            trust_remote_code=settings.trust_remote_code,
            api=settings.api,
            device=settings.device,
        )

    measure = settings.metric or LABEL_MEASURE
    if settings.queries is not None:
        queries = read_queries(Path(settings.queries))
        if settings.qrels is None:
            asked = encode_queries(encoder(), [query.text for query in queries], progress)
            return _agree(vectors, asked, queries, settings, opened.manifest.metric, progress)
        from nestvec.data.qrels import check_known, read_qrels

        path = Path(settings.qrels)
        qrels = read_qrels(path)
        check_known(qrels, path, set(ids), {query.id for query in queries})
        return ask_judged(
            encoder(), queries, qrels, ids, measure, f"queries of {settings.queries}", progress
        )
    if settings.qrels is not None:
        raise UserError(
            f"qrels judge queries, and only {settings.qrels} was given: name the queries, too."
        )
    if stored is not None:
        queries = [Query(each["id"], each["text"]) for each in stored["queries"]]
        return ask_judged(
            encoder(), queries, stored["qrels"], ids,
            settings.metric or stored["measure"], stored["about"], progress,
        )  # fmt: skip
    if kept and opened.manifest.encoder.get("documents") == "text":
        titles = [
            honest_title(Row("", text or "", title or ""))
            for batch in opened.batches(("text", "title"))
            for text, title in zip(batch["text"], batch["title"], strict=True)
        ]
        chosen, rows = title_queries(titles, settings.sample_queries, settings.seed)
        if len(chosen) >= FEWEST_TITLES:
            return _ask_titles(encoder(), chosen, rows, ids, settings.metric, progress)
    return hold_out(vectors, settings, opened.manifest.metric, progress)


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
    judged = [
        query for query in queries if any(gain > 0 for gain in qrels.get(query.id, {}).values())
    ]
    if not judged:
        raise UserError(
            f"judgements must find a relevant row for some query; got none in {len(queries):,} "
            "queries. Check that both files belong together."
        )
    vectors = encode_queries(encoder, [query.text for query in judged], progress)
    used = {query.id: qrels[query.id] for query in judged}
    task = from_qrels(vectors, [query.id for query in judged], ids, used, measure)
    words = {query.id: query.text for query in judged}
    return Questions(task, tuple(words[identity] for identity in task.ids), about, used)


def _ask_by_title(
    source: Source, queries: Sequence[Query], qrels: Mapping[str, Mapping[str, float]]
) -> bool:
    """Whether most judged queries are the title of a row that is relevant to them.

    Documents with their titles would then hold the answers.
    """
    if not source.tally.titled:
        return False
    wanted = {row for judged in qrels.values() for row in judged}
    titles = {row.id: row.title.casefold() for row in source.rows() if row.id in wanted}
    judged = [query for query in queries if query.id in qrels]
    same = sum(
        query.text.casefold() in {titles.get(row, "") for row in qrels[query.id]}
        for query in judged
    )
    return 2 * same > len(judged)


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


def _ask_titles(
    encoder: Encoder,
    titles: Sequence[str],
    rows: Sequence[Sequence[int]],
    ids: Sequence[str],
    measure: str | None,
    progress: Progress,
) -> Questions:
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


def _agree(
    vectors: NDArray[Any],
    asked: NDArray[Any],
    queries: Sequence[Query],
    settings: EvaluateSettings,
    similarity: str,
    progress: Progress,
) -> Questions | None:
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


def _about(source: Source) -> str:
    queries = source.queries_path.name if source.queries_path is not None else "the file"
    qrels = source.qrels_path
    assert qrels is not None
    where = f"{qrels.parent.name}/{qrels.name}" if qrels.parent.name == "qrels" else qrels.name
    return f"given queries ({queries}) with their judgements ({where})"
