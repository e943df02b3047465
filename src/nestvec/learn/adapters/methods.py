"""The adapters by name: what each is made of, and how it is trained."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nestvec.adapters.adapter import Adapter, Stage
from nestvec.adapters.maps import Linear
from nestvec.errors import UserError
from nestvec.learn.adapters.examples import Examples
from nestvec.learn.adapters.held_out import HeldOut
from nestvec.learn.adapters.memory import Queue
from nestvec.learn.adapters.modules import Chain, LinearMap, ReflectionsMap, ResidualMap, Selection
from nestvec.learn.adapters.objectives import (
    Apply,
    Contrast,
    Distillation,
    MemorySimilarity,
    Objective,
    PairSimilarity,
    Prediction,
    Rank,
    TopSimilarity,
    Weighed,
    recovered,
)
from nestvec.learn.adapters.spectrum import principal_axes, spectral_weights
from nestvec.learn.adapters.training import History, Training, Watch, train
from nestvec.nesting import Nesting
from nestvec.progress import Progress, quiet

F32 = NDArray[np.float32]
HELD_OUT = 0.1
FEWEST_PAIRS = 10


@dataclass(frozen=True)
class Parts:
    """Which parts of SMEC are used; each can be left out alone.

    sequential: SMRL, stage after stage; else one map with all widths at once. selecting: ADS;
    else a stage keeps the leading coordinates. remembering: S-XBM; else L_unsup is left out.
    """

    sequential: bool = True
    selecting: bool = True
    remembering: bool = True


@dataclass(frozen=True)
class AdapterSettings:
    """What an adapter's training depends on, apart from its method.

    widths: to be good at, rising; the vectors' own is added. training: see Training. alpha:
    weight of L_unsup beside L_rank (SMEC's .1). queue: frozen vectors remembered (SMEC's 5,000).
    neighbours: k of L_topk and L_unsup. scale: of cosines in L_rank, 1 in the papers. temperature:
    of InfoNCE and of distillation. hidden: of residual maps, by default the vectors' width.
    reflections: how many. parts: of SMEC.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    training: Training = field(default_factory=Training)
    alpha: float = 0.1
    queue: int = 5_000
    neighbours: int = 10
    scale: float = 20.0
    temperature: float = 0.05
    hidden: int = 0
    reflections: int = 16
    parts: Parts = field(default_factory=Parts)

    def nesting(self, dim: int) -> Nesting:
        """The widths up to dim, and dim. Raises UserError for one above dim."""
        above = [width for width in self.widths if width > dim]
        if above:
            raise UserError(
                f"an adapter's widths go up to the vectors' own, {dim}; got "
                f"{', '.join(map(str, above))}. Leave them out."
            )
        return Nesting(tuple(sorted({*self.widths, dim})))


@dataclass(frozen=True, eq=False)
class Job:
    """One fit under way: its examples, settings and where it writes.

    watch: called with every stage's gradients (see Watch).
    """

    examples: Examples
    settings: AdapterSettings
    folder: Path | None = None
    progress: Progress = field(default_factory=quiet)
    watch: Watch | None = None

    @property
    def nesting(self) -> Nesting:
        """Widths to be good at."""
        return self.settings.nesting(self.examples.dim)


@dataclass
class Trained:
    """What a method gives: stages, and the history of each training."""

    stages: list[Stage]
    histories: list[History] = field(default_factory=list)


