"""Pictures as an image model takes them: brought to its size, disturbed while it is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nestvec.errors import UserError
from nestvec.learn.recipe_tables import ImagesTable
from nestvec.progress import Progress, quiet

if TYPE_CHECKING:
    from nestvec.data.images import Images

F32 = NDArray[np.float32]
_KEY = "sentence_embedding"
_HELD_BYTES = 1 << 30
_READ = 256


class Pixels:
    """Batches of pictures for a model, by their places.

    images: read as RGB, the shorter side brought to size, the longer one cut at both ends; kept in
    memory where all of them take at most 1 GiB, else read for each batch. processor: the model's
    image processor, whose scale, mean and deviation are applied.
    Raises UserError where a picture cannot be read.
    """

    def __init__(
        self, images: Images, processor: Any, size: int, progress: Progress | None = None
    ) -> None:
        self._images = images
        self._size = size
        scale = getattr(processor, "rescale_factor", 1 / 255) if processor.do_rescale else 1.0
        mean, deviation = (0.0,), (1.0,)
        if processor.do_normalize:
            mean, deviation = processor.image_mean, processor.image_std
        self._scale = torch.tensor([scale / one for one in deviation]).view(-1, 1, 1)
        self._shift = torch.tensor([m / one for m, one in zip(mean, deviation, strict=True)]).view(
            -1, 1, 1
        )
        self._held: NDArray[np.uint8] | None = None
        if len(images) * size * size * 3 <= _HELD_BYTES:
            self._held = self._all(progress or quiet())

    def _all(self, progress: Progress) -> NDArray[np.uint8]:
        count = len(self._images)
        found = np.empty((count, self._size, self._size, 3), np.uint8)
        progress.start("reading images", count)
        for first in range(0, count, _READ):
            rows = range(first, min(first + _READ, count))
            found[first : first + len(rows)] = self._images.pixels(rows, self._size)
            progress.advance(len(rows))
        progress.finish()
        return found

    def __call__(self, rows: Sequence[int] | NDArray[np.int64]) -> dict[str, Any]:
        """Features of pictures: {"pixel_values": (m, 3, size, size) float32, "modality"}."""
        if self._held is None:
            raw = self._images.pixels(rows, self._size)
        else:
            raw = self._held[np.asarray(rows)]
        values = torch.from_numpy(raw).permute(0, 3, 1, 2).to(torch.float32)
        return {"pixel_values": values * self._scale - self._shift, "modality": "image"}


def pixels_for(model: Any, images: Images, size: int, progress: Progress | None = None) -> Pixels:
    """Pictures for a sentence-transformers model. Raises UserError where it takes no images."""
    found = getattr(model[0], "processor", None)
    processor = getattr(found, "image_processor", found)
    if not hasattr(processor, "do_normalize"):
        raise UserError(
            f"a model of images has an image processor; {type(processor).__name__} is none. Name "
            "a model of images, or leave [images] out."
        )
    return Pixels(images, processor, size, progress)


def encode_pictures(
    model: Any,
    pixels: Pixels,
    rows: Sequence[int] | NDArray[np.int64],
    *,
    batch: int = 256,
    progress: Progress | None = None,
) -> F32:
    """Embeddings (n, d) of the pictures at these places, in order, as the model gives them."""
    listener = progress or quiet()
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    found = []
    listener.start("encoding images", len(rows))
    with torch.no_grad():
        for first in range(0, len(rows), batch):
            features = pixels(rows[first : first + batch])
            features["pixel_values"] = features["pixel_values"].to(device)
            found.append(model(features)[_KEY].float().cpu().numpy())
            listener.advance(len(found[-1]))
    listener.finish()
    model.train(was_training)
    return np.concatenate(found)


def disturbed(values: Tensor, table: ImagesTable, generator: torch.Generator) -> Tensor:
    """Pictures (m, channels, height, width) flipped and cut as a table says, each by its own draw.

    flip: mirrored, every second one. crop: padded by so many pixels of the mean colour on each
    side and cut to the old size anywhere. zoom: a part of this share of the area or more, its sides
    at a ratio from 3/4 to 4/3, stretched to the whole (Szegedy et al. 2015, arXiv:1409.4842).
    """
    count, _, height, width = values.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator).to(values.device)

    if table.zoom is not None:
        area = table.zoom + (1 - table.zoom) * uniform(count)
        ratio = torch.exp((2 * uniform(count) - 1) * float(np.log(4 / 3)))
        wide, high = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        corners = torch.zeros(count, 2, 3, device=values.device)
        corners[:, 0, 0], corners[:, 1, 1] = wide, high
        corners[:, 0, 2] = (2 * uniform(count) - 1) * (1 - wide)
        corners[:, 1, 2] = (2 * uniform(count) - 1) * (1 - high)
        grid = functional.affine_grid(corners, list(values.shape), align_corners=False)
        values = functional.grid_sample(
            values, grid, padding_mode="reflection", align_corners=False
        )
    if table.crop:
        pad = table.crop
        padded = functional.pad(values, (pad, pad, pad, pad))
        top, left = ((uniform(count) * (2 * pad + 1)).long() for _ in range(2))
        # every window of a picture as a view, of which one is copied
        windows = padded.permute(0, 2, 3, 1).unfold(1, height, 1).unfold(2, width, 1)
        values = windows[torch.arange(count, device=values.device), top, left]
    if table.flip:
        mirrored = uniform(count) < 0.5
        values = torch.where(mirrored.view(-1, 1, 1, 1), values.flip(-1), values)
    # channels last: a third of a small ResNet's step is saved on a CPU
    return values.contiguous(memory_format=torch.channels_last)


def with_disturbed(
    features: Mapping[str, Any], table: ImagesTable, generator: torch.Generator
) -> dict[str, Any]:
    """Features of a batch, their pictures disturbed where there are any."""
    if "pixel_values" not in features:
        return dict(features)
    return {**features, "pixel_values": disturbed(features["pixel_values"], table, generator)}
