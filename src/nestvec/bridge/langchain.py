"""A collection as a LangChain vector store, and any of our encoders as LangChain embeddings.

A new store keeps vectors as float16 and codes nothing: a codec has to be fitted, and the first
texts are too few. `NestvecStore.fit` does it once there are enough.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nestvec.bridge.growing import (
    begin,
    equal_to,
    fit_codec,
    mapped_vectors,
    positions_of,
    remove,
)
from nestvec.data.encoder import Encoder, Metric
from nestvec.data.rows import Row
from nestvec.errors import MissingExtra, UserError
from nestvec.index.collection import Collection
from nestvec.index.snapshot import Snapshot

try:
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import VectorStore
    from langchain_core.vectorstores.utils import maximal_marginal_relevance
except ImportError:
    raise MissingExtra("a LangChain vector store", "langchain") from None

METADATA = "metadata_json"
"""The column that holds a document's whole metadata."""
_OWN = {"id", "text", "title", METADATA}


class NestvecEmbeddings(Embeddings):  # type: ignore[misc]
    """An encoder of ours (load_encoder, or nv.open(DIR).encoder) as LangChain embeddings."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text, with the model's prompt for documents."""
        found: list[list[float]] = self.encoder.encode(list(texts), "document").tolist()
        return found

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question, with the model's prompt for queries."""
        found: list[float] = self.encoder.encode([text], "query")[0].tolist()
        return found