def fit_adapter(
    method: str,
    examples: Examples,
    settings: AdapterSettings | None = None,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Adapter:
    """Train an adapter; a tenth of the pairs is held out, by document, to stop early on.

    method: a name in METHODS. folder: for checkpoints, which a rerun goes on from.
    Raises UserError for an unknown method, one that needs labels where there are none, widths
    above the vectors', vectors that are not finite or all alike, and fewer than 10 pairs.
    """
    found = _method(method)
    settings = settings or AdapterSettings()
    settings.nesting(examples.dim)
    examples.check()
    if found.labels == "needed" and not examples.labelled:
        raise UserError(
            f"{method} learns from pairs of query and document; got none. Give pairs, or choose "
            f"{', '.join(n for n, m in METHODS.items() if m.labels != 'needed')}."
        )
    if examples.labelled and found.labels != "unused":
        assert examples.pairs is not None
        if len(examples.pairs) < FEWEST_PAIRS:
            raise UserError(
                f"an adapter needs at least {FEWEST_PAIRS} pairs, some of them to stop early on; "
                f"got {len(examples.pairs)}. Give more, or none."
            )
    elif examples.labelled:
        examples = Examples(examples.documents)
    begun = time.monotonic()
    torch.manual_seed(settings.training.seed)
    job = Job(examples, settings, folder, progress or quiet(), watch)
    trained = found.fit(job)
    facts = {
        "documents": len(examples.documents),
        "pairs": 0 if examples.pairs is None else len(examples.pairs),
        "settings": asdict(settings),
        "queue": min(settings.queue, len(examples.documents)),
        "histories": [vars(history) for history in trained.histories],
        "seconds": round(time.monotonic() - begun, 3),
    }
    return Adapter(method, examples.dim, job.nesting.widths, tuple(trained.stages), facts)


def _run(
    job: Job,
    module: nn.Module,
    objective: Objective,
    nesting: Nesting,
    *,
    frozen: Apply | None = None,
    label: str = "one",
    examples: Examples | None = None,
) -> History:
    """One training: on nine tenths of the pairs, scored on the rest."""
    given = examples or job.examples
    training = job.settings.training
    fitted = held = given
    if given.labelled:
        fitted, held = given.split(HELD_OUT, training.seed)
    checkpoint = None
    if job.folder is not None:
        job.folder.mkdir(parents=True, exist_ok=True)
        checkpoint = job.folder / f"{label}.pt"
    return train(
        module,
        objective,
        fitted,
        HeldOut(held, nesting, training.seed, training.device),
        training,
        frozen=frozen,
        watch=job.watch,
        checkpoint=checkpoint,
        progress=job.progress,
    )


def _one_map(job: Job, module: nn.Module, objective: Objective) -> Trained:
    """A method of one map for all widths."""
    history = _run(job, module, objective, job.nesting)
    return Trained([Stage(job.examples.dim, module.maps())], [history])  # type: ignore[operator]


def _ranking(job: Job, nesting: Nesting) -> Objective:
    """L_rank where there are labels, else the full vectors' scores as grades."""
    settings = job.settings
    if job.examples.labelled:
        return Rank(nesting, settings.scale)
    return Distillation(nesting, settings.temperature)


def fit_linear(job: Job) -> Trained:
    """One matrix from SVD, InfoNCE at all widths; without labels the full vectors' scores."""
    start = principal_axes(job.examples.documents, job.settings.training.seed)
    loss: Objective = Distillation(job.nesting, job.settings.temperature)
    if job.examples.labelled:
        loss = Contrast(job.nesting, job.settings.temperature)
    return _one_map(job, LinearMap(start), loss)


def fit_mrl(job: Job) -> Trained:
    """The plain MRL adapter: one matrix from the identity, L_rank at all widths."""
    start = np.eye(job.examples.dim, dtype=np.float32)
    return _one_map(job, LinearMap(start), _ranking(job, job.nesting))


def fit_reflections(job: Job) -> Trained:
    """A product of Householder reflections after the principal axes: full-width scores stay."""
    seed = job.settings.training.seed
    axes = principal_axes(job.examples.documents, seed)
    module = Chain(_Fixed(axes), ReflectionsMap(job.examples.dim, job.settings.reflections, seed))
    loss: Objective = Distillation(job.nesting, job.settings.temperature)
    if job.examples.labelled:
        loss = Contrast(job.nesting, job.settings.temperature)
    return _one_map(job, module, loss)


def fit_search(job: Job) -> Trained:
    """Search-Adaptor: a residual layer, L_rank at full width, recovery, prediction."""
    dim = job.examples.dim
    module = ResidualMap(dim, job.settings.hidden or dim)
    parts: list[tuple[float, Objective]] = [
        (1.0, Rank(Nesting((dim,)), job.settings.scale)),
        (job.settings.alpha, recovered),
        (job.settings.alpha, Prediction(dim)),
    ]
    return _one_map(job, module, Weighed(parts))


def fit_matryoshka(job: Job) -> Trained:
    """Matryoshka-Adaptor: L_topk + L_pair + L_rec, then with labels L_rank as well."""
    dim = job.examples.dim
    module = ResidualMap(dim, job.settings.hidden or dim)
    similar: list[tuple[float, Objective]] = [
        (1.0, TopSimilarity(job.nesting, job.settings.neighbours)),
        (1.0, PairSimilarity(job.nesting)),
        (1.0, recovered),
    ]
    unlabelled = Examples(job.examples.documents)
    first = _run(job, module, Weighed(similar), job.nesting, examples=unlabelled)
    if not job.examples.labelled:
        return Trained([Stage(dim, module.maps())], [first])
    ranked = Rank(job.nesting, job.settings.scale)
    second = _run(job, module, Weighed([(1.0, ranked), *similar]), job.nesting, label="two")
    return Trained([Stage(dim, module.maps())], [first, second])


def fit_smec(job: Job) -> Trained:
    """SMEC: a map a stage, each half as wide as the one before, frozen once it is trained.

    Stage i maps what stage i - 1 gave (all of it) to its width N_i and is trained at N_i and at
    N_i+1, the kept coordinates chosen by importance where ADS is on. Without SMRL there is one
    stage with all widths.
    """
    settings, parts = job.settings, job.settings.parts
    dim, seed = job.examples.dim, job.settings.training.seed
    widths = job.nesting.widths[::-1]
    steps = list(zip(widths, (*widths[1:], 0), strict=True)) if parts.sequential else [(dim, 0)]
    stages: list[Stage] = []
    histories = []
    before: Apply | None = None
    given = dim
    for i, (width, narrower) in enumerate(steps):
        if i and not narrower:
            break  # the last width is trained by the stage before
        nesting = (
            Nesting(tuple(sorted({width, narrower} - {0}))) if parts.sequential else (job.nesting)
        )
        linear = LinearMap(np.eye(given, width, dtype=np.float32))
        keep = narrower or nesting.widths[0]
        module = Chain(linear, Selection(width, keep, seed + i)) if parts.selecting else linear
        loss: Objective = _ranking(job, nesting)
        if parts.remembering:
            queue = Queue(
                min(settings.queue, len(job.examples.documents)), dim, settings.training.device
            )
            remembered = MemorySimilarity(nesting, queue, min(settings.neighbours, 4))
            loss = Weighed([(1.0, loss), (settings.alpha, remembered)])
        histories.append(_run(job, module, loss, nesting, frozen=before, label=f"stage{i}"))
        stages.append(Stage(width, module.maps(), i - 1))
        before = _after(before, module)
        given = width
    return Trained(stages, histories)


def fit_spectemp(job: Job) -> Trained:
    """Label-free: principal axes, each weighed by a power of its eigenvalue (see spectrum)."""
    axes, weights = spectral_weights(job.examples.documents, job.settings.training.seed)
    return Trained([Stage(job.examples.dim, (Linear(axes * weights),))])


def fit_per_width(job: Job) -> Trained:
    """A projection for each width, from SVD and trained alone: what most people do."""
    dim = job.examples.dim
    axes = principal_axes(job.examples.documents, job.settings.training.seed)
    stages, histories = [], []
    for width in reversed(job.nesting.widths):
        module = LinearMap(np.ascontiguousarray(axes[:, :width]))
        nesting = Nesting((width,))
        loss: Objective = Distillation(nesting, job.settings.temperature)
        if job.examples.labelled:
            loss = Contrast(nesting, job.settings.temperature)
        histories.append(_run(job, module, loss, nesting, label=f"width{width}"))
        stages.append(Stage(width, module.maps()))
    assert stages[0].width == dim
    return Trained(stages, histories)


class _Fixed(LinearMap):
    """A matrix that is not trained."""

    def __init__(self, weight: F32) -> None:
        super().__init__(weight)
        self.weight.requires_grad_(False)


def _after(before: Apply | None, module: nn.Module) -> Apply:
    module.eval()
    for weight in module.parameters():
        weight.requires_grad_(False)

    def apply(rows: Tensor) -> Tensor:
        with torch.no_grad():
            mapped: Tensor = module(rows if before is None else before(rows))
            return mapped

    return apply


@dataclass(frozen=True)
class Method:
    """How a method is fitted, and whether it needs labels, uses them, or leaves them."""

    fit: Callable[[Job], Trained]
    labels: str


METHODS: dict[str, Method] = {
    "linear": Method(fit_linear, "used"),
    "mrl": Method(fit_mrl, "used"),
    "smec": Method(fit_smec, "used"),
    "matryoshka": Method(fit_matryoshka, "used"),
    "search": Method(fit_search, "needed"),
    "reflections": Method(fit_reflections, "used"),
    "per-width": Method(fit_per_width, "used"),
    "spectemp": Method(fit_spectemp, "unused"),
}
"""Every adapter by its name."""


def _method(name: str) -> Method:
    if name not in METHODS:
        raise UserError(f"an adapter is one of {', '.join(METHODS)}; got {name!r}. Choose one.")
    return METHODS[name]


def scaled(settings: AdapterSettings, **training: Any) -> AdapterSettings:
    """The settings with other values of their training."""
    return replace(settings, training=replace(settings.training, **training))
