"""A model from a recipe."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nestvec.data.model_files import ModelFiles, find_model, may_read_images
from nestvec.data.model_nesting import read_depth, read_positions, read_width
from nestvec.errors import UserError
from nestvec.jobs.checks import check_free
from nestvec.jobs.machine import peak_rss_mb
from nestvec.learn.launched import is_first
from nestvec.learn.recipe import load_recipe, parse_recipe
from nestvec.learn.recipe_tables import NEW_MODELS, PAIR_LOSSES, Recipe
from nestvec.progress import Progress

if TYPE_CHECKING:
    from nestvec.data.training import Examples, Shape
    from nestvec.learn.pixels import Pixels

_RECIPE = "recipe.json"
_TOKENIZERS = ("*tokenizer*", "vocab*", "merges*", "*.model", "*.spm")
_LOGS = "runs"  # TensorBoard's, where transformers' trainer puts them


@dataclass(frozen=True)
class TrainResult:
    """examples: trained on; steps: taken; quality: {cut: {measure: value}} on the dev
    data, cuts named "64" or "layer 3:64".

    losses: the last ones logged, by width. stopped: whether patience ran out.
    """

    out: str
    widths: tuple[int, ...]
    layers: Mapping[int, tuple[int, ...]]
    examples: int
    steps: int
    stopped: bool
    losses: Mapping[str, float]
    quality: Mapping[str, Mapping[str, float]]
    seconds: float
    peak_rss_mb: float

    def to_json(self) -> dict[str, Any]:
        """A flat object."""
        return dataclasses.asdict(self)


def train(
    recipe: str | os.PathLike[str] | Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    settings: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> TrainResult:
    """Train the model of a recipe and save it as an ordinary sentence-transformers folder.

    recipe: a TOML file, or the same tables as mappings. settings: "table.key=value" each. While it
    runs, checkpoints are in OUT.partial; a rerun of the same recipe goes on from there.
    Raises UserError for every fault of recipe and data, before anything heavy is loaded.
    """
    begun = time.monotonic()
    if isinstance(recipe, Mapping):
        plan = parse_recipe(recipe, settings)
    else:
        plan = load_recipe(recipe, settings)
    place = Path(out)
    files, examples, dev = check_training(plan, place, progress)

    from nestvec.learn.models import save_heads, save_model, trained_nesting
    from nestvec.learn.objective import Objective
    from nestvec.learn.rotation import rotate
    from nestvec.learn.sentence_model import load_model, quiet_libraries, set_dropout
    from nestvec.learn.trainer import train_model

    if files is None:
        from nestvec.learn.image_models import new_image_model

        assert plan.images.size is not None
        model = new_image_model(plan.model.name, plan.images.size, plan.train.seed)
    else:
        with quiet_libraries():
            model = load_model(
                plan.model.name,
                files.location,
                max_tokens=plan.model.max_tokens,
                remote_code=plan.model.trust_remote_code,
            )
    if plan.model.dropout is not None:
        set_dropout(model, plan.model.dropout)
    if plan.model.rotate:
        rotate(model, list(examples.columns.values())[1 if examples.shape == "pairs" else 0])
    labels = _labels(plan, examples)
    pictures = [_pixels(model, each, plan.images.size, progress) for each in (examples, dev)]
    objective = Objective(model, plan, classes=len(labels or ()))
    workplace = place.with_name(place.name + ".partial")
    workplace.mkdir(parents=True, exist_ok=True)
    (workplace / _RECIPE).write_text(_fingerprint(plan), encoding="utf-8")
    try:
        trained = train_model(
            objective,
            plan,
            examples,
            workplace,
            dev=dev,
            labels=labels,
            progress=progress,
            pixels=pictures[0],
            dev_pixels=pictures[1],
        )
    except UserError:  # it would come again, so there is nothing to go on with
        if is_first():
            shutil.rmtree(workplace, ignore_errors=True)
        raise
    nesting = trained_nesting(model, plan, objective.temperatures())
    quality = _quality(trained.history, best=plan.train.patience is not None)
    if is_first():
        finished = workplace / "model"
        with quiet_libraries():
            save_model(model, finished, nesting, recipe=plan, quality=quality)
        (finished / _RECIPE).write_text(_fingerprint(plan), encoding="utf-8")
        if objective.heads is not None:
            early = dict(objective.early_heads.items())
            save_heads(objective.heads, list(labels or ()), finished, early)
        if (workplace / _LOGS).is_dir():
            os.replace(workplace / _LOGS, finished / _LOGS)
        os.replace(finished, place)
        shutil.rmtree(workplace)
    return TrainResult(
        str(place),
        nesting.widths,
        nesting.layers,
        len(examples),
        trained.steps,
        trained.stopped,
        trained.losses,
        quality,
        time.monotonic() - begun,
        peak_rss_mb(),
    )


def _pixels(
    model: Any, examples: Examples | None, size: int | None, progress: Progress | None
) -> Pixels | None:
    if examples is None or examples.images is None or size is None:
        return None
    from nestvec.learn.pixels import pixels_for

    return pixels_for(model, examples.images, size, progress)


def check_training(
    recipe: Recipe, out: Path, progress: Progress | None = None
) -> tuple[ModelFiles | None, Examples, Examples | None]:
    """Everything that can be known without torch: the place, the model, its width, the data.

    The files are None for a new model of images.
    """
    _check_place(recipe, out)
    reporter = recipe.train.report_to
    if reporter != "none" and importlib.util.find_spec(reporter) is None:
        raise UserError(f"train.report_to {reporter!r} needs that package: pip install {reporter}.")
    pictured = recipe.images.size is not None
    files = None
    if not pictured or recipe.model.name not in NEW_MODELS:
        files = find_model(recipe.model.name)
    folder = None if files is None or files.downloads else Path(files.location)
    if folder is not None:
        _check_fits(recipe, folder)
    if pictured and files is not None and not may_read_images(files):
        raise UserError(
            f"pictures need a model that reads them; {recipe.model.name!r} has no image processor: "
            "name another, or leave [images] out."
        )
    data, shape = recipe.data, _shape(recipe)
    examples = _examples(recipe, data.train, data.train_split, progress).drawn(
        data.rows, recipe.train.seed
    )
    _check_shape(recipe, examples)
    width = None if folder is None else read_width(folder)
    if recipe.model.rotate and width is not None and len(examples) < width:
        raise UserError(
            f"model.rotate needs at least {width} examples, one a dimension; got {len(examples)}: "
            "leave it out."
        )
    if data.dev is None:
        return files, examples, None
    if recipe.loss.kind == "masked_words":
        raise UserError("masked_words has no measure on dev data: leave data.dev out.")
    dev = _examples(recipe, data.dev, data.dev_split, progress)
    if shape == "scored":
        _check_grades(dev)
    return files, examples, dev


def _examples(recipe: Recipe, place: str, split: str, progress: Progress | None) -> Examples:
    """Texts, or pictures where the recipe is of such."""
    from nestvec.data.training import read_examples

    shape, columns = _shape(recipe), recipe.data.columns
    if recipe.images.size is None:
        return read_examples(place, shape, columns=columns, split=split)
    from nestvec.data.image_examples import read_image_examples

    return read_image_examples(
        place,
        shape,
        columns=columns,
        split=split,
        skip_broken=recipe.images.skip_broken,
        progress=progress,
    )


def _shape(recipe: Recipe) -> Shape:
    kind = recipe.loss.kind
    if kind in PAIR_LOSSES:
        return "pairs"
    return {"cosent": "scored", "cross_entropy": "labelled", "masked_words": "texts"}[kind]  # type: ignore[return-value]


def _check_place(recipe: Recipe, out: Path) -> None:
    check_free(out)
    begun = out.with_name(out.name + ".partial") / _RECIPE
    if begun.parent.is_file():
        raise UserError(f"{begun.parent} is a file where checkpoints would go: remove it.")
    # without a checkpoint nothing would be lost
    kept = begun.is_file() and any(begun.parent.glob("checkpoint-*"))
    if kept and begun.read_text(encoding="utf-8") != _fingerprint(recipe):
        raise UserError(
            f"{begun.parent} holds an unfinished training by another recipe: finish that one, or "
            "remove the folder."
        )


def _check_fits(recipe: Recipe, folder: Path) -> None:
    if recipe.images.size is not None:
        return
    # transformers makes up a tokenizer of five tokens where a folder has none
    if folder.is_dir() and not any(True for name in _TOKENIZERS for _ in folder.rglob(name)):
        raise UserError(f"the model {recipe.model.name!r} has no tokenizer: get its files anew.")
    width, depth, longest = read_width(folder), read_depth(folder), read_positions(folder)
    if recipe.model.max_tokens is not None and longest and recipe.model.max_tokens > longest:
        raise UserError(
            f"the model reads texts of {longest} tokens at most; model.max_tokens is "
            f"{recipe.model.max_tokens}: lower it."
        )
    widths = recipe.nesting.widths
    if width is not None and widths and widths[-1] > width:
        recipe.nesting_for(width).check(width)
    for layer, dims in recipe.layers.pairs:
        if (depth is not None and layer > depth) or (width is not None and dims > width):
            raise UserError(
                f"the model has {depth} layers and {width} dimensions; layers.pairs asks for layer "
                f"{layer} at {dims}: stay within them."
            )
    ese = recipe.layers.width
    if ese is not None and width is not None and ese > width:
        raise UserError(f"layers.width is at most the model's {width}; got {ese}.")


def _check_shape(recipe: Recipe, examples: Examples) -> None:
    if examples.shape == "labelled":
        labels = set(list(examples.columns.values())[1])
        if len(labels) < 2:
            raise UserError(
                f"{examples.source} has one label only, {labels.pop()!r}: classes take two."
            )
    if examples.shape == "scored":
        _check_grades(examples)
    least = min(len(examples), recipe.train.batch)
    if examples.shape in ("pairs", "scored") and least < 2:
        raise UserError(
            f"{recipe.loss.kind} compares at least 2 pairs of a batch; got {least}: give more."
        )


def _check_grades(examples: Examples) -> None:
    scores = set(list(examples.columns.values())[2])
    if len(scores) < 2:
        raise UserError(
            f"{examples.source} has one score only, {scores.pop():g}: cosent needs pairs that "
            "differ."
        )


def _labels(recipe: Recipe, examples: Examples) -> dict[str, int] | None:
    if recipe.loss.kind != "cross_entropy":
        return None
    found = sorted(set(list(examples.columns.values())[1]))
    return {label: number for number, label in enumerate(found)}


def _quality(
    history: tuple[Mapping[str, float], ...], *, best: bool
) -> dict[str, dict[str, float]]:
    """The figures of the model that is kept, by cut: the best by their mean, else the last."""
    quality: dict[str, dict[str, float]] = {}
    if not history:
        return quality
    kept = max(history, key=lambda entry: entry["eval_dev_mean"]) if best else history[-1]
    for name, value in kept.items():
        measure, underscore, cut = name.removeprefix("eval_dev_").rpartition("_")
        if underscore:
            quality.setdefault(cut, {})[measure] = value
    return quality


def _fingerprint(recipe: Recipe) -> str:
    """The recipe as JSON, and the hashes of the files it trains on."""
    hashes = {}
    for name in ("train", "dev"):
        place = getattr(recipe.data, name)
        if place is not None and Path(place).is_file():
            with Path(place).open("rb") as handle:
                hashes[name] = hashlib.file_digest(handle, "sha256").hexdigest()
    return json.dumps({**recipe.to_json(), "sha256": hashes}, indent=1, ensure_ascii=False)
