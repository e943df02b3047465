"""Pictures made worse in five ways at five severities, to see what a model still tells.

Kinds are those of common corruptions (Hendrycks and Dietterich 2019, arXiv:1903.12261) and
occlusion; severities are ours, chosen for small pictures.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nestvec.data.images import Images
from nestvec.errors import MissingExtra, UserError

try:
    from PIL import Image, ImageFilter
except ImportError:
    raise MissingExtra("changing images", "images") from None

U8 = NDArray[np.uint8]

SEVERITIES = (1, 2, 3, 4, 5)
_NOISE = (0.04, 0.07, 0.10, 0.15, 0.20)  # standard deviation, of 1
_BLUR = (0.5, 0.75, 1.0, 1.5, 2.0)  # of a Gaussian, in pixels
_CONTRAST = (0.7, 0.5, 0.35, 0.25, 0.15)  # share kept
_JPEG = (60, 40, 25, 15, 8)  # quality
_OCCLUSION = (0.2, 0.3, 0.4, 0.5, 0.6)  # side of a grey square, of the picture's


def _noisy(pixels: U8, amount: float, rng: np.random.Generator) -> U8:
    noise = rng.normal(0, 255 * amount, pixels.shape)
    found: U8 = np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)
    return found


def _blurred(pixels: U8, amount: float, rng: np.random.Generator) -> U8:
    blur = ImageFilter.GaussianBlur(amount)
    return np.stack([np.asarray(Image.fromarray(each).filter(blur)) for each in pixels])


def _flat(pixels: U8, amount: float, rng: np.random.Generator) -> U8:
    means = pixels.mean(axis=(1, 2), keepdims=True)
    found: U8 = np.clip(np.rint(means + amount * (pixels - means)), 0, 255).astype(np.uint8)
    return found


def _compressed(pixels: U8, amount: float, rng: np.random.Generator) -> U8:
    found = []
    for each in pixels:
        file = io.BytesIO()
        Image.fromarray(each).save(file, "jpeg", quality=int(amount))
        found.append(np.asarray(Image.open(file).convert("RGB")))
    return np.stack(found)


def _occluded(pixels: U8, amount: float, rng: np.random.Generator) -> U8:
    found = pixels.copy()
    height, width = pixels.shape[1:3]
    tall, wide = round(amount * height), round(amount * width)
    tops = rng.integers(0, height - tall + 1, len(pixels))
    lefts = rng.integers(0, width - wide + 1, len(pixels))
    for each, top, left in zip(found, tops, lefts, strict=True):
        each[top : top + tall, left : left + wide] = 128
    return found


KINDS: dict[str, tuple[Callable[[U8, float, np.random.Generator], U8], tuple[float, ...]]] = {
    "noise": (_noisy, _NOISE),
    "blur": (_blurred, _BLUR),
    "contrast": (_flat, _CONTRAST),
    "jpeg": (_compressed, _JPEG),
    "occlusion": (_occluded, _OCCLUSION),
}


def corrupted_images(images: Images, kind: str, severity: int, seed: int = 0) -> Images:
    """The same pictures made worse as they are read; each draws by seed and its place.

    Raises UserError for another kind or severity.
    """
    corrupted(np.zeros((0, 8, 8, 3), np.uint8), "contrast" if kind in KINDS else kind, severity)

    def read(i: int) -> Image.Image:
        pixels = np.asarray(images.picture(i))[None]
        return Image.fromarray(corrupted(pixels, kind, severity, seed + i)[0])

    return replace(images, read=read, stored=None)


def corrupted(pixels: U8, kind: str, severity: int, seed: int = 0) -> U8:
    """Pictures (n, height, width, 3) uint8 made worse; severity 1 to 5; draws by seed.

    Raises UserError for another kind or severity.
    """
    if kind not in KINDS:
        raise UserError(f"a corruption is one of {', '.join(KINDS)}; got {kind!r}.")
    if severity not in SEVERITIES:
        raise UserError(f"a severity is 1 to 5; got {severity}.")
    change, amounts = KINDS[kind]
    return change(pixels, amounts[severity - 1], np.random.default_rng(seed))
