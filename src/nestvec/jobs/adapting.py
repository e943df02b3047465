"""An adapter for a collection that is being built: what it learns from, and its training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter
from nestvec.choose.relevance import fitting_rows, title_queries
from nestvec.data.documents import passages
from nestvec.data.encoder import reads_texts
from nestvec.data.qrels import Qrels, check_known, read_qrels
from nestvec.data.sentences import drawn_sentences
from nestvec.data.source import Source
from nestvec.errors import UserError
from nestvec.jobs.material import Material
from nestvec.jobs.questions import encode_queries, honest_title
from nestvec.jobs.settings import BuildSettings
from nestvec.progress import Progress

AUTO = "linear"
"""What --adapt auto trains on judged pairs; studies/smec.py compares the methods."""
AUTO_UNJUDGED = "distilled"
"""What it trains elsewhere: what titles or sentences ask for is seldom what questions will."""

FEWEST_PAIRS = 50
MOST_QUERIES = 50_000
MOST_SENTENCES = 8_000
"""Titles or passages, drawn by seed where there are more."""
NO_LABELS = "the vectors alone, without labels"
EPOCHS = 15
LARGEST_BATCH = 2_048
# Of queries that are compared with thousands of documents a step.
_LISTS_A_STEP = 512
_TEMPERATURES = {"distilled": 0.05}
# Few pairs make few steps a pass.
_FEWEST_STEPS = 400
_PATIENCE = 5
_CODED_WIDTH = 128


@dataclass(frozen=True, eq=False)
class Supervision:
    """Pairs of query and document, none of whose documents a question of the evaluation is about.

    queries (q, d) and pairs (p, 2) are None without labels. rows: (r,) rising, of the documents
    that pairs name or, without pairs, whose vectors are trained on. about: where they come from.
    judged: whether somebody asked these queries, and judged the documents.
    """

    queries: NDArray[np.float32] | None
    pairs: NDArray[np.int64] | None
    grades: NDArray[np.float32] | None
    rows: NDArray[np.int64]
    about: str
    judged: bool = False


def train_adapter(
    material: Material, source: Source, settings: BuildSettings, work: Path, progress: Progress
) -> tuple[Adapter, str]:
    """The adapter that settings.adapt names, and a sentence on what it was trained on.

    It keeps the rows that its pairs name, so that later questions about them are told apart.
    Raises UserError where vectors do not compare by cosine, or pairs name what is not there.
    """
    from nestvec.learn.adapters.examples import Examples
    from nestvec.learn.adapters.methods import METHODS, AdapterSettings, fit_adapter
    from nestvec.learn.adapters.settings import Training, default_widths

    if material.similarity != "cosine":
        raise UserError(
            f"adapters map directions, compared by cosine; got {material.similarity}. Leave out "
            "--adapt, or take --similarity cosine."
        )
    method = AUTO if settings.adapt == "auto" else str(settings.adapt)
    if METHODS[method].labels == "unused":
        found = _unlabelled(material, settings.seed, NO_LABELS)
    else:
        found = supervise(material, source, settings, progress)
    if settings.adapt == "auto" and not found.judged:
        method = AUTO_UNJUDGED
    dim = material.vectors.shape[1]
    labelled = found.pairs is not None
    documents = material.vectors if labelled else material.vectors[found.rows]
    count = len(documents) if found.pairs is None else len(found.pairs)
    most = _LISTS_A_STEP if method == "distilled" else LARGEST_BATCH
    batch = int(min(most, max(64, count // 8)))
    epochs = max(EPOCHS, -(-_FEWEST_STEPS // max(1, count // batch)))
    how = AdapterSettings(
        widths=default_widths(dim),
        training=Training(
            batch=batch, rate=2e-3, epochs=epochs, patience=_PATIENCE, seed=settings.seed
        ),
        temperature=_TEMPERATURES.get(method, 0.03),
        blend=True,
    )
    # Without labels nothing is learned of what the evaluation asks for.
    free = _unlabelled(material, settings.seed, NO_LABELS).rows if labelled else None
    examples = Examples(documents, found.queries, found.pairs, found.grades, free)
    adapter = fit_adapter(method, examples, how, folder=work / "adapter", progress=progress)
    if len(adapter.stages) > 1:
        # A codec codes one vector: of a chain, the stage that serves its bytes best.
        near = min(adapter.stages, key=lambda stage: abs(stage.width - _CODED_WIDTH))
        adapter = adapter.cut(near.width)
    if labelled:
        adapter = replace(adapter, trained_rows=found.rows.astype(np.uint32))
    return adapter, f"adapter {method}, trained on {found.about}"


def supervise(
    material: Material, source: Source, settings: BuildSettings, progress: Progress
) -> Supervision:
    """Given pairs, else a train split, titles, neighbouring passages, sentences, else no labels.

    Of images: given pairs, else a train split, captions, else no labels.
    """
    held = asked_rows(material)
    path = _pairs_path(source, settings)
    if path is not None:
        return _of_qrels(material, source, path, held, settings.seed, progress)
    if not material.titled and material.encoder is not None:
        titles = [honest_title(row) for row in material.rows]
        chosen, rows = title_queries(titles, MOST_QUERIES, settings.seed)
        kept = [i for i, bearers in enumerate(rows) if not held[bearers].any()]
        if len(kept) >= FEWEST_PAIRS:
            queries = encode_queries(material.encoder, [chosen[i] for i in kept], progress)
            pairs = np.array([(q, row) for q, i in enumerate(kept) for row in rows[i]], np.int64)
            about = f"{len(kept):,} titles, each with its own text"
            return Supervision(queries, pairs, None, np.unique(pairs[:, 1]), about)
    found = _unlabelled(material, settings.seed, NO_LABELS)
    if material.kind == "images":
        return _of_captions(material, source, held, settings.seed, progress) or found
    if source.split == "paragraphs":
        found = _of_passages(material, held, settings.seed)
    if found.pairs is None and _asked_in_words(material):
        found = _of_sentences(material, held, settings.seed, progress) or found
    return found


def _asked_in_words(material: Material) -> bool:
    """Whether texts are there, and are asked for by others than themselves.

    Agreement with the untouched vectors finds fault with all that sentences teach.
    """
    questions = material.questions
    return (
        material.encoder is not None
        and questions is not None
        and questions.task.kind != "agreement"
    )


def asked_rows(material: Material) -> NDArray[np.bool_]:
    """Which rows (n,) a question of the evaluation asks for, or is itself."""
    asked = np.zeros(len(material.vectors), bool)
    if material.questions is not None:
        task = material.questions.task
        asked[task.relevance.rows] = True
        if task.own_rows is not None:
            asked[task.own_rows[task.own_rows >= 0]] = True
    return asked


def _of_passages(material: Material, held: NDArray[np.bool_], seed: int) -> Supervision:
    """Every passage as a query for the next one of its document; nothing is encoded for it.

    A document is left out with all its passages where a question is about one of them.
    """
    documents, numbers = map(np.array, passages(material.ids))
    asked = np.zeros(documents.max() + 1, bool)
    asked[documents[held]] = True
    follows = (documents[1:] == documents[:-1]) & (numbers[1:] == numbers[:-1] + 1)
    first = np.flatnonzero(follows & (numbers[:-1] > 0) & ~asked[documents[:-1]])
    if len(first) > MOST_QUERIES:
        first = np.sort(np.random.default_rng(seed).choice(first, MOST_QUERIES, replace=False))
    about = f"{len(first):,} passages, each with the next of its document"
    left = int(asked.sum())
    if left:
        about += f" ({left:,} documents left out, which the evaluation asks for)"
    if len(first) < FEWEST_PAIRS:
        return _unlabelled(material, seed, f"the vectors alone: only {about}")
    return Supervision(
        np.asarray(material.vectors[first], np.float32),
        np.column_stack([np.arange(len(first)), first + 1]),
        None,
        np.union1d(first, first + 1),
        about,
    )


def _of_captions(
    material: Material, source: Source, held: NDArray[np.bool_], seed: int, progress: Progress
) -> Supervision | None:
    """Captions of images, each with its own; None for fewer than 50 or a model without texts."""
    if material.encoder is None or not reads_texts(material.encoder):
        return None
    told = [
        (caption, row)
        for row, captions in enumerate(source.album.captions)
        for caption in captions
        if not held[row]
    ]
    if len(told) < FEWEST_PAIRS:
        return None
    drawn = np.random.default_rng(seed).permutation(len(told))[:MOST_SENTENCES]
    chosen = [told[place] for place in np.sort(drawn)]
    queries = encode_queries(material.encoder, [caption for caption, _ in chosen], progress)
    rows = np.array([row for _, row in chosen], np.int64)
    pairs = np.column_stack([np.arange(len(rows)), rows])
    about = f"{len(chosen):,} captions, each with its own image"
    return Supervision(queries, pairs, None, np.unique(rows), about)


def _of_sentences(
    material: Material, held: NDArray[np.bool_], seed: int, progress: Progress
) -> Supervision | None:
    """A sentence of each text as a query for it; None where there are fewer than 50."""
    assert material.encoder is not None
    free = ("" if asked else row.text for asked, row in zip(held, material.rows, strict=True))
    texts, rows = drawn_sentences(free, MOST_SENTENCES, seed)
    if len(texts) < FEWEST_PAIRS:
        return None
    queries = encode_queries(material.encoder, texts, progress)
    pairs = np.column_stack([np.arange(len(rows)), np.array(rows, np.int64)])
    about = f"{len(texts):,} sentences, each with the text it was taken from"
    return Supervision(queries, pairs, None, pairs[:, 1], about)


def _unlabelled(material: Material, seed: int, about: str) -> Supervision:
    """The vectors alone, of the rows that codes may be fitted on as well: see fitting_rows."""
    rows = np.arange(len(material.vectors))
    if material.questions is not None:
        rows = fitting_rows(material.questions.task, len(rows), seed, len(rows)).rows
    return Supervision(None, None, None, rows, about)


def _pairs_path(source: Source, settings: BuildSettings) -> Path | None:
    if settings.pairs is not None:
        return Path(settings.pairs)
    used = source.qrels_path
    if used is None:
        return None
    beside = [used.with_name(f"train{suffix}") for suffix in (".tsv", ".tsv.gz")]
    return next((path for path in beside if path.exists() and path != used), None)


def _of_qrels(
    material: Material,
    source: Source,
    path: Path,
    held: NDArray[np.bool_],
    seed: int,
    progress: Progress,
) -> Supervision:
    qrels = read_qrels(path)
    queries = source.queries()
    if not queries:
        raise UserError(
            f"pairs name queries, and {source.path} has none: give them with --queries."
        )
    check_known(qrels, path, set(material.ids), {query.id for query in queries})
    rows = {identity: row for row, identity in enumerate(material.ids)}
    places = {query.id: place for place, query in enumerate(queries)}
    kept: Qrels = {}
    for query, judged in qrels.items():
        good = {d: gain for d, gain in judged.items() if gain > 0}
        if good and not any(held[rows[document]] for document in good):
            kept[query] = good
    about = f"{len(kept):,} queries of {path.parent.name}/{path.name}"
    left = len(qrels) - len(kept)
    if left:
        about += f" ({left:,} left out, whose documents are asked for in the evaluation)"
    if sum(map(len, kept.values())) < FEWEST_PAIRS:
        return _unlabelled(material, seed, f"the vectors alone: only {about}")
    asked: Any
    if source.query_vectors is not None:
        asked = np.asarray(source.query_vectors)[[places[query] for query in kept]]
    else:
        assert material.encoder is not None
        texts = {query.id: query.text for query in queries}
        asked = encode_queries(material.encoder, [texts[query] for query in kept], progress)
    named = [(q, rows[d]) for q, judged in enumerate(kept.values()) for d in judged]
    grades = [gain for judged in kept.values() for gain in judged.values()]
    pairs = np.array(named, np.int64)
    return Supervision(
        np.asarray(asked, np.float32),
        pairs,
        np.array(grades, np.float32),
        np.unique(pairs[:, 1]),
        about,
        judged=True,
    )
