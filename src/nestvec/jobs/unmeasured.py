"""More rows than one machine measures: the codec that was asked for, fitted on a sample of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from nestvec.choose.cheapest import DEFAULT_HITS
from nestvec.choose.specs import candidate_power
from nestvec.codec.nested import Codec
from nestvec.data.source import Source
from nestvec.errors import UserError
from nestvec.jobs.choose import Picked
from nestvec.jobs.encoders import make_encoder, trained_widths, width_notes
from nestvec.jobs.material import Material, RowsAgain, left_out, truncation
from nestvec.jobs.settings import BuildSettings
from nestvec.jobs.sheets import Coded
from nestvec.progress import Progress

if TYPE_CHECKING:
    from nestvec.jobs.material import Encode

#: rows that the driver of a build by many machines measures codes on, at most
MEASURED_ROWS = 2_000_000


def check_unmeasured(rows: int, settings: BuildSettings) -> None:
    """Raise UserError where the code of so many rows is to be chosen by measurement."""
    if settings.spec == "auto" or settings.adapt is not None:
        wished = "an adapter" if settings.adapt is not None else "no --spec"
        raise UserError(
            f"from {MEASURED_ROWS:,} rows on a code is given, not chosen, and nothing is trained; "
            f"got {rows:,} rows and {wished}: build a sample of them, and give its code here "
            "(--spec 32xcb, for instance)."
        )


def gather_unmeasured(
    source: Source,
    settings: BuildSettings,
    local: Path,
    progress: Progress,
    encode: Encode,
) -> Material:
    """What a build of a surveyed source needs that asks no questions; encode: of texts."""
    rows = RowsAgain(source)
    if source.kind == "vectors":
        similarity = settings.similarity or "cosine"
        return Material(
            source.path.name, "vectors", rows, source.ids, source.vectors, similarity, None,
            warnings=left_out(source),
        )  # fmt: skip
    encoder = make_encoder(settings)
    similarity = settings.similarity or encoder.metric
    dtype: Literal["float16", "float32"] = "float16" if similarity == "cosine" else "float32"
    done = encode(source, encoder, local, progress, True, dtype)
    notes = (
        *left_out(source),
        *width_notes(settings),
        *truncation(done.truncated, source.tally.rows, encoder),
    )
    return Material(
        source.path.name,
        "texts",
        rows,
        source.ids,
        done.vectors,
        similarity,
        None,
        encoder,
        done.truncated,
        warnings=notes,
        model=encoder.name,
        widths=trained_widths(settings),
    )


def fit_unmeasured(material: Material, settings: BuildSettings, progress: Progress) -> Picked:
    """The codec of settings.spec, fitted on a sample; no row is coded yet."""
    rows = len(material.vectors)
    codec = Codec(
        settings.spec,
        metric=material.similarity,
        power=candidate_power(rows),
        seed=settings.seed,
    ).fit(material.vectors, progress=progress)
    fact_bytes = 1 if codec.metric == "cosine" else 5
    sentence = (
        f"{rows:,} rows are coded and not measured: {codec.spec} at {codec.bytes} + {fact_bytes} "
        "bytes a vector was asked for. nestvec plan measures plans on what is built."
    )
    return Picked(
        Coded(codec, np.empty((0, codec.bytes), np.uint8), {}),
        f"{codec.bytes}B:{DEFAULT_HITS}",
        codec.bytes,
        fact_bytes,
        settings.spec,
        None,
        None,
        False,
        sentence,
        "asked for, and not measured",
        (sentence,),
    )
