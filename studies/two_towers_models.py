"""What the study of two towers looks at: pictures with captions, and what is trained on them.

The image tower is a small ResNet trained here on Tiny ImageNet's classes; captions are read by
all-MiniLM-L6-v2 as it is. On top of each a linear map into a space that both share.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from studies.trained import F32, encoded, trained
from torch import Tensor, nn

from nestvec import tables
from nestvec.cli.bars import bars
from nestvec.data.images import Images, open_images
from nestvec.learn.losses.lean import nested_info_nce
from nestvec.learn.models import load_heads
from nestvec.learn.pixels import disturbed, encode_pictures, pixels_for
from nestvec.learn.recipe_tables import ImagesTable
from nestvec.learn.sentence_model import load_model
from nestvec.nesting import Nesting
from nestvec.vectors import normalize

I64 = NDArray[np.int64]
TOWER_WIDTHS = (8, 16, 32, 64, 128, 256)
SIZE = 32
VECTORS = "sentence_embedding"


@dataclass(frozen=True, eq=False)
class Captioned:
    """Pictures with captions.

    images: one a row; texts: (t,) captions; image_of: (t,) the picture of each, rising; fitted,
    asked: places of pictures to train on and of those held out.
    """

    images: Images
    texts: list[str]
    image_of: I64
    fitted: I64
    asked: I64


def captioned(data: Path) -> Captioned:
    """The pictures and captions of the set image_text, by its own split."""
    place = data / "image_text" / "pairs.parquet"
    names: list[str] = []
    texts: list[str] = []
    splits: list[str] = []
    for batch in tables.read_batches(place, ["name", "text", "split"]):
        names += batch["name"]
        texts += batch["text"]
        splits += batch["split"]
    _, first, image_of = np.unique(names, return_index=True, return_inverse=True)
    trained_on = np.array(splits)[first] == "train"
    return Captioned(
        open_images(place).take(first),
        texts,
        image_of.astype(np.int64),
        np.flatnonzero(trained_on),
        np.flatnonzero(~trained_on),
    )


def tower_recipe(data: Path, seed: int = 0) -> dict[str, Any]:
    """The image tower: a small ResNet with a head a width over Tiny ImageNet's 200 classes."""
    return {
        "model": {"name": "resnet-small"},
        "data": {"train": str(data / "tiny_imagenet32" / "train.parquet")},
        "nesting": {"widths": list(TOWER_WIDTHS)},
        "loss": {"kind": "cross_entropy", "head": "separate", "smoothing": 0.1},
        "images": {"size": SIZE, "crop": 2, "flip": True},
        "train": {
            "epochs": 6,
            "batch": 128,
            "learning_rate": 5e-3,
            "weight_decay": 0.05,
            "seed": seed,
            "save_every": 500,
            "log_every": 10**6,
        },
    }


def tower(data: Path, work: Path) -> Path:
    """The folder of the image tower, trained where it is not there yet."""
    return trained("tower", tower_recipe(data), work)


def image_vectors(folder: Path, pictures: Images, size: int, place: Path) -> F32:
    """Vectors (n, 256) of pictures of so many pixels a side by the image tower, kept in place."""
    if not place.exists():
        model = loaded(folder)
        pixels = pixels_for(model, pictures, size, bars())
        place.parent.mkdir(parents=True, exist_ok=True)
        np.save(place, encode_pictures(model, pixels, np.arange(len(pictures)), progress=bars()))
    return np.asarray(np.load(place), np.float32)


def text_vectors(texts: Sequence[str], work: Path) -> F32:
    """Vectors (t, 384) of captions by all-MiniLM-L6-v2."""
    return encoded("minilm", texts, "captions", work, "query")


def loaded(folder: Path) -> Any:
    """The sentence-transformers model in a folder."""
    return load_model(folder.name, str(folder), max_tokens=None, remote_code=False)


@dataclass(frozen=True)
class Fit:
    """How maps into a shared space are trained: AdamW, its rate falling as a cosine does.

    widths: at which both sides are cut in the loss, the last one the space's. batch: of pictures,
    each with one of its captions, drawn anew in every epoch. Passes and rate were chosen, of six
    pairs, on 140 of the training pictures.
    """

    widths: tuple[int, ...]
    temperature: float = 0.05
    epochs: int = 20
    batch: int = 128
    rate: float = 1e-3
    decay: float = 0.1
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Space:
    """What brings pictures and captions into one space: vectors of both, or pictures' pixels."""

    image: nn.Module
    text: nn.Module

    def images(self, given: Tensor | F32) -> F32:
        """(n, d) unit rows of image vectors, or of pixels where a network was trained along."""
        return _mapped(self.image, given)

    def texts(self, vectors: F32) -> F32:
        """(t, d) unit rows of text vectors."""
        return _mapped(self.text, vectors)


