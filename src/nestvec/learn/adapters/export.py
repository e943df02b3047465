"""A trained adapter behind its encoder, as a folder that sentence-transformers loads alone."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nestvec.adapters.adapter import Adapter
from nestvec.adapters.maps import Linear, Map, Reflections, Residual, Select
from nestvec.data.model_files import find_model
from nestvec.data.model_nesting import TrainedNesting
from nestvec.errors import UserError
from nestvec.learn.models import save_model
from nestvec.learn.sentence_model import Dense, Normalize, load_model, quiet_libraries

F64 = NDArray[np.float64]
Affine = tuple[F64, F64]
"""x W + b of rows: W (w, w'), b (w',)."""


def export_model(adapter: Adapter, model: Any, width: int | None, out: Path) -> None:
    """Write a model folder whose vectors are adapter.transform(model.encode(texts), width).

    model: a SentenceTransformer, which is left as it is, or the path or name of one. width: of
    the vectors, None for the adapter's widest; they have length 1 and are compared by cosine.
    Prompts and the longest text stay the model's own. The adapter becomes Dense parts and a
    Normalize behind the model's parts, so loading the folder takes neither nestvec nor
    trust_remote_code, where the model itself does not. Whole, or not at all.
    Raises UserError where out exists, the adapter does not give that width or takes vectors of
    another width than the model's, and where the model cannot be had.
    """
    if out.exists():
        raise UserError(f"{out} exists already: choose another name, or remove it first.")
    chosen = adapter.cut(adapter.width if width is None else width)
    if isinstance(model, (str, os.PathLike)):
        files = find_model(os.fspath(model))
        with quiet_libraries():
            model = load_model(files.name, files.location, max_tokens=None, remote_code=False)
    dim = int(model.get_embedding_dimension())
    if dim != chosen.dim:
        raise UserError(
            f"an adapter goes behind the model whose vectors it was trained on, of {chosen.dim} "
            f"dimensions; got a model of {dim}: name that model, or train an adapter for this one."
        )
    adapted = _adapted(model, chosen)
    staged = out.with_name(out.name + ".partial")
    shutil.rmtree(staged, ignore_errors=True)
    with quiet_libraries():
        save_model(adapted, staged, TrainedNesting(chosen.widths, {}))
    with (staged / "README.md").open("a", encoding="utf-8") as card:
        card.write(_card_section(chosen))
    os.replace(staged, out)


def affine_layers(maps: Sequence[Map], dim: int) -> list[Affine]:
    """Layers with a ReLU between each two that together are the maps of vectors (n, dim).

    Linear maps are multiplied into what stands beside them, in float64. A residual map
    x + relu(x A + a) B + b is two layers, since x = relu(x) - relu(-x):
    relu(x [A I -I] + [a 0 0]) and then [B; I; -I], b. Raises UserError for a kind not known here.
    """
    weight, bias = np.eye(dim), np.zeros(dim)
    layers: list[Affine] = []
    for each in maps:
        if isinstance(each, Residual):
            same = np.eye(weight.shape[1])
            first = np.hstack([each.first, same, -same])
            offset = np.concatenate([each.first_bias, np.zeros(2 * len(same))])
            layers.append((weight @ first, bias @ first + offset))
            weight = np.vstack([each.second, same, -same])
            bias = each.second_bias.astype(np.float64)
        else:
            matrix = _matrix(each, weight.shape[1])
            weight, bias = weight @ matrix, bias @ matrix
    layers.append((weight, bias))
    return _pruned(layers)


def _matrix(each: Map, width: int) -> F64:
    """The matrix (width, w') of a linear map."""
    if isinstance(each, Linear):
        return each.weight.astype(np.float64)
    matrix: F64 = np.eye(width)
    if isinstance(each, Select):
        return matrix[:, each.order]
    if not isinstance(each, Reflections):
        raise UserError(
            "maps of the kinds linear, select, reflections and residual can be exported; got "
            f"{each.kind!r}: apply this adapter with transform."
        )
    for vector in each.vectors.astype(np.float64):
        unit = vector / np.linalg.norm(vector)
        matrix -= 2 * np.outer(matrix @ unit, unit)
    return matrix


def _pruned(layers: list[Affine]) -> list[Affine]:
    """Without hidden units that nothing reads, such as those of coordinates that were cut."""
    kept = layers[-1:]
    for weight, bias in reversed(layers[:-1]):
        after, offset = kept[0]
        read = after.any(axis=1)
        if read.any():  # a layer of no units cannot be written
            weight, bias, kept[0] = weight[:, read], bias[read], (after[read], offset)
        kept.insert(0, (weight, bias))
    return kept


def _adapted(model: Any, adapter: Adapter) -> Any:
    """The model with the adapter's parts behind its own, which are shared, not copied."""
    adapted = copy.copy(model)
    adapted._modules = dict(model._modules)
    adapted.model_card_data = copy.copy(model.model_card_data)
    adapted.model_card_data.register_model(adapted)
    adapted.similarity_fn_name = "cosine"
    # The library cuts behind the last part; this cut belongs before the adapter.
    adapted.truncate_dim = None
    full = int(adapted.get_embedding_dimension())
    if full > adapter.dim:
        adapted.append(_dense(np.eye(full, adapter.dim), None, nn.Identity()))
    adapted.append(Normalize())
    layers = affine_layers(adapter.stages[0].maps, adapter.dim)
    for weight, bias in layers[:-1]:
        adapted.append(_dense(weight, bias, nn.ReLU()))
    weight, bias = layers[-1]
    adapted.append(_dense(weight, bias if bias.any() else None, nn.Identity()))
    adapted.append(Normalize())
    return adapted


def _dense(weight: F64, bias: F64 | None, activation: nn.Module) -> Any:
    wide, narrow = weight.shape
    part = Dense(wide, narrow, bias=bias is not None, activation_function=activation)
    with torch.no_grad():
        part.linear.weight.copy_(torch.from_numpy(weight.T))
        if bias is not None:
            part.linear.bias.copy_(torch.from_numpy(bias))
    return part


def _card_section(adapter: Adapter) -> str:
    return (
        "\n## Adapter\n\n"
        f"The encoder's vectors, of {adapter.dim} dimensions, go through an adapter (method: "
        f"{adapter.method}) that gives {adapter.width} dimensions at length 1. What a card of the "
        "encoder says above about dimensions and scores is about the encoder without it.\n"
    )
