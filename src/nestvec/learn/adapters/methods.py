"""The adapters by name: what each is made of, and how it is trained."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nestvec.adapters.adapter import Adapter, Stage
from nestvec.adapters.maps import Linear
from nestvec.errors import UserError
from nestvec.learn.adapters.blending import blended
from nestvec.learn.adapters.coded import Coding, train_through_code
from nestvec.learn.adapters.distilled import fit_distilled
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
from nestvec.learn.adapters.running import (
    Job,
    Trained,
    checkpoint_of,
    held_share,
    one_map,
    run,
    whose_of,
)
from nestvec.learn.adapters.settings import AdapterSettings as AdapterSettings
from nestvec.learn.adapters.settings import Parts as Parts
from nestvec.learn.adapters.settings import check_device
from nestvec.learn.adapters.spectrum import principal_axes, spectral_weights
from nestvec.learn.adapters.training import Watch
from nestvec.nesting import Nesting
from nestvec.progress import Progress, quiet

F32 = NDArray[np.float32]
FEWEST_PAIRS = 10


def fit_adapter(
    method: str,
    examples: Examples,
    settings: AdapterSettings | None = None,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Adapter:
    """Train an adapter; a tenth is held out to stop early on, at most 1,000.

    Held out are pairs, by document, and by query where documents tie nearly all pairs together
    (progress is told); without pairs, documents. method: a name in METHODS. folder: for
    checkpoints, which a rerun goes on from.
    Raises UserError for an unknown method or device, a method that needs labels where there are
    none, widths above the vectors', vectors that are not finite or all alike, fewer than 10 pairs,
    pairs of one query alone, a training that diverges, and a folder of another training.
    """
    found = _method(method)
    settings = settings or AdapterSettings()
    settings.nesting(examples.dim)
    check_device(settings.training.device)
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
    listener = progress or quiet()
    torch.manual_seed(settings.training.seed)
    fitted, held = _hold_out(examples, settings.training.seed, listener)
    job = Job(method, examples, fitted, held, settings, folder, listener, watch)
    trained = found.fit(job)
    facts = {
        "documents": len(examples.documents),
        "pairs": 0 if examples.pairs is None else len(examples.pairs),
        "settings": asdict(settings),
        "queue": min(settings.queue, len(examples.documents)),
        "histories": [vars(history) for history in trained.histories],
        "seconds": round(time.monotonic() - begun, 3),
        **trained.facts,
    }
    # As a file gives it back: lists for tuples, and nothing that JSON has no word for.
    facts = json.loads(json.dumps(facts, allow_nan=False))
    return Adapter(method, examples.dim, job.nesting.widths, tuple(trained.stages), facts)


def _hold_out(examples: Examples, seed: int, progress: Progress) -> tuple[Examples, Examples]:
    """Examples to train on and to stop early on."""
    if examples.pairs is None:
        rows = examples.documents if examples.rows is None else examples.rows
        return examples.split_documents(held_share(len(rows)), seed)
    share = held_share(len(examples.pairs))
    if examples.tied <= 1 - share / 2:
        return examples.split(share, seed)
    progress.note(
        "documents tie nearly all pairs together, so whole queries are held out to stop early on, "
        "whose documents may be trained on with others"
    )
    return examples.split_queries(share, seed)


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
    module = LinearMap(start)
    trained = one_map(job, module, loss)
    if not job.settings.blend:
        return trained
    training = job.settings.training
    held = HeldOut(job.held, job.nesting, training.seed, training.device)
    weight = module.weight.detach()
    begin = torch.from_numpy(start).to(weight.device)
    matrix, shares = blended(begin, weight, job.nesting, held, job.progress)
    stage = Stage(job.examples.dim, (Linear(matrix.cpu().numpy()),))
    return Trained([stage], trained.histories, {"shares_of_start": shares})


def fit_coded(job: Job) -> Trained:
    """The linear map, then trained on through the nested code at several byte counts at once."""
    start = principal_axes(job.examples.documents, job.settings.training.seed)
    module = LinearMap(start)
    assert job.fitted.pairs is not None
    coding = replace(Coding(), temperature=job.settings.temperature).within(len(job.fitted.pairs))
    first = run(job, module, Contrast(job.nesting, coding.temperature), job.nesting)
    second = train_through_code(
        module,
        job.fitted,
        job.held,
        job.nesting,
        coding,
        seed=job.settings.training.seed,
        device=job.settings.training.device,
        checkpoint=checkpoint_of(job, "coded"),
        whose=whose_of(job, "coded", job.fitted, asdict(coding)),
        progress=job.progress,
    )
    return Trained([Stage(job.examples.dim, module.maps())], [first, second])


def fit_mrl(job: Job) -> Trained:
    """The plain MRL adapter: one matrix, L_rank at all widths."""
    return one_map(job, LinearMap(_start(job)), _ranking(job, job.nesting))


def _start(job: Job) -> F32:
    """The first matrix (d, d) of a method that may start from the identity or from SVD."""
    if job.settings.start == "svd":
        return principal_axes(job.examples.documents, job.settings.training.seed)
    return np.eye(job.examples.dim, dtype=np.float32)


def fit_reflections(job: Job) -> Trained:
    """A product of Householder reflections after the principal axes: full-width scores stay."""
    seed = job.settings.training.seed
    axes = principal_axes(job.examples.documents, seed)
    module = Chain(_Fixed(axes), ReflectionsMap(job.examples.dim, job.settings.reflections, seed))
    loss: Objective = Distillation(job.nesting, job.settings.temperature)
    if job.examples.labelled:
        loss = Contrast(job.nesting, job.settings.temperature)
    return one_map(job, module, loss)


def fit_search(job: Job) -> Trained:
    """Search-Adaptor: a residual layer, L_rank at full width, recovery, prediction."""
    dim = job.examples.dim
    module = ResidualMap(dim, job.settings.hidden or dim)
    parts: list[tuple[float, Objective]] = [
        (1.0, Rank(Nesting((dim,)), job.settings.scale)),
        (job.settings.alpha, recovered),
        (job.settings.alpha, Prediction(dim)),
    ]
    return one_map(job, module, Weighed(parts))


def fit_matryoshka(job: Job) -> Trained:
    """Matryoshka-Adaptor: L_topk + L_pair + L_rec, then with labels L_rank as well."""
    dim = job.examples.dim
    module = ResidualMap(dim, job.settings.hidden or dim)
    similar: list[tuple[float, Objective]] = [
        (1.0, TopSimilarity(job.nesting, job.settings.neighbours)),
        (1.0, PairSimilarity(job.nesting)),
        (1.0, recovered),
    ]
    alone = Examples(job.examples.documents, rows=job.examples.rows)
    rows = alone.documents if alone.rows is None else alone.rows
    sides = alone.split_documents(held_share(len(rows)), job.settings.training.seed)
    first = run(job, module, Weighed(similar), job.nesting, sides=sides)
    if not job.examples.labelled:
        return Trained([Stage(dim, module.maps())], [first])
    ranked = Rank(job.nesting, job.settings.scale)
    second = run(job, module, Weighed([(1.0, ranked), *similar]), job.nesting, label="two")
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
        start = np.eye(given, width, dtype=np.float32) if i else _start(job)
        linear = LinearMap(start)
        keep = narrower or nesting.widths[0]
        module = Chain(linear, Selection(width, keep, seed + i)) if parts.selecting else linear
        loss: Objective = _ranking(job, nesting)
        if parts.remembering:
            queue = Queue(min(settings.queue, len(job.examples.documents)), dim)
            remembered = MemorySimilarity(nesting, queue, min(settings.neighbours, 4))
            loss = Weighed([(1.0, loss), (settings.alpha, remembered)])
        histories.append(run(job, module, loss, nesting, frozen=before, label=f"stage{i}"))
        stages.append(Stage(width, module.maps(), i - 1))
        before = _after(before, module, dim, job.settings.training.device)
        given = width
    return Trained(stages, histories)


def fit_spectemp(job: Job) -> Trained:
    """Label-free: principal axes, each weighed by a power of its eigenvalue (see spectrum)."""
    threads = torch.get_num_threads()
    try:
        axes, weights = spectral_weights(job.examples.documents, job.settings.training.seed)
    finally:
        torch.set_num_threads(threads)  # k-means limits BLAS's, and may leave torch's changed
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
        histories.append(run(job, module, loss, nesting, label=f"width{width}"))
        stages.append(Stage(width, module.maps()))
    assert stages[0].width == dim
    return Trained(stages, histories)


class _Fixed(LinearMap):
    """A matrix that is not trained."""

    def __init__(self, weight: F32) -> None:
        super().__init__(weight)
        self.weight.requires_grad_(False)


def _after(before: Apply | None, module: nn.Module, dim: int, device: str) -> Apply:
    """What a trained stage gives, from the vectors themselves: stages are linear, so one matrix."""
    module.eval()
    for weight in module.parameters():
        weight.requires_grad_(False)
    with torch.no_grad():
        whole = torch.eye(dim, device=device)
        matrix: Tensor = module(whole if before is None else before(whole))

    def apply(rows: Tensor) -> Tensor:
        with torch.no_grad():
            return rows @ matrix

    return apply


@dataclass(frozen=True)
class Method:
    """How a method is fitted, and whether it needs labels, uses them, or leaves them."""

    fit: Callable[[Job], Trained]
    labels: str


METHODS: dict[str, Method] = {
    "linear": Method(fit_linear, "used"),
    "distilled": Method(fit_distilled, "used"),
    "coded": Method(fit_coded, "needed"),
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
