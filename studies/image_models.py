"""Image models of the study of images: trained once for each set, arm and seed, and kept.

An arm is MRL (a head a width), MRL-E (one for all) or FF (a model of its own for a width, whose
head reads the first so many features; Kusupati et al. 2022, arXiv:2205.13147, app. C); where it is
asked for, also MRL for half as many epochs more, which is still a fraction of what all FF take.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nestvec.cli.bars import bars
from nestvec.data.images import Images, open_images
from nestvec.data.training import Examples
from nestvec.learn.image_models import new_image_model
from nestvec.learn.losses.heads import SeparateHeads, TiedHead
from nestvec.learn.objective import Objective
from nestvec.learn.pixels import Pixels, encode_pictures, pixels_for
from nestvec.learn.recipe import parse_recipe
from nestvec.learn.trainer import train_model

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
FULL = os.environ.get("FULL") == "1"
DIM = 512 if FULL else 256
BFLOAT16 = FULL or torch.cpu._is_avx512_bf16_supported()
"""Half the time of a step, where a processor has it; elsewhere it would cost time."""
LONGER = {"mrl-longer": 1.5}


@dataclass(frozen=True)
class Plan:
    """What a set is trained with. rows: of training pictures, held: of those, not trained on.

    classes: so many drawn of all, where not all are taken. rate: of learning, chosen for MRL and FF
    of 16 dimensions together on held-out pictures. weights: of MRL's and MRL-E's widths (c_m), all
    1 where none are given, chosen on held-out pictures. cascades: MRL models that cascades are told
    of, where more than the seeds of the study. model: its name as recipes know it.
    """

    name: str
    train: str
    test: str
    widths: tuple[int, ...]
    rows: int
    held: int
    epochs: float
    rate: float
    classes: int | None = None
    weights: tuple[float, ...] = ()
    cascades: int = 0
    model: str = "resnet-small"


_TEN = (2, 4, 8, 16, 32, 64, 128, 256)
_SMALL = (
    Plan(
        "fashion_mnist",
        "train-images-idx3-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        _TEN,
        rows=22_000,
        held=2_000,
        epochs=4,
        rate=3e-3,
    ),
    Plan(
        "cifar10",
        "train.parquet",
        "test.parquet",
        _TEN,
        rows=20_000,
        held=2_000,
        epochs=17,
        rate=5e-3,
        model="resnet-small-mlp",
    ),
    Plan(
        "tiny_imagenet32",
        "train.parquet",
        "test.parquet",
        (4, 8, 16, 32, 64, 128, 256),
        rows=10_000,
        held=2_000,
        epochs=20,
        rate=5e-3,
        classes=50,
        weights=(1, 1.5, 2, 1.5, 0.7, 0.4, 0.4),
        cascades=8,
    ),
)
# All pictures of all classes, longer, by ResNet-18.
_WHOLE = tuple(
    replace(
        plan,
        widths=(*plan.widths, DIM),
        rows=10**9,
        held=5_000,
        epochs=max(24, 3 * plan.epochs),
        classes=None,
        weights=plan.weights and (*plan.weights, plan.weights[-1]),
        cascades=0,
        model="resnet-18",
    )
    for plan in _SMALL
)
PLANS = _WHOLE if FULL else _SMALL
SIZE = 32
BATCH = 128
DECAY = 0.05


@dataclass(frozen=True, eq=False)
class Pictures:
    """A set's pictures. fitted, held: places in train."""

    plan: Plan
    train: Images
    test: Images
    fitted: I64
    held: I64

    @property
    def labels(self) -> tuple[I64, I64]:
        """Of training and test pictures."""
        assert self.train.labels is not None
        assert self.test.labels is not None
        return self.train.labels, self.test.labels


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a model gives. train, test: (n, d) as they are; logits, held_logits: {width: (n, c)}.

    weight (c, d), bias (c,): of the widest head. seconds: of training.
    """

    train: F32
    test: F32
    logits: dict[int, F32]
    held_logits: dict[int, F32]
    weight: F32
    bias: F32
    seconds: float


def pictures_of(plan: Plan, data: Path, seed: int = 0) -> Pictures:
    """A set's pictures; those trained on and those held out are drawn by seed, by class alike."""
    train, test = (open_images(data / plan.name / name) for name in (plan.train, plan.test))
    if plan.classes is not None:
        picks = np.random.default_rng(0).permutation(len(train.classes))[: plan.classes]
        train, test = (of_classes(each, np.sort(picks)) for each in (train, test))
    assert train.labels is not None
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(train.labels))
    # every class in turn, so that any share of the order has them alike
    turn = np.empty(len(order), np.int64)
    for label in range(len(train.classes)):
        of_label = train.labels[order] == label
        turn[of_label] = np.arange(of_label.sum())
    order = order[np.argsort(turn, kind="stable")][: plan.rows]
    return Pictures(plan, train, test, np.sort(order[plan.held :]), np.sort(order[: plan.held]))


