"""The trainer: sentence-transformers' own, told of parts of a loss and of what else is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nestvec.errors import MissingExtra, UserError
from nestvec.progress import Progress, quiet

try:
    import accelerate  # noqa: F401  the trainer needs it
    import datasets
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
    from sentence_transformers import (
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.base.evaluation import BaseEvaluator
    from sentence_transformers.sentence_transformer.data_collator import (
        SentenceTransformerDataCollator,
    )
    from transformers import EarlyStoppingCallback, TrainerCallback
except ImportError:
    raise MissingExtra("training a model", "train") from None

from nestvec.data.training import Examples
from nestvec.learn.dev import DevMeasure
from nestvec.learn.distributed import average_gradients, processes, unwrapped
from nestvec.learn.launched import is_first, world_size
from nestvec.learn.models import trained_nesting
from nestvec.learn.objective import Objective
from nestvec.learn.pixels import Pixels
from nestvec.learn.recipe_tables import Recipe, TrainTable
from nestvec.learn.sentence_model import quiet_libraries

_OBJECTIVE = "objective.safetensors"
_PREFIX = "loss_"
_OWN = r"^(?!model\.)"
_MEAN = "eval_dev_mean"


@dataclass(frozen=True)
class Trained:
    """What a training did.

    steps: taken in all. losses: {part: its mean over the last logged steps}. history: figures of
    dev by step. stopped: whether patience ran out.
    """

    steps: int
    losses: Mapping[str, float] = field(default_factory=dict)
    history: tuple[Mapping[str, float], ...] = ()
    stopped: bool = False


def train_model(
    objective: Objective,
    recipe: Recipe,
    examples: Examples,
    workplace: Path,
    *,
    dev: Examples | None = None,
    labels: Mapping[str, int] | None = None,
    progress: Progress | None = None,
    pixels: Pixels | None = None,
    dev_pixels: Pixels | None = None,
) -> Trained:
    """Train the objective's model in place on examples, with checkpoints in workplace.

    Goes on from the last checkpoint there, to the same weights as a run that was not interrupted.
    labels: {label: class} of labelled texts. dev: measured at every width while training. pixels,
    dev_pixels: the pictures of examples and dev, where these are of pictures.
    Runs as one process of several where torchrun or accelerate started it.
    """
    model = unwrapped(objective.model)
    told = progress if progress is not None and is_first() else quiet()
    # a card with examples already is not given some of the training data
    model.model_card_data.widget = [{}]
    with quiet_libraries():
        trainer = _NestedTrainer(
            model=model,
            args=_arguments(
                recipe.train,
                workplace,
                len(examples),
                has_dev=dev is not None,
                own_rate=recipe.own_rate if objective.own_state() else None,
            ),
            train_dataset=_dataset(examples, labels),
            data_collator=None if pixels is None else _collator(model, pixels),
            loss=objective,
            evaluator=None
            if dev is None
            else _Evaluator(_measure(dev, objective, dev_pixels), recipe.train.learning_rate),
            callbacks=_callbacks(objective, recipe.train, told),
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train(resume_from_checkpoint=_last_checkpoint(workplace))
    told.finish()
    check_finite(model, recipe.train.learning_rate, trainer.state.global_step)
    model.model_card_data.widget = []
    losses, history = _read_log(trainer.state.log_history)
    stopped = trainer.state.global_step < trainer.state.max_steps
    if objective.layers is not None:
        objective.layers.close()
    model.eval()
    return Trained(trainer.state.global_step, losses, history, stopped)


def diverged(rate: float, step: int) -> UserError:
    """What is told where a loss or a weight is no number any more."""
    return UserError(
        f"training diverged at step {max(step, 0)}: the loss or a weight is no number any more; "
        f"train.learning_rate is {rate:g}: lower it, or raise a very small temperature."
    )


def check_finite(model: Any, rate: float, step: int) -> None:
    """Raise UserError where a weight is not finite."""
    if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
        raise diverged(rate, step)


class _NestedTrainer(SentenceTransformerTrainer):  # type: ignore[misc]
    """Logs a loss by its parts, keeps what the objective trains beside the model in checkpoints."""

    loss: Objective

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The total; its parts are logged, each with its own name."""
        features, labels = self.collect_features(inputs)
        if model is self.model_wrapped and self.loss.model is not model:
            self.loss = self.override_model_in_loss(self.loss, model)
        parts = self.loss(features, labels)
        if not bool(torch.isfinite(parts.total.detach())):
            raise diverged(self.args.learning_rate, self.state.global_step)
        self.track_loss_components({f"{_PREFIX}{k}": v for k, v in parts.parts.items()})
        return (parts.total, {}) if return_outputs else parts.total

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """A step; what does not go through the distributed wrapper is averaged here."""
        loss = super().training_step(*args, **kwargs)
        if processes() > 1 and self.accelerator.sync_gradients:
            apart = {id(p) for n, p in self.loss.named_parameters() if not n.startswith("model.")}
            cached = self.loss.recipe.train.mini_batch is not None
            average_gradients(p for p in self.loss.parameters() if cached or id(p) in apart)
        return loss

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # without the card that the library would write: it takes longer than the rest of a small
        # model's checkpoint, and nobody reads it there; save_model writes the trained model's
        folder = Path(output_dir or self.args.output_dir)
        self.model.save_pretrained(str(folder), create_model_card=False)
        state = self.loss.own_state()
        if state:
            save_file(state, folder / _OBJECTIVE)

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        super()._load_from_checkpoint(checkpoint_path)
        self._load_objective(checkpoint_path)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        self._load_objective(self.state.best_model_checkpoint)

    def _load_objective(self, folder: str) -> None:
        place = Path(folder) / _OBJECTIVE
        if place.is_file():
            self.loss.load_state_dict(load_file(place), strict=False)


