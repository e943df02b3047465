"""Two towers by several trainings, and a frozen image space that other texts are mapped into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from studies.trained import F32
from studies.two_towers_models import (
    I64,
    SIZE,
    Captioned,
    Fit,
    Network,
    Shifted,
    Space,
    loaded,
    text_part,
    trained_space,
)
from studies.two_towers_values import Values, at_widths, recall
from torch import Tensor, nn

from nestvec.adapters.adapter import Adapter
from nestvec.learn.adapters.examples import Examples
from nestvec.learn.adapters.methods import AdapterSettings, fit_adapter
from nestvec.learn.adapters.settings import Training
from nestvec.learn.adapters.spectrum import principal_axes
from nestvec.learn.pixels import pixels_for
from nestvec.vectors import normalize, prefix

Reader = Callable[[F32], F32]

WIDTHS = (8, 16, 32, 64, 128)
DIM = WIDTHS[-1]
TEXT_WIDTHS = (16, 32, 64, 128, 256, 384)


@dataclass(frozen=True, eq=False)
class Side:
    """Some pictures and their captions: vectors (n, p) and (t, q), and the picture of each."""

    images: F32
    texts: F32
    owner: I64


@dataclass(frozen=True, eq=False)
class Material:
    """Vectors of all pictures and captions, and the folder of the image tower."""

    photos: Captioned
    images: F32
    texts: F32
    folder: Path

    def side(self, rows: I64) -> Side:
        """Pictures at some places, rising."""
        texts, owner = text_part(self.photos.image_of, rows)
        return Side(self.images[rows], self.texts[texts], owner)

    @cached_property
    def fitted(self) -> Side:
        """What is trained on."""
        return self.side(self.photos.fitted)

    @cached_property
    def asked(self) -> Side:
        """What is held out."""
        return self.side(self.photos.asked)


def frozen_space(side: Side, fit: Fit) -> Space:
    """Linear maps over both frozen towers."""
    torch.manual_seed(fit.seed)
    dim = fit.widths[-1]
    space = Space(Shifted(side.images, dim), Shifted(side.texts, dim))
    return trained_space(space, side.images, side.texts, side.owner, fit)


def nested(material: Material, fit: Fit) -> Values:
    """Cut at every width in training and after, or after only where fit has one width."""
    space, asked = frozen_space(material.fitted, fit), material.asked
    widths = [width for width in WIDTHS if width <= fit.widths[-1]]
    return at_widths(space.images(asked.images), space.texts(asked.texts), asked.owner, widths)


def fixed(material: Material, fit: Fit) -> Values:
    """A pair of maps for each width, trained at it alone (FF)."""
    found: Values = {}
    for width in WIDTHS:
        one = nested(material, replace(fit, widths=(width,)))
        found |= {name: each for name, each in one.items() if name.endswith(f"@{width}")}
    return found


def by_svd(material: Material, fit: Fit) -> Values:
    """The plain space turned to the principal axes of the pictures and captions trained on."""
    fitted, asked = material.fitted, material.asked
    space = frozen_space(fitted, replace(fit, widths=(DIM,)))
    axes = principal_axes(
        np.concatenate([space.images(fitted.images), space.texts(fitted.texts)]), fit.seed
    )
    turned = space.images(asked.images) @ axes, space.texts(asked.texts) @ axes
    return at_widths(*turned, asked.owner, WIDTHS)


def trained_along(material: Material, fit: Fit) -> Values:
    """The image tower itself trained along, from its weights of Tiny ImageNet."""
    fitted, asked = material.fitted, material.asked
    torch.manual_seed(fit.seed)
    network = Network(material.folder, fit.seed)
    image = nn.Sequential(network, Shifted(fitted.images, DIM))
    space = Space(image, Shifted(fitted.texts, DIM))
    space = trained_space(
        space, pixel_values(material, material.photos.fitted), fitted.texts, fitted.owner, fit
    )
    seen = space.images(pixel_values(material, material.photos.asked))
    return at_widths(seen, space.texts(asked.texts), asked.owner, WIDTHS)


def pixel_values(material: Material, rows: I64) -> Tensor:
    """Pixels (n, 3, size, size) of pictures as the image tower takes them."""
    pixels = pixels_for(loaded(material.folder), material.photos.images, SIZE)
    found: Tensor = pixels(rows)["pixel_values"]
    return found


def replaced_text(material: Material, cut: str, seed: int, fit: Fit) -> Values:
    """Recall of captions cut to each of TEXT_WIDTHS and mapped into the image tower's own space.

    cut: "prefix", "SVD", or "nested", a linear adapter trained on captions of one picture as
    pairs. The image vectors stay as they are, less their mean over the pictures trained on. Where
    cut ends in ", ridge", the map is least squares with a penalty in place of InfoNCE.
    """
    fitted, asked = material.fitted, material.asked
    centre = fitted.images.mean(axis=0)
    known, seen = (normalize(side.images - centre) for side in (fitted, asked))
    read = text_axes(fitted, cut.removesuffix(", ridge"), seed)
    found: Values = {}
    for width in TEXT_WIDTHS:
        texts, queries = (prefix(read(side.texts), width) for side in (fitted, asked))
        if cut.endswith("ridge"):
            mapped = normalize(ridge(texts, known[fitted.owner], queries))
        else:
            torch.manual_seed(seed)
            space = Space(nn.Identity(), Shifted(texts, known.shape[1]))
            own = replace(fit, widths=(known.shape[1],), seed=seed)
            mapped = trained_space(space, known, texts, fitted.owner, own).texts(queries)
        for direction, each in recall(seen, mapped, asked.owner).items():
            found[f"{direction}@{width}"] = each
    return found


def text_axes(side: Side, cut: str, seed: int) -> Reader:
    """Turns vectors (t, 384) so that leading coordinates matter: as a cut has it."""
    if cut == "prefix":
        return lambda x: x
    if cut == "SVD":
        axes = principal_axes(side.texts, seed)
        return lambda x: x @ axes
    return caption_adapter(side, seed).transform


def caption_adapter(side: Side, seed: int) -> Adapter:
    """A nested linear map of captions, trained on two captions of a picture as query and answer."""
    first = np.unique(side.owner, return_index=True)[1]
    others = np.setdiff1d(np.arange(len(side.owner)), first)
    pairs = np.stack([np.arange(len(others)), side.owner[others]], axis=1)
    examples = Examples(side.texts[first], side.texts[others], pairs)
    training = Training(batch=256, rate=1e-3, epochs=12, seed=seed)
    return fit_adapter(
        "linear", examples, AdapterSettings(widths=TEXT_WIDTHS[:-1], training=training)
    )


def ridge(known: F32, wanted: F32, asked: F32, penalty: float = 0.1) -> F32:
    """Rows asked (m, p) mapped as known (n, p) to wanted (n, q) by least squares.

    penalty: on the squared weights, times n / p for known rows at length 1.
    """
    centre, target = known.mean(axis=0), wanted.mean(axis=0)
    rows = known - centre
    moment = rows.T @ rows + penalty * len(known) / known.shape[1] * np.eye(known.shape[1])
    weights = np.linalg.solve(moment, rows.T @ (wanted - target))
    found: F32 = ((asked - centre) @ weights + target).astype(np.float32)
    return found
