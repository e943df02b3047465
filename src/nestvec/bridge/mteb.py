"""Any model that nestvec opens, at any layer, width and byte count, as an encoder for mteb.

    base = NestvecEncoder("minilm")
    mteb.evaluate(base.at(dims=64), mteb.get_task("SciFact"))
    mteb.evaluate(base.at(n_bytes=16), mteb.get_task("SciFact"))

With a byte count, what a collection would store is coded and decoded, and what it would be asked
is not: documents of retrieval are decoded codes and queries stay vectors; in every other task
(pairs, classes, clusters) all texts are decoded codes. Decoded codes get the length that the vector
had, as our scores have it (there it is kept in a byte, here it is exact).
"""

from __future__ import annotations

import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.nested import Codec
from nestvec.data.encoder import Encoder, TextKind, load_encoder
from nestvec.data.model_files import find_model
from nestvec.data.model_nesting import read_nesting
from nestvec.errors import MissingExtra, UserError
from nestvec.vectors import normalize

try:
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ModelMeta
    from mteb.types import PromptType
except ImportError:
    raise MissingExtra("running mteb", "mteb") from None

F32 = NDArray[np.float32]

DEFAULT_SPEC = "32xcb"
"""The codec of byte counts up to 32."""
_ENCODED_TEXTS = 4_096


class NestvecEncoder(AbsEncoder):  # type: ignore[misc]
    """An encoder of ours behind mteb's protocol.

    model: a name or folder, or an encoder that is loaded. revision: of the hub. layers: as many of
    the first layers, as `nestvec truncate` cuts them; dims: leading coordinates; n_bytes: leading
    bytes of a code of spec. codec: a fitted one for all tasks, instead of spec; by default one is
    fitted a task, on the texts that mteb hands over first: the first 50,000 documents of a corpus,
    the first texts of pairs, the training texts of classes; no label and no query is seen. A corpus
    smaller than that is thus coded by a codec that was fitted on it, as in a collection.
    Prompts are the model's own, for queries where mteb says so, else for documents; instructions of
    mteb's tasks are not used. Raises UserError where the model has not so much, or cannot be had.
    """

    def __init__(
        self,
        model: str | Encoder,
        revision: str | None = None,
        *,
        device: str | None = None,
        layers: int | None = None,
        dims: int | None = None,
        n_bytes: int | None = None,
        spec: str = DEFAULT_SPEC,
        codec: Codec | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        self._name = model if isinstance(model, str) else model.name
        self._folder: TemporaryDirectory[str] | None = None
        if not isinstance(model, str):
            if layers is not None or options:
                raise UserError(
                    "layers and other options are for a model by its name; got one that is loaded: "
                    "name it instead."
                )
            self.model = model
        elif layers is None:
            self.model = load_encoder(model, revision=revision, device=device or "auto", **options)
        else:
            # the encoder may read its weights again, so the folder stays as long as it does
            self._folder = TemporaryDirectory(prefix="nestvec-")
            place = Path(self._folder.name) / Path(model).name
            trusted = bool(options.get("trust_remote_code"))
            _truncated(model, revision, layers, trusted, place)
            self.model = load_encoder(str(place), device=device or "auto", **options)
        self._layers = layers
        self._spec = spec
        self._seed = seed
        self._codec = codec
        self._fitted: dict[tuple[str, str, int], Codec] = {}
        self._cut(dims, n_bytes)

    def at(self, *, dims: int | None = None, n_bytes: int | None = None) -> Self:
        """The same encoder at another width and byte count; weights and fitted codecs are shared.

        None: the whole width, and vectors instead of codes.
        """
        other = copy.copy(self)
        other._cut(dims, n_bytes)
        return other

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> F32:
        """Vectors (n, d) float32 of the texts of a mteb data loader, in order; see the module."""
        kind: TextKind = "query" if prompt_type == PromptType.query else "document"
        vectors = self._vectors([text for batch in inputs for text in batch["text"]], kind)
        if self._n_bytes is None or kind == "query":
            return vectors
        return self._decoded(vectors, (task_metadata.name, hf_subset, self._dims))

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Scores (n, m), higher is nearer, by the model's own metric."""
        if self.model.metric != "l2":
            return super().similarity(embeddings1, embeddings2)
        one, other = _rows(embeddings1), _rows(embeddings2)
        squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)
        return 2 * one @ other.T - squares

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Scores (n,) of rows with their like, by the model's own metric."""
        if self.model.metric != "l2":
            return super().similarity_pairwise(embeddings1, embeddings2)
        return -((_rows(embeddings1) - _rows(embeddings2)) ** 2).sum(axis=1)

    def _cut(self, dims: int | None, n_bytes: int | None) -> None:
        """Take a width and a byte count, and say so in what mteb keeps of the model."""
        full = self.model.dim
        if dims is not None and not 1 <= dims <= full:
            raise UserError(f"dims must be 1 to {full}, as the model is wide; got {dims}.")
        if self._codec is not None and self._codec.dim != (dims or full):
            raise UserError(
                f"the codec takes {self._codec.dim} dims; got {dims or full}: fit one for these."
            )
        if n_bytes is not None and n_bytes < 1:
            raise UserError(f"n_bytes must be at least 1; got {n_bytes}.")
        self._dims = dims or full
        self._n_bytes = n_bytes
        spec = self._spec if self._codec is None else self._codec.spec
        cut: dict[str, Any] = {"dims": self._dims}
        if self._layers is not None:
            cut["layers"] = self._layers
        if n_bytes is not None:
            fitted = "each task's own texts" if self._codec is None else "other texts"
            cut |= {"n_bytes": n_bytes, "spec": spec, "fitted_on": fitted, "seed": self._seed}
        self.mteb_model_meta = _meta(self.model, self._name, cut)

    def _vectors(self, texts: list[str], kind: TextKind) -> F32:
        """Vectors (n, dims), of length 1 where the metric is the cosine."""
        out = np.empty((len(texts), self._dims), np.float32)
        for at in range(0, len(texts), _ENCODED_TEXTS):
            found = self.model.encode(texts[at : at + _ENCODED_TEXTS], kind)
            if self._dims < found.shape[1]:
                found = found[:, : self._dims]
                found = normalize(found) if self.model.metric == "cosine" else found
            out[at : at + _ENCODED_TEXTS] = found
        return out

    def _decoded(self, vectors: F32, about: tuple[str, str, int]) -> F32:
        """Vectors (n, d) of the same lengths, in the directions that their cut codes say."""
        codec = self._codec or self._fitted.get(about)
        if codec is None:
            codec = Codec(self._spec, metric=self.model.metric, seed=self._seed).fit(vectors)
            self._fitted[about] = codec
        codes = codec.encode(vectors)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        decoded: F32 = normalize(codec.decode(codes, self._n_bytes)) * lengths
        return decoded