class NestvecStore(VectorStore):  # type: ignore[misc]
    """Documents in a collection on disk, found by their vectors.

    path: of the collection, which need not be there yet: the first documents make it. embedding:
    what turns texts into vectors, always the same for one collection. metric: of a new collection.
    columns: keys of metadata that a new collection keeps as columns, too, so that `filter` can
    name them. plan: of every search that names none, the collection's own where None.
    Calls of one store wait for each other, but for embedding. Raises UserError where something else
    is at path, or the plan does not fit.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        embedding: Embeddings,
        *,
        metric: Metric = "cosine",
        columns: Sequence[str] = (),
        plan: str | None = None,
    ) -> None:
        self.path = Path(path)
        self._embedding = embedding
        self._metric = metric
        self._columns = tuple(columns)
        self._plan = plan
        self._lock = RLock()
        self._collection: Collection | None = None
        self.reload()
        if plan is not None and self._collection is not None:
            self._collection.checked_plan(plan)

    @property
    def embeddings(self) -> Embeddings:
        """What turns texts into vectors."""
        return self._embedding

    @property
    def collection(self) -> Collection | None:
        """The collection as this store sees it; None while there are no documents."""
        return self._collection

    def reload(self) -> None:
        """See what other processes changed since; add_texts and delete do this first."""
        with self._lock:
            self._collection = Collection.open(self.path) if self.path.exists() else None

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **options: Any,
    ) -> Self:
        """A store at options["path"] with these texts added; the others are the constructor's.

        Raises UserError without a path.
        """
        if "path" not in options:
            raise UserError("a store lies in a folder: say which one with path='notes.nv'.")
        store = cls(options.pop("path"), embedding, **options)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int | None = None,
    ) -> list[str]:
        """Add texts in one commit, and give their ids; rows of the same ids are replaced.

        ids: made where there are none. batch_size: texts that are embedded at a time, all where
        None. Raises UserError, and adds nothing, where there are not as
        many of each, an id comes twice, metadata is no JSON, or vectors do not fit.
        """
        bodies = list(texts)
        metadata = [{} for _ in bodies] if metadatas is None else metadatas
        names = [None] * len(bodies) if ids is None else list(ids)
        if not len(bodies) == len(metadata) == len(names):
            raise UserError(
                "every text needs one metadata and one id, where they are given; got "
                f"{len(bodies)} texts, {len(metadata)} metadata and {len(names)} ids."
            )
        if not bodies:
            return []
        self.reload()
        named = [name or str(uuid.uuid4()) for name in names]
        rows = [self._row(*each) for each in zip(named, bodies, metadata, strict=True)]
        vectors = self._vectors(rows, batch_size or len(rows))
        with self._lock:
            self.reload()
            if self._collection is None:
                own = self._embedding
                encoder = own.encoder if isinstance(own, NestvecEmbeddings) else None
                self._collection = begin(self.path, rows, vectors, self._metric, encoder)
            else:
                self._collection = self._collection.add(rows, vectors, replacing=True)
        return named

    def delete(self, ids: list[str] | None = None) -> bool:
        """Delete documents by their ids, all where None; ids that are not there are passed over.

        With the last document its folder goes, older versions and the fitted codec with it.
        """
        with self._lock:
            self.reload()
            if self._collection is None:
                return True
            rows = self._collection.positions()
            if ids is not None:
                rows = positions_of(self._collection, ids)
            if len(rows) == self._collection.count:
                remove(self.path)
                self._collection = None
            elif len(rows):
                there = self._collection.rows(rows, ("id",))["id"]
                self._collection = self._collection.delete(there)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents of these ids, in the order of the rows; others are passed over."""
        with self._lock:
            if self._collection is None:
                return []
            return _documents(self._collection, positions_of(self._collection, ids))

    def similarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """The k documents nearest to a text, the nearest first.

        options: filter, a SQL predicate on the columns, or {column: value} where all must be equal;
        plan, the store's where None. Raises UserError where they do not fit the collection.
        """
        return [found for found, _ in self.similarity_search_with_score(query, k, **options)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        """As similarity_search, with scores: higher is better, the cosine where that is the metric.

        Of a code that is cut the score is its estimate.
        """
        if self._collection is None:
            return []
        vector = self._embedding.embed_query(query)
        return self.similarity_search_with_score_by_vector(vector, k, **options)

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, **options: Any
    ) -> list[Document]:
        """As similarity_search, by the vector of a question."""
        pairs = self.similarity_search_with_score_by_vector(embedding, k, **options)
        return [found for found, _ in pairs]

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        """As similarity_search_with_score, by the vector of a question."""
        with self._lock:
            if self._collection is None:
                return []
            rows, scores = self._ranked(self._collection, embedding, k, **options)
            found = _documents(self._collection, rows)
        return list(zip(found, scores.tolist(), strict=True))

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **options: Any,
    ) -> list[Document]:
        """k of the fetch_k documents nearest to a text, each unlike those before it.

        lambda_mult: 1 for the nearest, 0 for the most unlike. options: as of similarity_search.
        Vectors are compared as they are stored, or decoded where only codes are. Carbonell and
        Goldstein 1998, as LangChain has it.
        """
        if self._collection is None:
            return []
        vector = self._embedding.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(
            vector, k, fetch_k, lambda_mult, **options
        )

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **options: Any,
    ) -> list[Document]:
        """As max_marginal_relevance_search, by the vector of a question."""
        with self._lock:
            if self._collection is None:
                return []
            rows, _ = self._ranked(self._collection, embedding, fetch_k, **options)
            asked = self._collection.map_queries(np.asarray([embedding], np.float32))
            vectors = mapped_vectors(self._collection, rows)
            picks = maximal_marginal_relevance(asked[0], list(vectors), lambda_mult, k)
            return _documents(self._collection, rows[picks])

    def fit(self, spec: str = "32xcb", plan: str | None = None, *, seed: int = 0) -> Collection:
        """Fit a codec on the documents as they are, and write the collection anew with its codes.

        plan and what else happens: see growing.fit_codec. Documents that are added later are coded
        by the same codec. Raises UserError where there are no documents, the codec is fitted
        already, or spec or plan do not fit.
        """
        with self._lock:
            if self._collection is None:
                raise UserError("a codec is fitted on documents; this store has none: add some.")
            self._collection = fit_codec(self.path, spec, plan, seed=seed)
            return self._collection

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """The cosine, within 0 and 1, as LangChain's thresholds want it."""
        if self._collection is not None and self._collection.codec.metric != "cosine":
            raise UserError(
                f"scores of the metric {self._collection.codec.metric} have no scale from 0 to 1: "
                "take similarity_search_with_score."
            )
        return lambda score: min(max(score, 0.0), 1.0)

    def _ranked(
        self,
        collection: Collection,
        embedding: list[float],
        k: int,
        *,
        filter: str | Mapping[str, Any] | None = None,
        plan: str | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Positions and scores of the k nearest rows."""
        where = equal_to(filter) if isinstance(filter, Mapping) else filter
        asked = np.asarray([embedding], np.float32)
        ranking = collection.rank(asked, plan or self._plan, k, where=where)[0]
        return ranking.rows, ranking.scores

    def _row(self, name: str, text: str, metadata: Mapping[str, Any]) -> Row:
        """A document as a row of the collection."""
        columns = self._columns
        if self._collection is not None:
            columns = tuple(c for c in self._collection.columns if c not in _OWN)
        title = metadata.get("title")
        own = {key: metadata[key] for key in columns if metadata.get(key) is not None}
        if self._collection is None or METADATA in self._collection.columns:
            own[METADATA] = _as_json(metadata)
        else:
            own = {key: value for key, value in metadata.items() if key != "title"}
        return Row(name, text, title if isinstance(title, str) else "", own)

    def _vectors(self, rows: Sequence[Row], batch: int) -> NDArray[np.float32]:
        """Vectors (n, d) of what of each row the collection's vectors are of."""
        described = {} if self._collection is None else self._collection.manifest.encoder
        titled = described.get("documents") == "title and text"
        texts = [row.titled_text if titled else row.text for row in rows]
        found: list[list[float]] = []
        for at in range(0, len(texts), batch):
            found += self._embedding.embed_documents(texts[at : at + batch])
        return np.asarray(found, np.float32)


def _documents(collection: Snapshot, rows: NDArray[np.int64]) -> list[Document]:
    """The documents at some positions, in their order."""
    names = collection.columns
    found = collection.rows(rows, names)
    documents = []
    for values in zip(*(found[name] for name in names), strict=True):
        row = dict(zip(names, values, strict=True))
        if METADATA in row:
            metadata = json.loads(row[METADATA])
        else:
            metadata = {key: row[key] for key in names if key not in _OWN and row[key] is not None}
            metadata |= {"title": row["title"]} if row["title"] else {}
        documents.append(Document(id=row["id"], page_content=row["text"], metadata=metadata))
    return documents


def _as_json(metadata: Mapping[str, Any]) -> str:
    try:
        return json.dumps(metadata, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"metadata is kept as JSON, and {dict(metadata)!r:.80} is none ({error}): give texts, "
            "numbers, truth values, lists and objects."
        ) from None
