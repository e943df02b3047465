"""Texts or images to a file of vectors."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

from nestvec.jobs.checks import check_embed
from nestvec.jobs.encoders import make_encoder, width_notes
from nestvec.jobs.machine import peak_rss_mb
from nestvec.jobs.material import encode_source, left_out, truncation
from nestvec.jobs.settings import EmbedOptions, EmbedSettings
from nestvec.progress import Progress, quiet
from nestvec.vectors import save_vectors


@dataclass(frozen=True)
class EmbedResult:
    """What was written; truncated: texts the model cut, None where unknown."""

    items: int
    dim: int
    model: str
    similarity: str
    truncated: int | None
    resumed: int
    file_bytes: int
    seconds: float
    peak_rss_mb: float
    out: str
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A flat object."""
        return asdict(self)


def embed(
    src: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] = "vectors.safetensors",
    *,
    progress: Progress | None = None,
    **options: Unpack[EmbedOptions],
) -> EmbedResult:
    """Encode the texts or images of a source into a file of vectors with their ids.

    options: the fields of EmbedSettings, such as model. Raises UserError for what cannot be used.
    """
    return embed_with(src, out, EmbedSettings(**options), progress)


def embed_with(
    src: str | os.PathLike[str] | None,
    out: str | os.PathLike[str],
    settings: EmbedSettings,
    progress: Progress | None = None,
) -> EmbedResult:
    """As embed, the options in one record: float32 vectors, of texts with their titles.

    An interrupted run leaves `<out>.work`, and goes on there when it is run again.
    Raises UserError where the source cannot be used or out exists.
    """
    begun = time.monotonic()
    listener = progress or quiet()
    place, source = check_embed(src, out, settings)
    source.survey(listener)
    encoder = make_encoder(settings)
    work = work_folder(place)
    encoded = encode_source(source, encoder, work, listener)
    items, dim = encoded.vectors.shape
    save_vectors(place, encoded.vectors, None if place.suffix == ".npy" else source.ids)
    truncated, resumed = encoded.truncated, encoded.resumed
    del encoded
    shutil.rmtree(work, ignore_errors=True)
    return EmbedResult(
        items,
        dim,
        encoder.name,
        encoder.metric,
        truncated,
        resumed,
        place.stat().st_size,
        time.monotonic() - begun,
        peak_rss_mb(),
        str(place),
        (*left_out(source), *width_notes(settings), *truncation(truncated, items, encoder)),
    )


def work_folder(out: Path) -> Path:
    """Where unfinished work for out is kept: `<out>.work` beside it."""
    return out.with_name(out.name + ".work")
