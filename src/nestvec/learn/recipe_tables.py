"""What a recipe of training may say: its tables, their keys and what these are where left out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from nestvec.nesting import Nesting

PAIR_LOSSES = ("info_nce", "temp_agg", "temp_agg_mrl", "temp_spec_mrl")
LOSSES = (*PAIR_LOSSES, "cosent", "cross_entropy", "masked_words")
LAYER_LOSSES = ("two_d", "uniform", "ese", "pairs", "heads")
SCHEDULES = ("constant", "linear", "cosine")
NEW_MODELS = ("resnet-small", "resnet-small-mlp", "resnet-18", "resnet-50", "vit-small")
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
    or a Hugging Face dataset, "datasets:NAME" or "datasets:NAME:CONFIGURATION"; of pictures, see
    ImagesTable, a folder by class, IDX, .npy, .npz or .parquet with their bytes. columns: of the
    file, in the order that the loss takes them; found by their usual names where empty.
    train_split, dev_split: judgements of a BEIR folder, a split of a dataset, or rows whose column
    `split` says so.
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

    width: of ese. at: layers of kind "heads" that have class heads beside the last, rising.
    alignment: weight of the term that draws shallow layers to the last.
    """

    kind: str = ""
    pairs: tuple[tuple[int, int], ...] = ()
    width: int | None = None
    at: tuple[int, ...] = ()
    alignment: float = 1.0


@dataclass(frozen=True)
class TrainTable:
    """How the model is trained; epochs, or steps where given.

    batch: examples a step on each device; mini_batch: examples encoded at a time, by gradient
    caching. learning_rate: of the model; own_learning_rate: of what the loss trains itself (class
    heads: .1 where None; weights of widths, a temperature: .01), which starts from nothing: heads
    read short prefixes of unit vectors, and must grow; of pictures, where None, the model's. warmup
    (share of the steps), weight_decay, seed. bfloat16: compute in it. evaluate_every, save_every:
    steps, None for each epoch's end. patience: stop after so many evaluations without a better mean
    over widths.
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
class ImagesTable:
    """Pictures in place of texts, where it has a size: data.train is then one of pictures.

    size: height and width in pixels that pictures are brought to. Disturbed at each step: crop:
    shifted by up to so many pixels each way. flip: every second one mirrored. zoom: cut to this
    share of the area or more, and stretched. skip_broken: leave out files that are no pictures. A
    model of NEW_MODELS is made anew, with random weights.
    """

    size: int | None = None
    crop: int = 0
    flip: bool = False
    zoom: float | None = None
    skip_broken: bool = False


@dataclass(frozen=True)
class Recipe:
    """A whole recipe; see the tables."""

    model: ModelTable = field(default_factory=ModelTable)
    data: DataTable = field(default_factory=DataTable)
    nesting: NestingTable = field(default_factory=NestingTable)
    loss: LossTable = field(default_factory=LossTable)
    layers: LayersTable = field(default_factory=LayersTable)
    images: ImagesTable = field(default_factory=ImagesTable)
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
        if self.images.size is not None:
            return self.train.learning_rate
        return _HEADS_RATE if self.loss.kind == "cross_entropy" else _OTHERS_RATE

    def to_json(self) -> dict[str, Any]:
        """The tables as plain values."""
        return dataclasses.asdict(self)
