"""An adapter for a collection that is being built: what it learns from, and its training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter
from nestvec.choose.relevance import title_queries
from nestvec.data.qrels import Qrels, check_known, read_qrels
from nestvec.data.source import Source
from nestvec.errors import UserError
from nestvec.jobs.material import Material
from nestvec.jobs.questions import encode_queries, honest_title
from nestvec.jobs.settings import BuildSettings
from nestvec.progress import Progress

AUTO = "linear"
"""What --adapt auto trains; studies/smec.py compares the methods."""

FEWEST_PAIRS = 50
MOST_TITLES = 50_000
EPOCHS = 15
LARGEST_BATCH = 2_048
# Few pairs make few steps a pass.
_FEWEST_STEPS = 400
_PATIENCE = 5
_CODED_WIDTH = 128


@dataclass(frozen=True, eq=False)
class Supervision:
    """Pairs of query and document, none of whose documents a question of the evaluation is about.

    queries (q, d) and pairs (p, 2) are None without labels. about: where they come from.
    """

    queries: NDArray[np.float32] | None
    pairs: NDArray[np.int64] | None
    grades: NDArray[np.float32] | None
    about: str


def train_adapter(
    material: Material, source: Source, settings: BuildSettings, work: Path, progress: Progress
) -> tuple[Adapter, str]:
    """The adapter that settings.adapt names, and a sentence on what it was trained on.

    Raises UserError where vectors do not compare by cosine, or pairs name what is not there.
    """
    from nestvec.learn.adapters.examples import Examples
    from nestvec.learn.adapters.methods import AdapterSettings, fit_adapter
    from nestvec.learn.adapters.settings import Training, default_widths

    if material.similarity != "cosine":
        raise UserError(
            f"adapters map directions, compared by cosine; got {material.similarity}. Leave out "
            "--adapt, or take --similarity cosine."
        )
    method = AUTO if settings.adapt == "auto" else str(settings.adapt)
    found = supervise(material, source, settings, progress)
    dim = material.vectors.shape[1]
    count = len(material.vectors) if found.pairs is None else len(found.pairs)
    batch = int(min(LARGEST_BATCH, max(64, count // 8)))
    epochs = max(EPOCHS, -(-_FEWEST_STEPS // max(1, count // batch)))
    how = AdapterSettings(
        widths=default_widths(dim),
        training=Training(
            batch=batch, rate=2e-3, epochs=epochs, patience=_PATIENCE, seed=settings.seed
        ),
        temperature=0.03,
    )
    examples = Examples(material.vectors, found.queries, found.pairs, found.grades)
    adapter = fit_adapter(method, examples, how, folder=work / "adapter", progress=progress)
    if len(adapter.stages) > 1:
        # A codec codes one vector: of a chain, the stage that serves its bytes best.
        near = min(adapter.stages, key=lambda stage: abs(stage.width - _CODED_WIDTH))
        adapter = adapter.cut(near.width)
    return adapter, f"adapter {method}, trained on {found.about}"


def supervise(
    material: Material, source: Source, settings: BuildSettings, progress: Progress
) -> Supervision:
    """Given pairs, else a train split beside the source, else titles, else nothing."""
    held = np.zeros(len(material.vectors), bool)
    if material.questions is not None:
        held[material.questions.task.relevance.rows] = True
    path = _pairs_path(source, settings)
    if path is not None:
        return _of_qrels(material, source, path, held, progress)
    if not material.titled and material.encoder is not None:
        titles = [honest_title(row) for row in material.rows]
        chosen, rows = title_queries(titles, MOST_TITLES, settings.seed)
        kept = [i for i, bearers in enumerate(rows) if not held[bearers].any()]
        if len(kept) >= FEWEST_PAIRS:
            queries = encode_queries(material.encoder, [chosen[i] for i in kept], progress)
            pairs = [(q, row) for q, i in enumerate(kept) for row in rows[i]]
            return Supervision(
                queries,
                np.array(pairs, np.int64),
                None,
                f"{len(kept):,} titles, each with its own text",
            )
    return Supervision(None, None, None, "the vectors alone, without labels")


def _pairs_path(source: Source, settings: BuildSettings) -> Path | None:
    if settings.pairs is not None:
        return Path(settings.pairs)
    used = source.qrels_path
    if used is None:
        return None
    beside = [used.with_name(f"train{suffix}") for suffix in (".tsv", ".tsv.gz")]
    return next((path for path in beside if path.exists() and path != used), None)


def _of_qrels(
    material: Material, source: Source, path: Path, held: NDArray[np.bool_], progress: Progress
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
        return Supervision(None, None, None, f"the vectors alone: only {about}")
    asked: Any
    if source.query_vectors is not None:
        asked = np.asarray(source.query_vectors)[[places[query] for query in kept]]
    else:
        assert material.encoder is not None
        texts = {query.id: query.text for query in queries}
        asked = encode_queries(material.encoder, [texts[query] for query in kept], progress)
    pairs = [(q, rows[d]) for q, judged in enumerate(kept.values()) for d in judged]
    grades = [gain for judged in kept.values() for gain in judged.values()]
    return Supervision(
        np.asarray(asked, np.float32),
        np.array(pairs, np.int64),
        np.array(grades, np.float32),
        about,
    )
