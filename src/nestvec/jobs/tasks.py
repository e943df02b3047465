"""Judged similarity, clusters and classes of a source's texts, at every size of every method."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.baselines import plain_baselines
from nestvec.choose.evidence import Evidence
from nestvec.choose.tasks import Classification, Clustering, Task, evaluate_task, similarity_task
from nestvec.data.encode import encode_texts
from nestvec.data.encoder import Encoder
from nestvec.data.tasks import Kind, TaskRows, read_task
from nestvec.errors import UserError
from nestvec.jobs.encoders import make_encoder, nesting_of, width_notes
from nestvec.jobs.evaluation import Evaluation, nested_codes
from nestvec.jobs.machine import peak_rss_mb
from nestvec.jobs.material import BLOCK_ROWS, truncation
from nestvec.jobs.settings import EvaluateSettings
from nestvec.progress import Progress

F32 = NDArray[np.float32]

#: texts of a task at most, on either side; more are drawn from by seed
MOST_ROWS = 20_000


def evaluate_rows(
    place: str, kind: Kind, settings: EvaluateSettings, progress: Progress
) -> Evaluation:
    """Measure a source's graded pairs or labelled texts; settings are checked already.

    Raises UserError where its rows do not fit the task or the model cannot be had.
    """
    begun = time.monotonic()
    rows = read_task(place, kind)
    texts, task, fit_on, notes = _set(rows, settings.seed)
    encoder = make_encoder(settings)
    with tempfile.TemporaryDirectory(prefix="nestvec-") as folder:
        encoded = encode_texts(
            iter(texts), encoder, Path(folder) / "vectors.npy", total=len(texts),
            progress=progress, dtype="float32", block_rows=BLOCK_ROWS,
        )  # fmt: skip
        vectors = np.array(encoded.vectors, np.float32)
    found = evaluate_task(
        vectors,
        task,
        [*nested_codes(settings.spec, len(vectors)), *plain_baselines()],
        fit_on=fit_on,
        layers=_of_layers(settings, texts, encoder, progress),
        seed=settings.seed,
        progress=progress,
    )
    warnings = (
        *notes,
        *width_notes(settings),
        *truncation(encoded.truncated, len(texts), encoder),
        *_remarks(found[0]),
    )
    return Evaluation(
        found[0], rows.about, warnings, time.monotonic() - begun, peak_rss_mb(), tuple(found[1:])
    )


def _set(
    rows: TaskRows, seed: int
) -> tuple[list[str], Task, NDArray[np.int64] | None, tuple[str, ...]]:
    """The texts of a task, the task over their vectors, the rows to fit on, and remarks."""
    test = rows.test.drawn(MOST_ROWS, seed)
    notes = _drawn(len(test), len(rows.test), "test")
    columns = list(test.columns.values())
    if rows.kind == "sts":
        texts, similarity = similarity_task(*columns)
        return texts, similarity, None, notes
    learned_from = rows.test if rows.train is None else rows.train
    _check_labels(list(learned_from.columns.values())[1], rows.about)
    if rows.train is None:
        return columns[0], Clustering(np.asarray(columns[1]), seed), None, notes
    train = rows.train.drawn(MOST_ROWS, seed)
    known = list(train.columns.values())
    labels = np.asarray([*known[1], *columns[1]])
    learned = np.arange(len(train))
    task = Classification(labels, learned, len(train) + np.arange(len(test)), seed)
    notes = (*notes, *_drawn(len(train), len(rows.train), "train"))
    return [*known[0], *columns[0]], task, learned, notes


def _of_layers(
    settings: EvaluateSettings, texts: Sequence[str], encoder: Encoder, progress: Progress
) -> dict[int, tuple[F32, tuple[int, ...]]]:
    """{layer: (vectors, widths)} of the layers below the last that the model was trained at."""
    nesting, location = nesting_of(settings)
    if nesting is None or len(nesting.layers) < 2:
        return {}
    from nestvec.learn.layers import Layers, encode_layers
    from nestvec.learn.sentence_model import load_model, quiet_libraries

    remote = settings.trust_remote_code
    with quiet_libraries():
        model = load_model(settings.model, location, max_tokens=None, remote_code=remote)
    model.to(str(encoder.describe()["device"]))
    prompt = str(encoder.describe().get("document_prompt") or "")
    shallow = sorted(nesting.layers)[:-1]
    found = encode_layers(
        model, Layers(model), [prompt + text for text in texts], shallow, progress=progress
    )
    return {
        layer: (found[layer], tuple(w for w in nesting.layers[layer] if w <= encoder.dim))
        for layer in shallow
    }


def _check_labels(labels: Sequence[str], about: str) -> None:
    """Raise UserError unless some texts share a label and some do not."""
    kinds = len(set(labels))
    if not 1 < kinds < len(labels):
        raise UserError(
            f"labels must tell some texts apart and put some together; got {kinds} labels of "
            f"{len(labels)} texts ({about}): name another file or column."
        )


def _drawn(rows: int, of: int, which: str) -> tuple[str, ...]:
    return () if rows == of else (f"{rows:,} of {of:,} {which} rows were drawn by seed.",)


def _remarks(evidence: Evidence) -> tuple[str, ...]:
    found = []
    if evidence.fitted_on_relevant:
        found.append(
            "codes were fitted on the very texts they are measured on; new texts may do worse."
        )
    if evidence.queries < 100:
        found.append(f"{evidence.queries} items prove little: read the intervals.")
    return tuple(found)
