"""What turns texts into vectors: the protocol, and how one is found by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from nestvec.data.model_files import find_model
from nestvec.errors import UserError

TextKind = Literal["query", "document"]
Metric = Literal["cosine", "dot", "l2"]
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class EncodedBlock:
    """vectors: (n, d) float32, finite; truncated: how many texts were cut, None if unknown."""

    vectors: NDArray[np.float32]
    truncated: int | None


class Encoder(Protocol):
    """Texts in, vectors out; it knows its own name, width, metric and prompts."""

    @property
    def name(self) -> str:
        """What to ask for to get the same model again: a hub name, a path, or an address."""

    @property
    def revision(self) -> str:
        """The commit or the hash of the weights, "" where unknown."""

    @property
    def dim(self) -> int:
        """Width of the vectors, in coordinates."""

    @property
    def metric(self) -> Metric:
        """What the model was trained to be compared by."""

    @property
    def max_tokens(self) -> int | None:
        """Texts longer than this are cut; None where unknown or unbounded."""

    def prepare(self, sample: list[str]) -> None:
        """Looks at some documents before the first block, to settle on a number format.

        An encoder that has nothing to settle does nothing. It may be called again.
        """

    def encode(self, texts: list[str], kind: TextKind) -> NDArray[np.float32]:
        """(n, d) float32, one row a text, in order; kind says which prompt goes before each."""

    def encode_block(self, texts: list[str], kind: TextKind) -> EncodedBlock:
        """As encode, and how many of the texts were cut."""

    def describe(self) -> dict[str, object]:
        """All that decides the vectors, as JSON values: for the manifest and for resuming."""


class ImageEncoder(Encoder, Protocol):
    """An encoder that reads images, and texts where it has a text tower, into one space."""

    @property
    def reads_texts(self) -> bool:
        """Whether encode may be called."""

    @property
    def reads_images(self) -> bool:
        """Whether encode_images may be called."""

    def encode_images(self, pictures: Sequence[Any]) -> NDArray[np.float32]:
        """(n, d) float32 of pictures in RGB, as Pillow has them, in order.

        Memory: the activations of one batch, and its pictures at the size that the model reads.
        """


def reads_texts(encoder: Encoder) -> bool:
    """Whether an encoder reads texts; those that say nothing do."""
    return bool(getattr(encoder, "reads_texts", True))


def reads_images(encoder: Encoder) -> bool:
    """Whether an encoder reads images; those that say nothing do not."""
    return bool(getattr(encoder, "reads_images", False))


def image_encoder(encoder: Encoder) -> ImageEncoder:
    """The same encoder, as one of images; raises UserError where it reads none."""
    if not reads_images(encoder):
        raise no_images(encoder.name)
    return cast(ImageEncoder, encoder)


def no_images(model: str) -> UserError:
    """What is said of a model that reads no images."""
    return UserError(
        f"images need a model that reads images, and {model} reads texts alone: name one with "
        "--model, such as clip-ViT-B-32 of the hub, or a folder."
    )


def load_encoder(
    name: str,
    *,
    revision: str | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    width: int | None = None,
    layer_norm: bool | None = None,
    trust_remote_code: bool = False,
    device: str = "auto",
) -> Encoder:
    """The sentence-transformers model of that name or path; "minilm" for all-MiniLM-L6-v2.

    revision: commit of the hub, the newest where None. query_prompt, document_prompt: what goes
    before each text, from the model's own configuration where None.
    width: leading coordinates to keep, the model's own choice where None; layer_norm: whether a
    layer norm without weights comes before the cut, as the nomic models want it (None: they only).
    device: auto, cpu, cuda or mps. trust_remote_code runs code that comes with the model.
    Raises UserError where the model cannot be had, before anything heavy is imported, and
    MissingExtra where sentence-transformers is not installed.
    """
    if device not in DEVICES:
        raise UserError(f"device must be one of {', '.join(DEVICES)}, got {device!r}.")
    if width is not None and width < 1:
        raise UserError(f"width must be 1 or more, got {width}.")
    files = find_model(name, revision)
    from nestvec.data.encoder_sentence_transformers import load_sentence_transformer

    return load_sentence_transformer(
        files,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        width=width,
        layer_norm=layer_norm,
        trust_remote_code=trust_remote_code,
        device=device,
    )