class Shifted(nn.Module):
    """x -> W (x - mean) / spread, the mean and the spread those of the training rows."""

    def __init__(self, rows: F32, dim: int) -> None:
        super().__init__()
        centre = rows.mean(axis=0)
        self.centre: Tensor
        self.register_buffer("centre", torch.from_numpy(centre))
        self.spread = float(np.linalg.norm(rows - centre, axis=1).mean())
        self.linear = nn.Linear(rows.shape[1], dim, bias=False)

    def forward(self, rows: Tensor) -> Tensor:
        """(n, dim) of rows (n, width)."""
        found: Tensor = self.linear((rows - self.centre) / self.spread)
        return found


class Network(nn.Module):
    """The image tower itself, from pixels (n, 3, size, size) to vectors (n, 256).

    While it is trained, pictures are mirrored and shifted as they were for their classes.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__()
        self.model = loaded(folder)
        self._table = ImagesTable(size=SIZE, crop=2, flip=True)
        self._generator = torch.Generator().manual_seed(seed)

    def forward(self, values: Tensor) -> Tensor:
        """Vectors of pictures."""
        if self.training:
            values = disturbed(values, self._table, self._generator)
        found: Tensor = self.model({"pixel_values": values, "modality": "image"})[VECTORS]
        return found


def trained_space(
    space: Space,
    images: Tensor | F32,
    texts: F32,
    image_of: I64,
    fit: Fit,
) -> Space:
    """The same modules, trained by InfoNCE in both directions at every width, both sides cut.

    images: (n, p), or pixels where the image module reads them; texts: (t, q); image_of: (t,) the
    row of images of each, rising, so that each image has some.
    """
    inputs = torch.as_tensor(images)
    both = nn.ModuleList([space.image, space.text]).train()
    rng = np.random.default_rng(fit.seed)
    first, counts = (each.astype(np.int64) for each in first_and_counts(image_of))
    steps = -(-len(inputs) // fit.batch)
    optimizer = torch.optim.AdamW(both.parameters(), lr=fit.rate, weight_decay=fit.decay)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps * fit.epochs)
    captions = torch.from_numpy(texts)
    for _ in range(fit.epochs):
        for rows in np.array_split(rng.permutation(len(inputs)), steps):
            drawn = first[rows] + (rng.random(len(rows)) * counts[rows]).astype(np.int64)
            loss = nested_info_nce(
                space.image(inputs[rows]),
                space.text(captions[drawn]),
                Nesting(fit.widths),
                temperatures=(fit.temperature,),
                both_directions=True,
            )
            optimizer.zero_grad(set_to_none=True)
            loss.total.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            falling.step()
    both.eval()
    return space


def first_and_counts(image_of: I64) -> tuple[I64, I64]:
    """Where each image's texts begin, and how many there are: (n,) each; image_of rises."""
    _, first, counts = np.unique(image_of, return_index=True, return_counts=True)
    return first, counts


def _mapped(module: nn.Module, given: Tensor | F32) -> F32:
    with torch.no_grad():
        blocks = torch.split(torch.as_tensor(given), 256)
        parts = [module(block).numpy() for block in blocks]
    return normalize(np.concatenate(parts))


def text_part(owner: I64, rows: I64) -> tuple[I64, I64]:
    """Texts (t,) of some images, rising, and the place among rows of the image of each."""
    texts = np.flatnonzero(np.isin(owner, rows))
    return texts, np.searchsorted(rows, owner[texts])


def tower_accuracy(folder: Path, data: Path, work: Path) -> dict[str, float]:
    """Share of Tiny ImageNet's test pictures whose class the tower's heads tell, by width."""
    place = work / "tower.json"
    if not place.exists():
        pictures = open_images(data / "tiny_imagenet32" / "test.parquet")
        vectors = image_vectors(folder, pictures, SIZE, work / "tiny_imagenet32.npy")
        heads, _, labels = load_heads(folder)
        assert pictures.labels is not None
        truth = np.array(pictures.classes)[pictures.labels]
        with torch.no_grad():
            logits = heads[None](torch.from_numpy(vectors))
        found = {
            str(width): float((np.array(labels)[z.argmax(1).numpy()] == truth).mean())
            for width, z in logits.items()
        }
        place.write_text(json.dumps(found))
    return dict(json.loads(place.read_text()))
