"""A collection with its encoder: a text or an image in, hits out."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nestvec.data.records import is_whole
from nestvec.errors import UserError
from nestvec.index.plan import Plan
from nestvec.index.search import StageReport
from nestvec.index.snapshot import Hit, Result, Snapshot, open_version
from nestvec.jobs.encoders import encoder_of

if TYPE_CHECKING:
    from nestvec.data.encoder import Encoder


@dataclass(frozen=True)
class Answer:
    """What one question found, best first, and what each stage of the plan did for it."""

    question: str
    hits: tuple[Hit, ...]
    stages: tuple[StageReport, ...]

    def to_json(self) -> dict[str, Any]:
        """hits: [{id, score, text, title}], stages: [{stage, bytes, scanned, kept, ms, share}]."""
        hits = [
            {"id": hit.id, "score": hit.score, "text": hit.text, "title": hit.title}
            for hit in self.hits
        ]
        return {"hits": hits, "stages": [asdict(stage) for stage in self.stages]}


class Opened:
    """A collection, open for questions; the model is loaded with the first text.

    collection: the rows, codes and plan, searchable by vectors.
    """

    def __init__(
        self, collection: Snapshot, *, trust_remote_code: bool, api: str | None, device: str
    ) -> None:
        self.collection = collection
        self._trust_remote_code = trust_remote_code
        self._api = api
        self._device = device

    @property
    def count(self) -> int:
        """The number of rows."""
        return self.collection.count

    @property
    def dim(self) -> int:
        """The number of coordinates of a vector."""
        return self.collection.dim

    @property
    def plan(self) -> Plan:
        """The plan of a search that names none."""
        return self.collection.plan

    def check(self, plan: Plan | str | None = None, k: int | None = None) -> Plan:
        """The plan that a search would run; raises UserError where it does not fit."""
        return self.collection.checked_plan(plan, k)

    def search(
        self,
        question: str,
        k: int | None = None,
        plan: Plan | str | None = None,
        where: str | None = None,
    ) -> Answer:
        """The hits of a text.

        k: how many, the plan's last count where None; plan: the collection's where None. where: a
        SQL predicate on the rows' columns that hits must match.
        Raises UserError where the collection was built from vectors, or plan, k or where do not
        fit.
        """
        checked = self.check(plan, k)
        if not isinstance(question, str) or not question.strip():
            raise UserError("a question must hold a word; got an empty text.")
        if not is_whole(question):
            raise UserError(f"a question is text in UTF-8; got {question!r}; type it again.")
        vectors = self.text_encoder.encode([question], "query")
        return _answer(question, self.collection.search(vectors, checked, where=where)[0])

    def search_image(
        self,
        path: str | os.PathLike[str],
        k: int | None = None,
        plan: Plan | str | None = None,
        where: str | None = None,
    ) -> Answer:
        """The hits of an image file; k, plan and where as for search.

        Raises UserError where the file is no image, or the collection's model reads none.
        """
        from nestvec.data.encoder import image_encoder, reads_images
        from nestvec.data.images import open_image

        checked = self.check(plan, k)
        picture = open_image(Path(path))
        if not self.collection.manifest.encoder.get("settings"):
            raise _without_model(self.collection.path, "an image")
        if not reads_images(self.encoder):
            raise UserError(
                f"the model {self.encoder.name} reads texts alone, so {self.collection.path} "
                "cannot be asked by a picture: ask it by a text, or build it with a model that "
                "reads both."
            )
        vectors = image_encoder(self.encoder).encode_images([picture])
        found = self.collection.search(vectors, checked, where=where)[0]
        return _answer(os.fspath(path), found)

    def search_vectors(
        self,
        vectors: NDArray[Any],
        k: int | None = None,
        plan: Plan | str | None = None,
        where: str | None = None,
    ) -> list[Answer]:
        """The hits of query vectors (q, d), or of one vector (d,)."""
        rows = vectors[None] if vectors.ndim == 1 else vectors
        found = self.collection.search(rows, plan, k, where=where)
        return [_answer("", each) for each in found]

    def search_file(
        self,
        path: str | os.PathLike[str],
        k: int | None = None,
        plan: Plan | str | None = None,
        where: str | None = None,
    ) -> list[Answer]:
        """The hits of every vector of a file; a .npy file may hold one flat vector."""
        if Path(path).suffix == ".npy" and Path(path).is_file():
            try:
                found = np.load(path, allow_pickle=False)
            except (ValueError, OSError, EOFError):
                found = None
            if found is not None and found.ndim == 1:
                return self.search_vectors(found, k, plan, where)
        from nestvec.vectors import load_vectors

        return self.search_vectors(load_vectors(path).vectors, k, plan, where)

    @property
    def text_encoder(self) -> Encoder:
        """The same, where it reads texts; raises UserError where it reads images alone."""
        from nestvec.data.encoder import reads_texts

        if not reads_texts(self.encoder):
            raise UserError(
                f"the model {self.encoder.name} reads images alone, so {self.collection.path} "
                "cannot be asked by a text: ask it by a picture (--image FILE), or build it with a "
                "model that reads both."
            )
        return self.encoder

    @cached_property
    def encoder(self) -> Encoder:
        """The model that the collection was built with, loaded.

        Raises UserError where it was built from vectors, or the model cannot be had.
        """
        kept = self.collection.manifest.encoder.get("settings")
        if not kept:
            raise _without_model(self.collection.path, "a text")
        return encoder_of(
            kept,
            trust_remote_code=self._trust_remote_code,
            api=self._api,
            device=self._device,
        )


def open_collection(
    path: str | os.PathLike[str],
    *,
    version: int | str | None = None,
    trust_remote_code: bool = False,
    api: str | None = None,
    device: str = "auto",
    on: str | None = None,
) -> Opened:
    """The collection at path, ready for questions; no model is loaded yet.

    version: its number or tag, the newest where None. trust_remote_code: let the model's
    repository run its own code, if it has any. api: the server that questions may be sent to,
    where the vectors came from one. on: "ray" or "ray://host:port", to have the machines of a Ray
    cluster, which must all see path, rank the rows; the answers are those of one machine.
    Raises UserError where there is no collection or no such version, or it is damaged.
    """
    place = Path(path)
    if on is not None:
        # Ray takes seconds to load, and few searches are of many machines
        from nestvec.bridge.ray import open_dealt

        dealt = open_dealt(place, on, version)
        return Opened(dealt, trust_remote_code=trust_remote_code, api=api, device=device)
    collection = Snapshot.open(place) if version is None else open_version(place, version)
    return Opened(collection, trust_remote_code=trust_remote_code, api=api, device=device)


def _without_model(path: Path, asked: str) -> UserError:
    return UserError(
        f"{asked} needs a model, and {path} was built from vectors: search it by vectors of the "
        "same model (--vector FILE)."
    )


def _answer(question: str, result: Result) -> Answer:
    return Answer(question, result.hits, result.stages)
