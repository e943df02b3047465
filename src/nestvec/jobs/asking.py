"""Which questions a source or a collection is asked: judged queries, its titles, its own rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from nestvec.choose.relevance import (
    LABEL_MEASURE,
    from_qrels,
    title_queries,
)
from nestvec.data.encoder import reads_texts
from nestvec.data.image_places import LABEL
from nestvec.data.rows import Query, Row
from nestvec.data.source import Source, read_queries
from nestvec.errors import UserError
from nestvec.jobs.encoders import encoder_of
from nestvec.jobs.image_questions import ask_captions, ask_classes
from nestvec.jobs.questions import (
    CLASSES,
    FEWEST_TITLES,
    Questions,
    ask_agreement,
    ask_judged,
    ask_titles,
    encode_queries,
    hold_out,
    honest_title,
    judged_queries,
)
from nestvec.jobs.settings import EvaluateSettings
from nestvec.progress import Progress

if TYPE_CHECKING:
    from nestvec.data.encoder import Encoder
    from nestvec.index.snapshot import Snapshot


@dataclass(frozen=True, eq=False)
class Asking:
    """What will be asked of texts or images, known before they are encoded.

    titled: whether documents are encoded with their titles; not where these are the queries.
    finish: (encoder, vectors, ids, similarity, progress) -> the questions. notes: sentences that
    people should read.
    """

    titled: bool
    finish: Callable[[Encoder, NDArray[Any], Sequence[str], str, Progress], Questions | None]
    notes: tuple[str, ...] = ()


def ask_texts(source: Source, settings: EvaluateSettings) -> Asking:
    """What to ask of a source of texts that has been surveyed."""
    given = _given(source, settings)
    if given is not None:
        return given
    titles = [""] * source.tally.rows
    if source.tally.titled:
        titles = [honest_title(row) for row in source.rows()]
    chosen, rows = title_queries(titles, settings.sample_queries, settings.seed)
    if len(chosen) >= FEWEST_TITLES:

        def titled(
            encoder: Encoder, vectors: NDArray[Any], ids: Sequence[str], _: str, p: Progress
        ) -> Questions:
            return ask_titles(encoder, chosen, rows, ids, settings.metric, p)

        return Asking(False, titled)

    def unlabelled(
        encoder: Encoder, vectors: NDArray[Any], ids: Sequence[str], sim: str, p: Progress
    ) -> Questions | None:
        return hold_out(vectors, settings, sim, p)

    notes: tuple[str, ...] = ()
    if source.tally.titled >= FEWEST_TITLES:
        notes = (
            f"titles were not used as queries: {len(chosen):,} of {source.tally.titled:,} are not "
            "repeated by another row or by the beginning of their own text.",
        )
    return Asking(True, unlabelled, notes)


def ask_images(source: Source, settings: EvaluateSettings) -> Asking:
    """What to ask of a source of images that has been surveyed.

    Given queries; else captions, where the model reads texts; else classes; else the images
    themselves.
    """
    given = _given(source, settings)
    if given is not None:
        return given

    def asked(
        encoder: Encoder, vectors: NDArray[Any], ids: Sequence[str], sim: str, p: Progress
    ) -> Questions | None:
        found = ask_captions(encoder, source, settings, p) if reads_texts(encoder) else None
        images = source.album.images
        if found is None and images.labels is not None:
            names = [images.classes[label] for label in images.labels]
            found = ask_classes(vectors, names, ids, settings)
        return found or hold_out(vectors, settings, sim, p)

    return Asking(True, asked)


def _given(source: Source, settings: EvaluateSettings) -> Asking | None:
    """Given queries, with judgements or without; None where there are none."""
    queries = source.queries()
    if queries and source.qrels_path is not None:
        qrels, about = source.qrels(), _about(source)
        measure = settings.metric or LABEL_MEASURE
        judged_queries(queries, qrels)

        def labelled(
            encoder: Encoder, vectors: NDArray[Any], ids: Sequence[str], _: str, p: Progress
        ) -> Questions:
            return ask_judged(encoder, queries, qrels, ids, measure, about, p)

        return Asking(not _ask_by_title(source, queries, qrels), labelled)
    if queries:

        def unjudged(
            encoder: Encoder, vectors: NDArray[Any], ids: Sequence[str], sim: str, p: Progress
        ) -> Questions | None:
            asked = encode_queries(encoder, [query.text for query in queries], p)
            return ask_agreement(vectors, asked, queries, settings, sim, p)

        return Asking(True, unjudged)
    return None


def ask_vectors(
    source: Source, settings: EvaluateSettings, similarity: str, progress: Progress
) -> Questions | None:
    """What to ask of a source of vectors."""
    asked = source.query_vectors
    if asked is None:
        return hold_out(source.vectors, settings, similarity, progress)
    queries = source.queries()
    if source.qrels_path is None:
        return ask_agreement(source.vectors, asked, queries, settings, similarity, progress)
    qrels = source.qrels()
    task = from_qrels(
        asked, [q.id for q in queries], source.ids, qrels, settings.metric or LABEL_MEASURE
    )
    return Questions(task, ("",) * len(task.ids), _about(source), qrels)


def ask_collection(
    opened: Snapshot,
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
            return ask_agreement(
                vectors, asked, queries, settings, opened.manifest.metric, progress
            )
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
    if stored is not None and stored.get("kind") == CLASSES:
        labels = [label for batch in opened.batches((LABEL,)) for label in batch[LABEL]]
        measured = replace(settings, metric=settings.metric or stored["measure"])
        return ask_classes(vectors, labels, ids, measured)
    if stored is not None:
        kept_questions = Questions.from_json(stored, ids, settings.metric)
        if kept_questions is not None:
            return kept_questions
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
            return ask_titles(encoder(), chosen, rows, ids, settings.metric, progress)
    return hold_out(vectors, settings, opened.manifest.metric, progress)


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


def _about(source: Source) -> str:
    queries = source.queries_path.name if source.queries_path is not None else "the file"
    qrels = source.qrels_path
    assert qrels is not None
    where = f"{qrels.parent.name}/{qrels.name}" if qrels.parent.name == "qrels" else qrels.name
    return f"given queries ({queries}) with their judgements ({where})"