def _rows(embeddings: Any) -> F32:
    return np.atleast_2d(np.asarray(embeddings, np.float32))


def _truncated(name: str, revision: str | None, layers: int, trusted: bool, out: Path) -> None:
    """Write a model with its first layers alone to a new folder."""
    from nestvec.learn.models import save_model, truncate_model
    from nestvec.learn.sentence_model import load_model, quiet_libraries

    files = find_model(name, revision)
    nesting = None if files.downloads else read_nesting(Path(files.location))
    with quiet_libraries():
        model = load_model(name, files.location, max_tokens=None, remote_code=trusted)
        left = truncate_model(model, nesting, layers=layers, dims=None)
        save_model(model, out, left)


def _meta(encoder: Encoder, name: str, cut: dict[str, Any]) -> ModelMeta:
    """What mteb keeps of a model; every cut has results of its own."""
    said = {
        "name": name if name.count("/") == 1 else f"nestvec/{Path(name).name}",
        "revision": encoder.revision or "unknown",
        "max_tokens": encoder.max_tokens,
        "embed_dim": cut["dims"],
        "experiment_kwargs": cut,
        "modalities": ["text"],
    }
    if encoder.metric != "l2":
        said["similarity_fn_name"] = encoder.metric
    return ModelMeta.model_validate({**ModelMeta.create_empty().model_dump(), **said})
