"""A recipe of training: what a TOML file may say, read whole, with all of its faults told at once.

Nothing here imports torch, so that a fault is told at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

from nestvec.errors import UserError
from nestvec.nesting import Nesting

PAIR_LOSSES = ("info_nce", "temp_agg", "temp_agg_mrl", "temp_spec_mrl")
LOSSES = (*PAIR_LOSSES, "cosent", "cross_entropy", "masked_words")
LAYER_LOSSES = ("two_d", "uniform", "ese", "pairs")
SCHEDULES = ("constant", "linear", "cosine")
HEADS = ("separate", "tied")
# On banking77, 250 steps: accuracy .78 to .92 at 8 to 384 dimensions, for .31 to .82 by .01.
_HEADS_RATE, _OTHERS_RATE = 0.1, 0.01
#: of the trainer's, those that are called like the package they need
REPORTERS = ("none", "tensorboard", "wandb", "mlflow", "comet_ml", "clearml", "trackio", "swanlab")


@dataclass(frozen=True)
class ModelTable:
    """name: "minilm", a folder or a hub name. max_tokens: where texts are cut, else the model's.

    rotate: start from the model's vectors turned to their own axes, widest spread first.
    dropout: in its place of the model's own; on a CPU 0 takes a third of the time.
    """

    name: str = "minilm"
    max_tokens: int | None = None
    trust_remote_code: bool = False
    rotate: bool = False
    dropout: float | None = None


@dataclass(frozen=True)
class DataTable:
    """What is trained on, and measured on the way.

    train, dev: a .jsonl, .csv, .tsv or .parquet file (gzipped or not), a folder in the BEIR layout,
    or "datasets:NAME" of a Hugging Face dataset. columns: of the file, in the order that the loss
    takes them; found by their usual names where empty. train_split, dev_split: judgements of a
    BEIR folder, a split of a dataset, or rows whose column `split` says so.
    rows: train on so many at most, drawn by seed.
    """

    train: str = ""
    dev: str | None = None
    columns: tuple[str, ...] = ()
    train_split: str = "train"
    dev_split: str = "dev"
    rows: int | None = None


@dataclass(frozen=True)
class NestingTable:
    """widths: rising, all of the model's width where empty and the loss is not nested.

    weights: one a width. learned: weights are trained (uncertainty). per_step: so many widths are
    drawn each step, weighed so that the expected loss is that of all.
    """

    widths: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    learned: bool = False
    per_step: int | None = None


@dataclass(frozen=True)
class LossTable:
    """kind: see LOSSES. The rest belongs to some kinds only; see docs/training.md.

    temperature of info_nce; learned: trained from there, one for all widths. temperatures: of
    temp_agg, temp_agg_mrl, temp_spec_mrl, or one a width of info_nce. schedule: of the temperature,
    to last_temperature. scale: of cosent. head: of cross_entropy, one a width or one tied.
    """

    kind: str = "info_nce"
    temperature: float = 0.05
    learned: bool = False
    temperatures: tuple[float, ...] = ()
    schedule: str = "constant"
    last_temperature: float | None = None
    both_directions: bool = False
    beta: float = 0.0
    scale: float = 20.0
    head: str = "separate"
    smoothing: float = 0.0


@dataclass(frozen=True)
class LayersTable:
    """kind: see LAYER_LOSSES, none where empty. pairs: [[layer, width], ...] of kind "pairs".

    width: of ese. alignment: weight of the term that draws shallow layers to the last.
    """

    kind: str = ""
    pairs: tuple[tuple[int, int], ...] = ()
    width: int | None = None
    alignment: float = 1.0


@dataclass(frozen=True)
class TrainTable:
    """How the model is trained; epochs, or steps where given.

    batch: examples a step on each device; mini_batch: examples encoded at a time, by gradient
    caching. learning_rate: of the model; own_learning_rate: of what the loss trains itself (class
    heads: .1 where None; weights of widths, a temperature: .01), which starts from nothing: heads
    read short prefixes of unit vectors, and must grow. warmup (share of the
    steps), weight_decay, seed. bfloat16: compute in it. evaluate_every, save_every: steps, None for
    each epoch's end. patience: stop after so many evaluations without a better mean over widths.
    report_to: of the trainer, such as tensorboard.
    """

    epochs: float = 1.0
    steps: int | None = None
    batch: int = 128
    mini_batch: int | None = None
    learning_rate: float = 2e-5
    own_learning_rate: float | None = None
    warmup: float = 0.1
    weight_decay: float = 0.0
    seed: int = 0
    bfloat16: bool = False
    evaluate_every: int | None = None
    save_every: int | None = None
    patience: int | None = None
    report_to: str = "none"
    log_every: int = 10


@dataclass(frozen=True)
class Recipe:
    """A whole recipe; see the tables."""

    model: ModelTable = field(default_factory=ModelTable)
    data: DataTable = field(default_factory=DataTable)
    nesting: NestingTable = field(default_factory=NestingTable)
    loss: LossTable = field(default_factory=LossTable)
    layers: LayersTable = field(default_factory=LayersTable)
    train: TrainTable = field(default_factory=TrainTable)

    def nesting_for(self, dim: int) -> Nesting:
        """The nesting of a model dim wide: its own width alone where the recipe names none."""
        if not self.nesting.widths:
            return Nesting((dim,))
        return Nesting(self.nesting.widths, self.nesting.weights)

    @property
    def own_rate(self) -> float:
        """The learning rate of what the loss trains itself."""
        given = self.train.own_learning_rate
        if given is not None:
            return given
        return _HEADS_RATE if self.loss.kind == "cross_entropy" else _OTHERS_RATE

    def to_json(self) -> dict[str, Any]:
        """The tables as plain values."""
        return dataclasses.asdict(self)


_TABLES: dict[str, type] = {
    "model": ModelTable,
    "data": DataTable,
    "nesting": NestingTable,
    "loss": LossTable,
    "layers": LayersTable,
    "train": TrainTable,
}


def load_recipe(path: str | os.PathLike[str], settings: tuple[str, ...] = ()) -> Recipe:
    """The recipe of a TOML file; settings such as "train.batch=64" change it.

    Paths of data and models in the file are taken from where the command runs.
    Raises UserError that names every fault of the file and the settings.
    """
    place = Path(path)
    if not place.is_file():
        raise UserError(f"a recipe is a TOML file; got {str(path)!r}, which is none; see recipes/.")
    try:
        tables = tomllib.loads(place.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{place} is not TOML: {error}. Mend that line.") from None
    faults = [fault for setting in settings for fault in _set(tables, setting)]
    return parse_recipe(tables, where=str(place), faults=faults)


def parse_recipe(
    tables: Mapping[str, Any], *, where: str = "the recipe", faults: list[str] | None = None
) -> Recipe:
    """The recipe that nested mappings describe; raises UserError that names every fault."""
    found = list(faults or [])
    made: dict[str, Any] = {}
    unknown = (name for name in tables if name not in _TABLES)
    found.extend(f"there is no table [{name}]{_nearest(name, _TABLES)}" for name in unknown)
    for name, kind in _TABLES.items():
        made[name] = _table(name, kind, tables.get(name, {}), found)
    recipe = Recipe(**made)
    found.extend(_contradictions(recipe))
    if found:
        listed = "; ".join(found)
        count = "1 fault" if len(found) == 1 else f"{len(found)} faults"
        raise UserError(f"{where} has {count}: {listed}.")
    return recipe


def _set(tables: dict[str, Any], setting: str) -> list[str]:
    """Apply "table.key=value"; the value is TOML, or a bare string."""
    path, equals, text = setting.partition("=")
    table, dot, key = path.strip().partition(".")
    if not equals or not dot or not key:
        return [f"a setting is written table.key=value, got {setting!r}"]
    try:
        value = tomllib.loads(f"x = {text.strip()}")["x"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    here = tables.setdefault(table, {})
    if isinstance(here, dict):
        here[key] = value
    return []


def _table(name: str, kind: type, given: Any, faults: list[str]) -> Any:
    if not isinstance(given, Mapping):
        faults.append(f"[{name}] must be a table, got {given!r}")
        return kind()
    hints = get_type_hints(kind)
    values = {}
    for key, value in given.items():
        if key not in hints:
            faults.append(f"{name}.{key} is no key of [{name}]{_nearest(key, hints)}")
            continue
        fits, taken = _fit(value, hints[key])
        if not fits:
            faults.append(f"{name}.{key} must be {_described(hints[key])}, got {value!r}")
            continue
        values[key] = taken
    return kind(**values)


def _fit(value: Any, hint: Any) -> tuple[bool, Any]:
    """Whether a TOML value fits a type, and the value as that type."""
    arms = get_args(hint)
    if type(None) in arms:
        return _fit(value, next(arm for arm in arms if arm is not type(None)))
    if arms:  # a tuple, of any length or of two
        if not isinstance(value, (list, tuple)) or (arms[-1] is not ... and len(value) != 2):
            return False, None
        taken = [_fit(item, arms[0]) for item in value]
        return all(fits for fits, _ in taken), tuple(item for _, item in taken)
    if hint is float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        return (good and math.isfinite(value)), float(value) if good else None
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    return isinstance(value, hint), value


def _described(hint: Any) -> str:
    arms = [arm for arm in get_args(hint) if arm not in (type(None), ...)]
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}
    if hint in names:
        return names[hint]
    if type(None) in get_args(hint):
        return names[arms[0]]
    if get_args(arms[0]):
        return "a list of pairs [layer, width]"
    return f"a list of {names[arms[0]].removeprefix('a ')}s"


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else f" (it has {', '.join(known)})"


def _contradictions(recipe: Recipe) -> list[str]:
    """What each table allows by itself and all of them together do not."""
    faults = [*_choices(recipe), *_ranges(recipe)]
    try:
        if recipe.nesting.widths:
            Nesting(recipe.nesting.widths, recipe.nesting.weights)
    except UserError as error:
        faults.append(f"nesting: {str(error).rstrip('.')}")
    faults.extend(_loss_faults(recipe))
    faults.extend(_layer_faults(recipe))
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
    if train.seed < 0:
        faults.append(f"train.seed must be 0 or more, got {train.seed}")
    if train.weight_decay < 0 or loss.beta < 0 or recipe.layers.alignment < 0:
        faults.append("train.weight_decay, loss.beta and layers.alignment must be 0 or more")
    if train.patience is not None and data.dev is None:
        faults.append("train.patience needs data.dev to measure on, got none")
    return faults


def _loss_faults(recipe: Recipe) -> list[str]:
    loss, nesting = recipe.loss, recipe.nesting
    kind, widths = loss.kind, len(nesting.widths)
    faults = []
    if loss.temperatures and kind not in PAIR_LOSSES:
        faults.append(f"loss.temperatures belong to {', '.join(PAIR_LOSSES)}, not to {kind}")
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
    if (nesting.learned or nesting.per_step) and not widths:
        faults.append("nesting.learned and nesting.per_step need nesting.widths, got none")
    if nesting.learned and (nesting.weights or nesting.per_step):
        faults.append("nesting.learned excludes nesting.weights and nesting.per_step")
    if nesting.per_step and nesting.per_step > max(widths, 1):
        faults.append(f"nesting.per_step is at most {widths}, got {nesting.per_step}")
    single = kind in ("temp_agg", "temp_agg_mrl", "temp_spec_mrl")
    if single and (nesting.learned or nesting.per_step):
        faults.append(f"{kind} weighs widths itself: leave nesting.learned and per_step out")
    return faults


def _layer_faults(recipe: Recipe) -> list[str]:
    layers, kind = recipe.layers, recipe.layers.kind
    faults = []
    if kind == "pairs" and not layers.pairs:
        faults.append("layers.kind pairs needs layers.pairs, such as [[3, 64], [6, 384]]")
    if layers.pairs and kind != "pairs":
        faults.append("layers.pairs go with layers.kind = 'pairs'")
    if (layers.width is not None) != (kind == "ese"):
        faults.append("layers.width goes with layers.kind = 'ese', which needs it")
    if kind and recipe.loss.kind not in ("info_nce", "cosent"):
        faults.append(f"layers are trained by info_nce or cosent, not by {recipe.loss.kind}")
    if kind in ("two_d", "uniform") and not recipe.nesting.widths:
        faults.append(f"layers.kind {kind} needs nesting.widths, got none")
    if kind in ("ese", "pairs") and recipe.nesting.widths:
        faults.append(f"layers.kind {kind} has widths of its own: leave nesting.widths out")
    if kind and (recipe.nesting.learned or recipe.nesting.per_step or recipe.loss.learned):
        faults.append("layers exclude learned weights, learned temperatures and per_step")
    return faults