def of_classes(images: Images, classes: I64) -> Images:
    """Pictures of some classes, which are numbered anew."""
    assert images.labels is not None
    kept = images.take(np.flatnonzero(np.isin(images.labels, classes)))
    assert kept.labels is not None
    names = tuple(images.classes[i] for i in classes.tolist())
    return replace(kept, labels=np.searchsorted(classes, kept.labels), classes=names)


class Trainings:
    """Models of a set, each trained where its outcome is not in the folder yet."""

    def __init__(self, pictures: Pictures, data: Path, folder: Path) -> None:
        self.pictures = pictures
        self.plan = pictures.plan
        self.data = data
        self.folder = folder / (f"{self.plan.name}-full" if FULL else self.plan.name)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._models: dict[tuple[str, int], tuple[Any, SeparateHeads | TiedHead]] = {}
        self._pixels: tuple[Pixels, Pixels] | None = None

    def pixels(self, model: Any) -> tuple[Pixels, Pixels]:
        """Training and test pictures as models take them; read once."""
        if self._pixels is None:
            sides = (self.pictures.train, self.pictures.test)
            first, second = (pixels_for(model, each, SIZE, bars()) for each in sides)
            self._pixels = first, second
        return self._pixels

    def wanted(self, nested: Sequence[str], seeds: range) -> list[tuple[str, tuple[int, ...], int]]:
        """Arm, widths and seed of every model of the study. nested: arms of all widths at once."""
        widths = self.plan.widths
        arms = [*((arm, widths) for arm in nested), *(("ff", (width,)) for width in widths)]
        found = [(arm, each, seed) for seed in seeds for arm, each in arms]
        return found + [("mrl", widths, seed) for seed in self.of_cascades(seeds)[len(seeds) :]]

    def of_cascades(self, seeds: range) -> range:
        """Seeds of the MRL models that cascades are told of."""
        return range(max(len(seeds), self.plan.cascades))

    def place(self, arm: str, widths: tuple[int, ...], seed: int) -> Path:
        """Where the outcome of a model is kept."""
        name = f"{arm}-{seed}" if arm != "ff" else f"ff{widths[0]}-{seed}"
        return self.folder / f"{name}.npz"

    def outcome(self, arm: str, widths: tuple[int, ...], seed: int) -> Outcome:
        """Of an arm: "mrl", "mrl-longer", "mrl-e", or "ff" with one width."""
        place = self.place(arm, widths, seed)
        if not place.exists():
            self._keep(place, arm, widths, seed)
        found = np.load(place)
        return Outcome(
            found["train"],
            found["test"],
            {width: found[f"logits{width}"] for width in widths},
            {width: found[f"held{width}"] for width in widths},
            found["weight"],
            found["bias"],
            float(found["seconds"]),
        )

    def _keep(self, place: Path, arm: str, widths: tuple[int, ...], seed: int) -> None:
        begun = time.perf_counter()
        model, heads = self.trained(arm, widths, seed, self.pictures.fitted)
        seconds = time.perf_counter() - begun
        train, test = self.pixels(model)
        vectors = {
            "train": encode_pictures(model, train, self.pictures.fitted),
            "test": encode_pictures(model, test, np.arange(len(self.pictures.test))),
        }
        held = encode_pictures(model, train, self.pictures.held)
        labels, asked = self.pictures.labels
        with torch.no_grad():
            told = heads(torch.from_numpy(vectors["test"]))
            kept = heads(torch.from_numpy(held))
        if arm == "ff":
            vectors = {name: each[:, : widths[0]] for name, each in vectors.items()}
        widest = heads.head if isinstance(heads, TiedHead) else heads.heads[-1]
        assert isinstance(widest, torch.nn.Linear)
        partial = place.with_suffix(".partial.npz")
        np.savez(
            partial,
            **vectors,  # type: ignore[arg-type]
            **{f"logits{width}": each.numpy() for width, each in told.items()},
            **{f"held{width}": each.numpy() for width, each in kept.items()},
            train_labels=labels[self.pictures.fitted],
            held_labels=labels[self.pictures.held],
            test_labels=asked,
            weight=widest.weight.detach().numpy(),
            bias=widest.bias.detach().numpy(),
            seconds=seconds,
        )
        os.replace(partial, place)
        right = {
            width: float((each.argmax(1).numpy() == asked).mean()) for width, each in told.items()
        }
        print(
            f"{self.plan.name} {place.stem}: {seconds:.0f} s, "
            + " ".join(f"{width}: {100 * value:.1f}" for width, value in right.items()),
            flush=True,
        )

    def trained(
        self, arm: str, widths: tuple[int, ...], seed: int, rows: I64
    ) -> tuple[Any, SeparateHeads | TiedHead]:
        """A new model and its heads, trained on some of the training pictures.

        Those of seed 0 that are told more of stay at hand.
        """
        key = arm, widths[-1]
        at_hand = seed == 0 and rows is self.pictures.fitted and widths[-1] == DIM
        if at_hand and key in self._models:
            return self._models[key]
        kept = self.folder / f"{arm}{widths[-1]}-{seed}.pt"
        if at_hand and kept.exists():
            model, heads = torch.load(kept, weights_only=False)
            self._models[key] = model, heads
            return model, heads
        labels, _ = self.pictures.labels
        weighed = {"weights": list(self.plan.weights)} if arm != "ff" and self.plan.weights else {}
        recipe = parse_recipe(
            {
                "model": {"name": self.plan.model},
                "data": {"train": self.plan.name},
                "nesting": {"widths": list(widths), **weighed},
                "loss": {
                    "kind": "cross_entropy",
                    "head": "tied" if arm == "mrl-e" else "separate",
                    "smoothing": 0.1,
                },
                "images": {"size": SIZE, "crop": 2, "flip": True},
                "train": {
                    "epochs": self.plan.epochs * LONGER.get(arm, 1),
                    "batch": BATCH,
                    "learning_rate": self.plan.rate,
                    "weight_decay": DECAY,
                    "seed": seed,
                    "bfloat16": BFLOAT16,
                    "save_every": 10**6,
                    "log_every": 10**6,
                },
            },
            where="the study",
        )
        model = new_image_model(recipe.model.name, SIZE, seed)
        names = [str(label) for label in labels[rows].tolist()]
        numbers = {str(label): label for label in range(len(self.pictures.train.classes))}
        objective = Objective(model, recipe, classes=len(numbers))
        examples = Examples(
            "labelled",
            {"image": rows.tolist(), "label": names},
            self.plan.name,
            self.pictures.train,
        )
        with tempfile.TemporaryDirectory() as folder:
            train_model(
                objective,
                recipe,
                examples,
                Path(folder),
                labels=numbers,
                pixels=self.pixels(model)[0],
                progress=bars(),
            )
        assert objective.heads is not None
        heads = objective.heads.cpu().eval()
        if at_hand:
            self._models[key] = model, heads
            torch.save((model, heads), kept)
        return model, heads
