"""What the tables of a recipe allow one by one, and all of them together do not."""

from __future__ import annotations

from itertools import pairwise

from nestvec.errors import UserError
from nestvec.learn.recipe_tables import (
    HEADS,
    LAYER_LOSSES,
    LOSSES,
    PAIR_LOSSES,
    REPORTERS,
    SCHEDULES,
    ImagesTable,
    LayersTable,
    LossTable,
    Recipe,
)
from nestvec.nesting import Nesting

# Which losses read a key of [loss]; with the others it is left out.
_READ_BY = {
    "temperature": ("info_nce",),
    "temperatures": PAIR_LOSSES,
    "both_directions": ("info_nce",),
    "beta": ("info_nce",),
    "scale": ("cosent",),
    "head": ("cross_entropy",),
    "smoothing": ("cross_entropy",),
}

_PLAIN = LossTable()


def contradictions(recipe: Recipe) -> list[str]:
    """Every fault, a clause each."""
    faults = [*_choices(recipe), *_ranges(recipe)]
    try:
        if recipe.nesting.widths:
            Nesting(recipe.nesting.widths, recipe.nesting.weights)
    except UserError as error:
        faults.append(f"nesting: {str(error).rstrip('.')}")
    faults.extend(_loss_faults(recipe))
    faults.extend(_nesting_faults(recipe))
    faults.extend(_layer_faults(recipe))
    faults.extend(_word_faults(recipe))
    faults.extend(_image_faults(recipe))
    return faults


def _choices(recipe: Recipe) -> list[str]:
    asked = (
        ("loss.kind", recipe.loss.kind, LOSSES),
        ("loss.schedule", recipe.loss.schedule, SCHEDULES),
        ("loss.head", recipe.loss.head, HEADS),
        ("layers.kind", recipe.layers.kind, ("", *LAYER_LOSSES)),
        ("train.report_to", recipe.train.report_to, REPORTERS),
    )
    return [
        f"{name} is one of {', '.join(filter(None, known))}, got {value!r}"
        for name, value, known in asked
        if value not in known
    ]


def _ranges(recipe: Recipe) -> list[str]:
    train, loss, data = recipe.train, recipe.loss, recipe.data
    faults = []
    if not data.train:
        faults.append("data.train must name what to train on, got nothing")
    above = {
        "train.epochs": train.epochs,
        "train.steps": train.steps,
        "train.batch": train.batch,
        "train.mini_batch": train.mini_batch,
        "train.learning_rate": train.learning_rate,
        "train.own_learning_rate": train.own_learning_rate,
        "train.evaluate_every": train.evaluate_every,
        "train.save_every": train.save_every,
        "train.patience": train.patience,
        "train.log_every": train.log_every,
        "loss.temperature": loss.temperature,
        "loss.last_temperature": loss.last_temperature,
        "loss.scale": loss.scale,
        "data.rows": data.rows,
        "model.max_tokens": recipe.model.max_tokens,
        "nesting.per_step": recipe.nesting.per_step,
        "layers.width": recipe.layers.width,
        "images.size": recipe.images.size,
    }
    for name, value in above.items():
        if value is not None and value <= 0:
            faults.append(f"{name} must be above 0, got {value:g}")
    faults.extend(
        f"loss.temperatures must all be above 0, got {tau:g}"
        for tau in loss.temperatures
        if tau <= 0
    )
    if not 0 <= train.warmup <= 1:
        faults.append(f"train.warmup is a share from 0 to 1, got {train.warmup:g}")
    if recipe.model.dropout is not None and not 0 <= recipe.model.dropout < 1:
        faults.append(f"model.dropout is a share from 0 to below 1, got {recipe.model.dropout:g}")
    if not 0 <= loss.smoothing < 1:
        faults.append(f"loss.smoothing is a share from 0 to below 1, got {loss.smoothing:g}")
    if not 0 <= train.seed < 2**32:
        faults.append(f"train.seed must be from 0 to 4294967295, got {train.seed}")
    if recipe.model.max_tokens is not None and 0 < recipe.model.max_tokens < 3:
        faults.append(
            "model.max_tokens must be 3 or more, two of which mark the ends of a text, got "
            f"{recipe.model.max_tokens}"
        )
    if data.dev is not None and not data.dev.strip():
        faults.append("data.dev is empty: name what to measure on, or leave it out")
    if train.weight_decay < 0 or loss.beta < 0 or recipe.layers.alignment < 0:
        faults.append("train.weight_decay, loss.beta and layers.alignment must be 0 or more")
    if train.patience is not None and data.dev is None:
        faults.append("train.patience needs data.dev to measure on, got none")
    if train.patience is not None and train.save_every is not None:
        faults.append(
            "with train.patience models are kept when measured: leave train.save_every out"
        )
    return faults


def _loss_faults(recipe: Recipe) -> list[str]:
    loss, widths = recipe.loss, len(recipe.nesting.widths)
    kind = loss.kind
    faults = []
    for key, kinds in _READ_BY.items():
        if kind in LOSSES and kind not in kinds and getattr(loss, key) != getattr(_PLAIN, key):
            faults.append(f"loss.{key} goes with {', '.join(kinds)}, not with {kind}")
    one_a_width = kind in ("info_nce", "temp_spec_mrl") and len(loss.temperatures) != widths
    if loss.temperatures and one_a_width:
        faults.append(
            f"loss.temperatures of {kind} are one a width, got {len(loss.temperatures)} for "
            f"{widths} widths"
        )
    if kind in ("temp_agg_mrl", "temp_spec_mrl") and not widths:
        faults.append(f"{kind} needs nesting.widths, got none")
    if kind == "temp_agg" and widths:
        faults.append("temp_agg is of full width: leave nesting.widths out, or take temp_agg_mrl")
    if loss.learned and (kind != "info_nce" or loss.temperatures or loss.schedule != "constant"):
        faults.append("loss.learned is for info_nce with one temperature and no schedule")
    if loss.schedule != "constant" and (kind != "info_nce" or loss.temperatures):
        faults.append("loss.schedule is for info_nce with one temperature")
    if (loss.last_temperature is None) != (loss.schedule == "constant"):
        faults.append("loss.last_temperature and a loss.schedule other than constant go together")
    if loss.temperatures and kind == "info_nce" and (recipe.nesting.learned or recipe.layers.kind):
        faults.append("temperatures one a width exclude nesting.learned and layers")
    return faults


