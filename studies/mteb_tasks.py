"""Tasks of mteb over texts at hand, instead of data sets of the hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskClassification, AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata


def retrieval(
    name: str,
    documents: Sequence[Mapping[str, str]],
    queries: Sequence[Mapping[str, str]],
    qrels: Mapping[str, Mapping[str, int]],
) -> AbsTaskRetrieval:
    """Find documents ({id, title, text}) by queries ({id, text}); qrels: {query: {document: 1}}.

    Its main score is nDCG@10.
    """
    return _Retrieval(
        _metadata(name, "Retrieval", "ndcg_at_10"),
        {
            "default": {
                "test": {
                    "corpus": Dataset.from_list([dict(row) for row in documents]),
                    "queries": Dataset.from_list([dict(row) for row in queries]),
                    "relevant_docs": {key: dict(found) for key, found in qrels.items()},
                    "top_ranked": None,
                }
            }
        },
    )


def similarity(name: str, pairs: Sequence[tuple[str, str, float]]) -> AbsTaskSTS:
    """Score pairs of texts as people did, 0 to 5; its main score is Spearman's of the cosine."""
    columns = ("sentence1", "sentence2", "score")
    rows = Dataset.from_list([dict(zip(columns, pair, strict=True)) for pair in pairs])
    metadata = _metadata(name, "STS", "cosine_spearman")
    return _Similarity(metadata, DatasetDict(test=rows))


def classification(
    name: str, train: Sequence[tuple[str, int]], test: Sequence[tuple[str, int]]
) -> AbsTaskClassification:
    """Label texts after eight of each class, drawn ten times; its main score is the accuracy."""
    splits = {
        split: Dataset.from_list([{"text": text, "label": label} for text, label in rows])
        for split, rows in (("train", train), ("test", test))
    }
    metadata = _metadata(name, "Classification", "accuracy")
    return _Classification(metadata, DatasetDict(splits))


class _Loaded:
    """A task whose data are there already."""

    def __init__(self, metadata: TaskMetadata, dataset: Any) -> None:
        self.metadata = metadata
        super().__init__()
        self.dataset = dataset
        self.data_loaded = True


class _Retrieval(_Loaded, AbsTaskRetrieval):  # type: ignore[misc]
    pass


class _Similarity(_Loaded, AbsTaskSTS):  # type: ignore[misc]
    pass


class _Classification(_Loaded, AbsTaskClassification):  # type: ignore[misc]
    pass


def _metadata(name: str, kind: str, score: str) -> TaskMetadata:
    return TaskMetadata(
        name=name,
        description=f"{name} from local files.",
        dataset={"path": f"local/{name}", "revision": "local"},
        type=kind,
        category="t2t" if kind != "Classification" else "t2c",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=score,
        bibtex_citation="",
    )
