"""Trained models as ordinary sentence-transformers folders that say what they were trained for."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from nestvec.data.model_nesting import CONFIG, TrainedNesting, read_nesting
from nestvec.errors import UserError
from nestvec.learn.layers import encoder_of, keep_dims, keep_layers, stack_of
from nestvec.learn.losses.heads import SeparateHeads, TiedHead
from nestvec.learn.recipe_tables import Recipe
from nestvec.nesting import Nesting

HEADS, EARLY_HEADS, LABELS = "heads.safetensors", "heads-layer-{}.safetensors", "labels.json"

Quality = Mapping[str, Mapping[str, float]]
"""{cut: {measure: value}}, cuts named "64" or "layer 3:64"."""


def trained_nesting(
    model: Any, recipe: Recipe, temperatures: tuple[float, ...] = ()
) -> TrainedNesting:
    """What a recipe trains a model for; temperatures: of the loss, as the objective says."""
    dim = int(model.get_embedding_dimension())
    table = recipe.layers
    if not table.kind:
        return TrainedNesting(recipe.nesting_for(dim).widths, {}, temperatures)
    _, _, stack = stack_of(encoder_of(model))
    depth = len(stack)
    if table.kind == "pairs":
        widths = tuple(width for layer, width in table.pairs if layer == depth) or (dim,)
        layers: dict[int, tuple[int, ...]] = {layer: (width,) for layer, width in table.pairs}
    elif table.kind == "ese":
        assert table.width is not None
        widths = tuple(sorted({table.width, dim}))
        layers = dict.fromkeys(range(1, depth), (table.width,))
    elif table.kind == "heads":
        widths = recipe.nesting_for(dim).widths
        layers = dict.fromkeys(table.at, widths)
    else:
        widths = recipe.nesting_for(dim).widths
        layers = dict.fromkeys(range(1, depth), widths)
    layers.setdefault(depth, widths)
    return TrainedNesting(widths, layers, temperatures)


def save_model(
    model: Any,
    out: Path,
    nesting: TrainedNesting | None,
    *,
    recipe: Recipe | None = None,
    quality: Quality | None = None,
) -> None:
    """Write a model folder that sentence-transformers loads alone; whole, or not at all.

    The nesting goes into the folder's config.json; the card shows quality by width.
    """
    partial = out.with_name(out.name + ".writing")
    shutil.rmtree(partial, ignore_errors=True)
    model.save(str(partial))
    if nesting is not None:
        # static embeddings have no configuration of their own
        place = partial / CONFIG
        config = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
        text = json.dumps({**config, **nesting.to_config()}, indent=2, ensure_ascii=False)
        place.write_text(text + "\n", encoding="utf-8")
    card = partial / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    card.write_text(text + _card_section(nesting, recipe, quality or {}), encoding="utf-8")
    os.replace(partial, out)


def save_heads(
    heads: nn.Module,
    labels: Sequence[str],
    folder: Path,
    early: Mapping[str, nn.Module] | None = None,
) -> None:
    """Write class heads and the labels of their classes beside a model.

    early: those of layers before the last, {layer: heads}, each in a file of its own.
    """
    files = {HEADS: heads, **{EARLY_HEADS.format(at): one for at, one in (early or {}).items()}}
    for name, module in files.items():
        state = {key: value.contiguous() for key, value in module.state_dict().items()}
        save_file(state, folder / name)
    text = json.dumps(list(labels), ensure_ascii=False)
    (folder / LABELS).write_text(text, encoding="utf-8")


def load_heads(
    folder: Path,
) -> tuple[dict[int | None, SeparateHeads | TiedHead], tuple[int, ...], list[str]]:
    """Class heads beside a model by layer, the last one's under None; their widths; the labels.

    Raises UserError where there are none, or they do not fit the model's widths.
    """
    try:
        labels = [str(label) for label in json.loads((folder / LABELS).read_text(encoding="utf-8"))]
        nesting = read_nesting(folder)
        if nesting is None:
            raise ValueError("the model does not say its widths")
        found: dict[int | None, SeparateHeads | TiedHead] = {}
        files: dict[int | None, Path] = {None: folder / HEADS}
        early = {at: folder / EARLY_HEADS.format(at) for at in sorted(nesting.layers)}
        files.update({at: place for at, place in early.items() if place.is_file()})
        for at, place in files.items():
            state = load_file(place)
            kind = TiedHead if "head.weight" in state else SeparateHeads
            found[at] = kind(Nesting(nesting.widths), len(labels))
            found[at].load_state_dict(state)
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"a classifier's folder has heads and labels that fit its widths; {folder} has not "
            f"({said}): train it by loss.kind cross_entropy, or copy it again."
        ) from None
    return found, nesting.widths, labels


def truncate_model(
    model: Any, nesting: TrainedNesting | None, *, layers: int | None, dims: int | None
) -> TrainedNesting | None:
    """Cut a model in place; what the smaller model was trained for."""
    _, _, stack = stack_of(encoder_of(model))
    depth = len(stack)
    if layers is not None:
        keep_layers(model, layers)
    if dims is not None:
        keep_dims(model, dims)
    if nesting is None:
        return None
    left = depth if layers is None else layers
    widths = nesting.layers.get(left, nesting.widths) if layers is not None else nesting.widths
    kept = {
        layer: found
        for layer, each in nesting.layers.items()
        if layer <= left and (found := _within(each, dims))
    }
    return TrainedNesting(_within(widths, dims) or (dims or widths[-1],), kept, ())


def _within(widths: Sequence[int], dims: int | None) -> tuple[int, ...]:
    return tuple(width for width in widths if dims is None or width <= dims)


def _card_section(nesting: TrainedNesting | None, recipe: Recipe | None, quality: Quality) -> str:
    lines = ["", "## What can be cut", ""]
    if nesting is None:
        lines.append("The model does not say which widths it was trained for.")
    else:
        lines.append(f"Trained widths: {', '.join(map(str, nesting.widths))} dimensions.")
        if nesting.layers:
            pairs = [f"{k} ({', '.join(map(str, v))})" for k, v in sorted(nesting.layers.items())]
            lines.append(f"Trained layers (at widths): {'; '.join(pairs)}.")
        lines.append("A cut vector is brought to unit length before it is compared.")
    if quality:
        measures = list(next(iter(quality.values())))
        lines += ["", "| cut to | " + " | ".join(measures) + " |"]
        lines.append("|---:|" + "---:|" * len(measures))
        for cut, values in quality.items():
            cells = " | ".join(f"{values[name]:.4f}" for name in measures)
            lines.append(f"| {cut} | {cells} |")
        lines.append("")
        lines.append("Measured on the recipe's dev data.")
    if recipe is not None:
        lines += ["", f"Loss: {recipe.loss.kind}; trained by nestvec from {recipe.model.name}."]
    return "\n".join([*lines, ""])
