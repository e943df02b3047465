"""New image models, to be trained from nothing: ResNet and ViT of transformers, by name."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nestvec.errors import MissingExtra, UserError
from nestvec.learn.sentence_model import Dense, load_model, quiet_libraries

try:
    from transformers import ResNetConfig, ResNetModel, ViTConfig, ViTImageProcessorPil, ViTModel
except ImportError:
    raise MissingExtra("training a model", "train") from None

_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


def _resnet(hidden: tuple[int, ...], depths: tuple[int, ...], first: int) -> Callable[[int], Any]:
    def made(size: int) -> Any:
        return ResNetModel(
            ResNetConfig(
                embedding_size=first,
                hidden_sizes=list(hidden),
                depths=list(depths),
                layer_type="basic",
            )
        )

    return made


def _vit(size: int) -> Any:
    return ViTModel(
        ViTConfig(
            hidden_size=192,
            num_hidden_layers=6,
            num_attention_heads=3,
            intermediate_size=768,
            image_size=size,
            patch_size=max(1, size // 8),
        ),
        add_pooling_layer=False,
    )


NEW: dict[str, Callable[[int], Any]] = {
    "resnet-small": _resnet((16, 32, 64, 256), (1, 1, 1, 1), 16),
    "resnet-small-mlp": _resnet((32, 64, 128), (1, 1, 1), 16),
    "resnet-18": _resnet((64, 128, 256, 512), (2, 2, 2, 2), 64),
    "resnet-50": lambda size: ResNetModel(ResNetConfig()),
    "vit-small": _vit,
}
"""Models by name, made for pictures of a size: 256, 256, 512, 2,048 and 192 dimensions wide."""
_ENDS = {"resnet-small": (256,), "resnet-small-mlp": (1024, 256)}
"""Linear maps after the mean over the last feature map: how wide, a ReLU between two."""


def new_image_model(name: str, size: int, seed: int) -> Any:
    """A sentence-transformers model with random weights drawn by seed, for pictures of size.

    Its embedding is the mean over the last feature map (ResNet) or over patches (ViT), and, of
    "resnet-small", a linear map of it: what ends in a ReLU is never negative, and two to eight such
    coordinates hold few classes. "resnet-small-mlp" has a hidden layer before that map, by which
    narrow coordinates can be other functions of the map than wide ones.
    Raises UserError for another name, and a size that is no multiple of 8 for a ViT.
    """
    if name not in NEW:
        raise UserError(f"a new image model is one of {', '.join(NEW)}; got {name!r}.")
    if name.startswith("vit") and size % 8:
        raise UserError(f"{name} cuts pictures into 8 x 8 patches; a size of {size} has none.")
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder, quiet_libraries():
        NEW[name](size).save_pretrained(folder)
        processor = ViTImageProcessorPil(
            size={"height": size, "width": size},
            image_mean=list(_MEAN),
            image_std=list(_DEVIATION),
        )
        processor.save_pretrained(folder)
        model = load_model(name, str(Path(folder)), max_tokens=None, remote_code=False)
    ends = _ENDS.get(name, ())
    for place, wide in enumerate(ends, 1):
        activation = torch.nn.Identity() if place == len(ends) else torch.nn.ReLU()
        dim = model.get_embedding_dimension()
        model.append(Dense(dim, wide, activation_function=activation))
    return model
