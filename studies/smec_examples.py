"""What the studies of adapters train on: labels, titles, sentences, or documents alone."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.bytes import load_set

from nestvec.choose.relevance import QueryTask, title_queries
from nestvec.data.encode import encode_texts
from nestvec.data.encoder import load_encoder
from nestvec.data.lines import read_lines
from nestvec.data.sentences import drawn_sentences
from nestvec.data.source import open_source
from nestvec.learn.adapters.examples import Examples
from nestvec.measure.metrics import Relevance

MOST_SENTENCES = 4_000


@dataclass(frozen=True, eq=False)
class Drawn:
    """What is trained on; trained: the rows of the set's documents that pairs name."""

    examples: Examples
    trained: NDArray[np.int64]


@dataclass(frozen=True)
class _Limits:
    """Pairs and documents that training sees at most, None for all, and the seed of the draw."""

    pairs: int | None
    documents: int | None
    seed: int

    def picked(self, count: int) -> NDArray[np.int64]:
        """Which of so many pairs are trained on, rising."""
        every = np.arange(count)
        if self.pairs is None or count <= self.pairs:
            return every
        return np.sort(np.random.default_rng(self.seed).permutation(every)[: self.pairs])

    def drawn(
        self,
        documents: NDArray[Any],
        queries: NDArray[Any],
        pairs: NDArray[np.int64],
        asked: NDArray[np.bool_] | None = None,
        grades: NDArray[np.float32] | None = None,
    ) -> Drawn:
        """Labelled examples within the limits: the pairs' documents, and others beside them.

        asked: (n,), which documents test queries ask for, none of which is then scored unlabelled.
        """
        rng = np.random.default_rng(self.seed)
        some = self.picked(len(pairs))
        pairs, grades = pairs[some], None if grades is None else grades[some]
        queries = np.asarray(queries, np.float32)
        trained = np.unique(pairs[:, 1])
        if self.documents is None or len(documents) <= self.documents:
            free = None if asked is None else np.flatnonzero(~asked)
            return Drawn(Examples(documents, queries, pairs, grades, free), trained)
        others = rng.permutation(np.setdiff1d(np.arange(len(documents)), trained))
        rows = np.union1d(trained, others[: max(0, self.documents - len(trained))])
        placed = np.stack([pairs[:, 0], np.searchsorted(rows, pairs[:, 1])], axis=1)
        drawn = np.asarray(documents[rows], np.float32)
        free = None if asked is None else np.flatnonzero(~asked[rows])
        return Drawn(Examples(drawn, queries, placed, grades, free), trained)


def asked_of(
    options: argparse.Namespace, name: str, supervision: str
) -> tuple[NDArray[Any], QueryTask]:
    """Documents, and the queries to test by: where labels are not trained on, all that are judged.

    So a set of few test queries says more; those of ACL abstracts' dev split are not among them.
    """
    folder, work = options.data / name, options.work / name
    documents, task, _ = load_set(folder, "test", work)
    if supervision == "labels" or not (folder / "qrels" / "train.tsv").exists():
        return documents, task
    _, other, _ = load_set(folder, "train", work)
    splits = {"test": task, "train": other}
    ends = [each.relevance.indptr for each in splits.values()]
    relevance = Relevance(
        np.concatenate([ends[0], ends[0][-1] + ends[1][1:]]),
        np.concatenate([each.relevance.rows for each in splits.values()]),
        np.concatenate([each.relevance.gains for each in splits.values()]),
    )
    vectors = np.concatenate([each.vectors for each in splits.values()])
    ids = tuple(f"{split}:{i}" for split, each in splits.items() for i in each.ids)
    return documents, QueryTask(vectors, relevance, task.measure, task.kind, ids)


def drawn_of(
    options: argparse.Namespace,
    name: str,
    documents: NDArray[Any],
    task: QueryTask,
    supervision: str,
    seed: int,
) -> Drawn | None:
    """What to train on; None where the set has no such supervision."""
    folder, work = options.data / name, options.work / name
    limits = _Limits(options.pairs, options.documents, seed)
    if supervision == "none":
        free = np.setdiff1d(np.arange(len(documents)), task.relevance.rows)
        free = np.sort(np.random.default_rng(seed).permutation(free)[: limits.documents])
        return Drawn(Examples(np.asarray(documents[free], np.float32)), np.empty(0, np.int64))
    asked = np.zeros(len(documents), bool)
    asked[task.relevance.rows] = True
    if supervision == "sentences":
        source = open_source(folder, qrels="test")
        free_texts = ("" if asked[i] else row.text for i, row in enumerate(source.rows()))
        texts, from_rows = drawn_sentences(free_texts, MOST_SENTENCES, seed)
        if not texts:
            return None
        vectors = _encoded(texts, work / "sentences.npy")
        pairs_of = np.stack([np.arange(len(texts)), np.array(from_rows)], axis=1)
        return limits.drawn(documents, vectors, pairs_of, asked)
    if (folder / "train_ids.txt.gz").exists():
        if supervision == "titles":
            return None  # its labels are titles
        source = open_source(folder, qrels="test")
        places = {identity: row for row, identity in enumerate(source.ids)}
        ids = [line.strip() for _, line in read_lines(folder / "train_ids.txt.gz") if line.strip()]
        rows = np.array([places[identity] for identity in ids])
        titles = {place: row.title for place, row in enumerate(source.rows())}
        rows = rows[limits.picked(len(rows))]
        texts = [titles[row] for row in rows.tolist()]
    elif supervision == "titles":
        names = [row.title for row in open_source(folder, qrels="test").rows()]
        if not any(names):
            return None
        texts, bearers = title_queries(names, len(names), seed, fewest_words=1)
        alone = [i for i, group in enumerate(bearers) if not asked[group].any()]
        texts = [texts[i] for i in alone]
        groups = [bearers[i] for i in alone]
        vectors = _encoded(texts, work / "titles.npy")
        pairs = [(q, row) for q, group in enumerate(groups) for row in group]
        return limits.drawn(documents, vectors, np.array(pairs, np.int64), asked)
    else:
        _, trained, _ = load_set(folder, "train", work)
        pairs_of = np.stack([trained.relevance.query_of, trained.relevance.rows], axis=1)
        grades = trained.relevance.gains.astype(np.float32)
        return limits.drawn(documents, trained.vectors, pairs_of, grades=grades)
    whose = "" if limits.pairs is None else f"-{limits.pairs}-{seed}"
    vectors = _encoded(texts, work / f"train_titles{whose}.npy")
    own = np.stack([np.arange(len(rows)), rows], axis=1)
    return limits.drawn(documents, vectors, own, asked)


def _encoded(texts: list[str], place: Path) -> NDArray[Any]:
    place.parent.mkdir(parents=True, exist_ok=True)
    return encode_texts(iter(texts), load_encoder("minilm"), place, kind="query").vectors
