"""What a model says it was trained for: widths, layers, temperatures; read without loading it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nestvec.errors import UserError

CONFIG = "config.json"
KEY = "nestvec"


@dataclass(frozen=True)
class TrainedNesting:
    """What a model can be cut to.

    widths: of the whole model, rising. layers: {layer: widths it was trained at}, empty where only
    the whole model was trained. temperatures: of the loss, one a width where it has so many.
    """

    widths: tuple[int, ...]
    layers: Mapping[int, tuple[int, ...]]
    temperatures: tuple[float, ...] = ()

    def to_config(self) -> dict[str, Any]:
        """Keys of a Hugging Face configuration; the first two are those that vLLM reads."""
        return {
            "is_matryoshka": len(self.widths) > 1,
            "matryoshka_dimensions": list(self.widths),
            KEY: {
                "widths": list(self.widths),
                "layers": {str(layer): list(widths) for layer, widths in self.layers.items()},
                "temperatures": list(self.temperatures),
            },
        }


def read_nesting(folder: Path) -> TrainedNesting | None:
    """What the configuration of a model folder says, None where it says nothing.

    Widths that another trainer wrote (`matryoshka_dimensions`) count as well.
    """
    place = folder / CONFIG
    if not place.is_file():
        return None
    try:
        config = json.loads(place.read_text(encoding="utf-8"))
        own = config.get(KEY)
        if isinstance(own, dict) and own.get("widths"):
            layers = {int(k): tuple(map(int, v)) for k, v in own.get("layers", {}).items()}
            temperatures = tuple(map(float, own.get("temperatures", ())))
            return TrainedNesting(tuple(map(int, own["widths"])), layers, temperatures)
        widths = config.get("matryoshka_dimensions")
        if isinstance(widths, list) and widths:
            return TrainedNesting(tuple(sorted(map(int, widths))), {})
    except (ValueError, OSError, AttributeError, TypeError):
        return None
    return None


def read_depth(folder: Path) -> int | None:
    """The number of layers that the configuration names."""
    return _read_number(folder, "num_hidden_layers")


def read_positions(folder: Path) -> int | None:
    """The number of tokens that the model has places for, None where it has no table of them."""
    return _read_number(folder, "max_position_embeddings")


def _read_number(folder: Path, key: str) -> int | None:
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get(key)
    except (ValueError, OSError, AttributeError):
        return None
    return found if isinstance(found, int) else None


def check_cut(
    trained: TrainedNesting | None,
    *,
    layers: int | None = None,
    dims: int | None = None,
    depth: int | None = None,
    force: bool = False,
    remedy: str = "--force",
) -> list[str]:
    """Warnings about a cut that the model was trained for roughly; UserError where it was not.

    dims between two trained widths interpolate (Kusupati et al. 2022, section 4) and are warned of;
    outside of them, or layers that were not trained, are refused unless force.
    """
    if trained is None:
        return ["the model does not say which widths and layers it was trained for."]
    notes = []
    widths = trained.widths
    if layers is not None and layers != depth:
        if layers in trained.layers:
            widths = trained.layers[layers]
        else:
            known = ", ".join(map(str, sorted(trained.layers))) or "none but all"
            sentence = f"the model was not trained for {layers} layers (it was for: {known})"
            if not force:
                raise UserError(f"{sentence}: take one of those, or pass {remedy}.")
            notes.append(f"{sentence}.")
    if dims is not None and dims not in widths:
        listed = ", ".join(map(str, widths))
        if not widths[0] < dims < widths[-1]:
            sentence = f"the model was not trained for {dims} dimensions (it was for: {listed})"
            if not force:
                raise UserError(f"{sentence}: take one of those, or pass {remedy}.")
            notes.append(f"{sentence}.")
        else:
            notes.append(
                f"{dims} dimensions lie between those the model was trained for ({listed}), and "
                "usually do a little worse than their neighbours."
            )
    return notes


def read_width(folder: Path) -> int | None:
    """The width of a sentence-transformers model's vectors, None where its files do not say."""
    try:
        parts = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        width = config.get("hidden_size")
        for part in parts:
            if str(part["type"]).endswith("Dense"):
                own = json.loads((folder / part["path"] / CONFIG).read_text(encoding="utf-8"))
                width = own.get("out_features", width)
            if str(part["type"]).endswith("Pooling"):
                own = json.loads((folder / part["path"] / CONFIG).read_text(encoding="utf-8"))
                modes = [k for k, v in own.items() if k.startswith("pooling_mode_") and v is True]
                if len(modes) > 1:
                    return None
    except (ValueError, OSError, KeyError, TypeError, AttributeError):
        return None
    return width if isinstance(width, int) else None