def _nesting_faults(recipe: Recipe) -> list[str]:
    nesting, kind, widths = recipe.nesting, recipe.loss.kind, len(recipe.nesting.widths)
    faults = []
    if (nesting.learned or nesting.per_step) and not widths:
        faults.append("nesting.learned and nesting.per_step need nesting.widths, got none")
    if nesting.weights and not widths:
        faults.append("nesting.weights need nesting.widths, got none")
    if nesting.learned and (nesting.weights or nesting.per_step):
        faults.append("nesting.learned excludes nesting.weights and nesting.per_step")
    if nesting.per_step and nesting.per_step > max(widths, 1):
        faults.append(f"nesting.per_step is at most {widths}, got {nesting.per_step}")
    if nesting.learned and kind not in ("info_nce", "cosent"):
        faults.append(f"nesting.learned is for info_nce and cosent, not for {kind}")
    if nesting.per_step and kind not in ("info_nce", "cosent", "cross_entropy"):
        faults.append(f"nesting.per_step is for info_nce, cosent and cross_entropy, not for {kind}")
    return faults


def _layer_faults(recipe: Recipe) -> list[str]:
    layers, kind = recipe.layers, recipe.layers.kind
    faults = []
    if kind == "pairs" and not layers.pairs:
        faults.append("layers.kind pairs needs layers.pairs, such as [[3, 64], [6, 384]]")
    if layers.pairs and kind != "pairs":
        faults.append("layers.pairs go with layers.kind = 'pairs'")
    rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(layers.pairs))
    if not rising or any(min(pair) < 1 for pair in layers.pairs):
        listed = [list(pair) for pair in layers.pairs]
        faults.append(f"layers.pairs are [layer, width] from 1 on, both rising, got {listed}")
    if (layers.width is not None) != (kind == "ese"):
        faults.append("layers.width goes with layers.kind = 'ese', which needs it")
    if kind == "ese" and layers.alignment != LayersTable().alignment:
        faults.append("layers.alignment is not for ese, whose terms weigh alike: leave it out")
    if kind == "heads":
        faults.extend(_head_faults(recipe))
    elif kind and recipe.loss.kind not in ("info_nce", "cosent"):
        faults.append(f"layers are trained by info_nce or cosent, not by {recipe.loss.kind}")
    if layers.at and kind != "heads":
        faults.append("layers.at goes with layers.kind = 'heads'")
    if kind in ("two_d", "uniform") and not recipe.nesting.widths:
        faults.append(f"layers.kind {kind} needs nesting.widths, got none")
    if kind == "two_d" and recipe.nesting.weights:
        faults.append("layers.kind two_d draws widths alike: leave nesting.weights out")
    if kind in ("ese", "pairs") and recipe.nesting.widths:
        faults.append(f"layers.kind {kind} has widths of its own: leave nesting.widths out")
    if kind and (recipe.nesting.learned or recipe.nesting.per_step or recipe.loss.learned):
        faults.append("layers exclude learned weights, learned temperatures and per_step")
    return faults


def _head_faults(recipe: Recipe) -> list[str]:
    layers, kind = recipe.layers, recipe.loss.kind
    faults = []
    if kind != "cross_entropy":
        faults.append(f"layers.kind heads is of class heads: loss.kind cross_entropy, not {kind}")
    if not layers.at:
        faults.append("layers.kind heads needs layers.at, such as [2, 4]")
    if any(a >= b for a, b in pairwise(layers.at)) or any(layer < 1 for layer in layers.at):
        faults.append(f"layers.at are layers from 1 on, rising, got {list(layers.at)}")
    if layers.alignment != LayersTable().alignment:
        faults.append("layers.alignment is not for heads: leave it out")
    return faults


def _word_faults(recipe: Recipe) -> list[str]:
    if recipe.loss.kind != "masked_words":
        return []
    faults = []
    if recipe.train.mini_batch is not None:
        faults.append("masked_words has no gradient caching: leave train.mini_batch out")
    if recipe.model.rotate:
        faults.append("masked_words trains words, not the vectors: leave model.rotate out")
    return faults


def _image_faults(recipe: Recipe) -> list[str]:
    images, kind = recipe.images, recipe.loss.kind
    if images.size is None:
        if images != ImagesTable():
            return ["[images] needs a size, the pixels of a side, got none"]
        return []
    faults = []
    if kind in ("cosent", "masked_words"):
        faults.append(f"pictures are trained by cross_entropy or a loss of pairs, not by {kind}")
    if recipe.layers.kind or recipe.model.rotate or recipe.model.max_tokens:
        faults.append("[images] excludes layers, model.rotate and model.max_tokens")
    if not 0 <= images.crop < max(images.size, 1):
        faults.append(f"images.crop is from 0 to below the size, got {images.crop}")
    if images.zoom is not None and not 0 < images.zoom <= 1:
        faults.append(f"images.zoom is a share above 0 and at most 1, got {images.zoom:g}")
    return faults
