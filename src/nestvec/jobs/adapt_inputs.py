"""What an adapter is trained from: a file of vectors, one of queries, and pairs between them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.data.model_files import find_model
from nestvec.data.model_nesting import read_width
from nestvec.data.qrels import read_qrels
from nestvec.errors import UserError
from nestvec.jobs.checks import check_free
from nestvec.jobs.settings import ADAPTERS, NEED_PAIRS, AdaptSettings
from nestvec.vectors import load_vectors


@dataclass(frozen=True, eq=False)
class Inputs:
    """Vectors with ids, and pairs as rows; pairs, queries and grades None without labels."""

    documents: NDArray[Any]
    ids: list[str]
    queries: NDArray[Any] | None
    query_ids: list[str]
    pairs: NDArray[np.int64] | None
    grades: NDArray[np.float32] | None

    def grade_of(self) -> dict[tuple[int, int], float]:
        """{(query row, document row): grade}."""
        if self.pairs is None or self.grades is None:
            return {}
        rows = map(tuple, self.pairs.tolist())
        return dict(zip(rows, self.grades.tolist(), strict=True))


def check_adapt(
    vectors: str | os.PathLike[str], out: str | os.PathLike[str], settings: AdaptSettings
) -> tuple[Path, Inputs]:
    """The folder to write, and what was read; imports no torch.

    Raises UserError for places, files and options that cannot be used.
    """
    place = Path(out)
    check_free(place)
    if settings.method not in ADAPTERS:
        raise UserError(
            f"an adapter is one of {', '.join(ADAPTERS)}; got {settings.method!r}. Choose one."
        )
    if settings.method in NEED_PAIRS and settings.pairs is None:
        raise UserError(
            f"{settings.method} learns from pairs of query and document; got none. Give --pairs."
        )
    if settings.queries is not None and settings.pairs is None:
        raise UserError(
            f"queries are of use with pairs alone; got {settings.queries}. Give --pairs, too."
        )
    inputs = read_inputs(vectors, settings)
    if settings.model is not None:
        _check_model(settings.model, inputs.documents.shape[1])
    return place, inputs


def _check_model(name: str, dim: int) -> None:
    """Raise UserError where the encoder is not to be had, or gives other vectors than these."""
    files = find_model(name)
    width = None if files.downloads else read_width(Path(files.location))
    if width not in (None, dim):
        raise UserError(
            f"an adapter goes behind the model whose vectors it is trained on; got vectors of "
            f"{dim} dimensions and {name}, of {width}. Name that model."
        )


def read_inputs(vectors: str | os.PathLike[str], settings: AdaptSettings) -> Inputs:
    """Read it all. Raises UserError where files do not fit together."""
    found = load_vectors(vectors)
    dim = found.vectors.shape[1]
    above = [width for width in settings.widths or () if width > dim]
    if above:
        raise UserError(
            f"an adapter's widths go up to the vectors' own, {dim}; got "
            f"{', '.join(map(str, above))}. Leave them out."
        )
    if settings.pairs is None:
        return Inputs(found.vectors, found.ids, None, [], None, None)
    queries, query_ids = found.queries, []
    if settings.queries is not None:
        asked = load_vectors(settings.queries)
        queries, query_ids = asked.vectors, asked.ids
    elif queries is not None:
        query_ids = [str(row) for row in range(len(queries))]
    if queries is None:
        raise UserError(
            f"pairs name queries, and {vectors} has none: give their vectors with --queries."
        )
    if queries.shape[1] != dim:
        raise UserError(
            f"queries are as wide as the vectors, {dim}; got {queries.shape[1]}. Encode both with "
            "one model."
        )
    rows = {identity: row for row, identity in enumerate(found.ids)}
    places = {identity: row for row, identity in enumerate(query_ids)}
    pairs, grades = [], []
    path = Path(settings.pairs)
    for query, judged in read_qrels(path).items():
        for document, grade in judged.items():
            if document not in rows or query not in places:
                unknown, kind = (
                    (document, "vectors") if document not in rows else (query, "queries")
                )
                raise UserError(
                    f"pairs may name only ids of the {kind}; {path} names {unknown!r}. Drop that "
                    "line, or give the row that it names."
                )
            if grade > 0:
                pairs.append((places[query], rows[document]))
                grades.append(grade)
    if not pairs:
        raise UserError(f"{path} holds no pair with a score above 0: give one at least.")
    return Inputs(
        found.vectors,
        found.ids,
        queries,
        query_ids,
        np.array(pairs, np.int64),
        np.array(grades, np.float32),
    )