class _Evaluator(BaseEvaluator):  # type: ignore[misc]
    """A DevMeasure as the trainer calls it; figures are "dev_nDCG@10_64" and "dev_mean"."""

    def __init__(self, measure: DevMeasure, learning_rate: float) -> None:
        super().__init__()
        self.measure = measure
        self.learning_rate = learning_rate
        self.name = "dev"
        self.primary_metric = "dev_mean"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """The figures of a model."""
        check_finite(model, self.learning_rate, steps)
        values = self.measure.by_cut(model)
        figures = {f"dev_{self.measure.measure}_{cut}": v for cut, v in values.items()}
        return {"dev_mean": sum(values.values()) / len(values), **figures}


class _Steps(TrainerCallback):  # type: ignore[misc]
    """Tells the objective how far training is, and people what it costs."""

    def __init__(self, objective: Objective, progress: Progress) -> None:
        self.objective = objective
        self.progress = progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the bar, where a resumed run left it."""
        self.progress.start("train (steps)", state.max_steps)
        self.progress.advance(state.global_step)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The step that draws and schedules go by."""
        self.objective.step = state.global_step
        self.objective.done = state.global_step / max(1, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One more."""
        self.progress.advance(1)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        """A line with the loss and its parts, or with figures of dev."""
        parts = {k.removeprefix(_PREFIX): v for k, v in logs.items() if k.startswith(_PREFIX)}
        if "loss" in logs:
            listed = " ".join(f"{name} {value:.3f}" for name, value in parts.items())
            self.progress.note(f"step {state.global_step}: loss {logs['loss']:.3f} ({listed})")
        figures = {k: v for k, v in logs.items() if k.startswith("eval_dev_")}
        if figures:
            listed = " ".join(f"{k.removeprefix('eval_dev_')} {v:.4f}" for k, v in figures.items())
            self.progress.note(f"step {state.global_step}: dev {listed}")


def _callbacks(objective: Objective, train: TrainTable, progress: Progress) -> list[Any]:
    callbacks: list[Any] = [_Steps(objective, progress)]
    if train.patience is not None:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=train.patience))
    return callbacks


def _arguments(
    train: TrainTable, workplace: Path, rows: int, *, has_dev: bool, own_rate: float | None
) -> SentenceTransformerTrainingArguments:
    per_epoch = max(1, -(-rows // (train.batch * world_size())))
    steps = train.steps or max(1, round(per_epoch * train.epochs))
    evaluate_every = train.evaluate_every or per_epoch
    keep_best = has_dev and train.patience is not None
    # the best model is one that was kept, so models are kept when they are measured
    save_every = evaluate_every if keep_best else train.save_every or per_epoch
    return SentenceTransformerTrainingArguments(
        output_dir=str(workplace),
        max_steps=steps,
        per_device_train_batch_size=train.batch,
        learning_rate=train.learning_rate,
        learning_rate_mapping={} if own_rate is None else {_OWN: own_rate},
        warmup_steps=round(train.warmup * steps),
        weight_decay=train.weight_decay,
        seed=train.seed,
        data_seed=train.seed,
        full_determinism=False,
        bf16=train.bfloat16,
        eval_strategy="steps" if has_dev else "no",
        eval_steps=evaluate_every,
        save_strategy="steps",
        save_steps=save_every,
        save_total_limit=2,
        load_best_model_at_end=keep_best,
        metric_for_best_model=_MEAN if keep_best else None,
        greater_is_better=True if keep_best else None,
        logging_steps=min(train.log_every, steps),
        report_to=train.report_to,
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        ddp_find_unused_parameters=True,
        dataloader_num_workers=0,
    )


def _measure(dev: Examples, objective: Objective, pixels: Pixels | None) -> DevMeasure:
    if objective.layers is None:
        return DevMeasure(dev, {None: objective.nesting.widths}, pixels=pixels)
    trained = trained_nesting(unwrapped(objective.model), objective.recipe)
    return DevMeasure(dev, dict(sorted(trained.layers.items())), layers=objective.layers)


def _dataset(examples: Examples, labels: Mapping[str, int] | None) -> Any:
    # names of our own: the collator takes columns called label, labels or score for no text
    values = list(examples.columns.values())
    texts = {"labelled": 1, "scored": 2}.get(examples.shape, len(values))
    columns: dict[str, Any] = {f"text_{i}": column for i, column in enumerate(values[:texts])}
    if labels is not None:
        columns["label"] = [labels[label] for label in values[1]]
    elif examples.shape == "scored":
        columns["score"] = values[2]
    return datasets.Dataset.from_dict(columns)


def _collator(model: Any, pixels: Pixels) -> SentenceTransformerDataCollator:
    """The usual one, but that whole numbers are places of pictures."""

    def features(values: list[Any], **told: Any) -> Any:
        pictured = isinstance(values[0], int)
        return pixels(values) if pictured else model.preprocess(values, **told)

    return SentenceTransformerDataCollator(preprocess_fn=features)


def _read_log(
    log: list[dict[str, float]],
) -> tuple[dict[str, float], tuple[dict[str, float], ...]]:
    losses: dict[str, float] = {}
    history = []
    for entry in log:
        if "loss" in entry:
            losses = {k.removeprefix(_PREFIX): v for k, v in entry.items() if _PREFIX in k}
            losses["total"] = entry["loss"]
        figures = {k: v for k, v in entry.items() if k.startswith("eval_dev_")}
        if figures:
            history.append({"step": entry["step"], **figures})
    return losses, tuple(history)


def _last_checkpoint(workplace: Path) -> str | None:
    found = sorted(
        workplace.glob("checkpoint-*"), key=lambda place: int(place.name.rpartition("-")[2])
    )
    # the trainer's state is the last file of a checkpoint that is written
    whole = [place for place in found if (place / "trainer_state.json").is_file()]
    return str(whole[-1]) if whole else None
