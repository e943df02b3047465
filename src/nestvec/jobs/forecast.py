"""What a build would take: sizes and time, without building."""

from __future__ import annotations

import os
import random
import time
from dataclasses import asdict, dataclass
from typing import Any

from nestvec.choose.specs import codebook_specs
from nestvec.codec.fitting import shrink
from nestvec.codec.spec import check_width, parse_spec
from nestvec.data.encoder import image_encoder
from nestvec.data.source import Source
from nestvec.jobs.checks import check_build
from nestvec.jobs.encoders import make_encoder
from nestvec.jobs.settings import BuildSettings
from nestvec.progress import Progress, quiet

#: texts that are encoded to learn the model's speed
TIMED_TEXTS = 96
#: rows a second that fitting, measuring and encoding codes come to at 384 dimensions on two
#: cores; a rough figure, said to be one
CODE_ROWS_PER_S = 1_000.0
FIT_S = 20.0
#: bytes of a codeword's scale
SCALE_BYTES = 4


@dataclass(frozen=True)
class Forecast:
    """Sizes in bytes and seconds that a build would take; codes at their largest."""

    items: int
    kind: str
    dim: int
    bytes_per_vector: int
    code_bytes: int
    codec_bytes: int
    total_bytes: int
    vectors_on_disk_bytes: int
    full_bytes: int
    seconds: float
    time_note: str

    def to_json(self) -> dict[str, Any]:
        """A flat object, marked as a dry run."""
        return {"dry_run": True, **asdict(self)}


def forecast(
    src: str | os.PathLike[str] | None,
    out: str | os.PathLike[str] | None,
    settings: BuildSettings,
    progress: Progress | None = None,
) -> Forecast:
    """What build would make of the same arguments; everything is checked, nothing written.

    Of texts and images, all are read and a few encoded, to learn the model's speed here.
    """
    listener = progress or quiet()
    _, source = check_build(src, out, settings)
    items = source.survey(listener).rows
    note = "nothing to encode; the rest is a rough figure"
    encode_s = 0.0
    if source.kind != "vectors":
        dim, encode_s = _timed(source, items, settings, listener)
        timed = min(TIMED_TEXTS, items)
        note = f"{encode_s:,.0f} s of it encoding, by the speed of {timed} of the {source.kind}"
    else:
        dim = source.vectors.shape[1]
    spec = codebook_specs(items)[-1] if settings.spec == "auto" else settings.spec
    per_code = min(code_width(spec, dim), settings.max_bytes or 1 << 30)
    codec_bytes = codebook_bytes(spec, dim, items, per_code)
    per_vector = per_code + 1
    return Forecast(
        items,
        source.kind,
        dim,
        per_vector,
        items * per_vector,
        codec_bytes,
        items * per_vector + codec_bytes,
        2 * dim * items if settings.store_vectors else 0,
        4 * dim * items,
        round(encode_s + FIT_S + items / CODE_ROWS_PER_S, 1),
        note,
    )


def code_width(spec: str, dim: int) -> int:
    """Bytes of a whole code of a spec at a width."""
    widths = {"int8": dim, "float16": 2 * dim, "raw": 4 * dim}
    total = 0
    for term in parse_spec(spec):
        amount = term.amount // 8 if term.kind == "sign" else term.amount
        total += amount or widths[term.kind]
        check_width(term, dim)
    return total


def codebook_bytes(spec: str, dim: int, rows: int, code_bytes: int) -> int:
    """Bytes of a spec's codebooks within so many bytes of code, fitted on so many rows."""
    total, left = 0, code_bytes
    for term in parse_spec(spec):
        if term.kind != "cb":
            continue
        kept = shrink(term, rows)
        books = min(kept.amount, left) * (2 if kept.codewords == 16 else 1)
        total += books * kept.codewords * (dim * kept.precision // 8 + SCALE_BYTES)
        left -= min(kept.amount, left)
    return total


def _timed(
    source: Source, items: int, settings: BuildSettings, progress: Progress
) -> tuple[int, float]:
    """Width of the vectors, and seconds that all texts or images would take."""
    drawn = set(random.Random(settings.seed).sample(range(items), min(TIMED_TEXTS, items)))
    encoder = make_encoder(settings)
    progress.start("timing the model", None)
    if source.kind == "images":
        pictures, reader = source.album.images, image_encoder(encoder)
        reader.encode_images(list(pictures.pictures([min(drawn)])))
        begun = time.perf_counter()
        for place in sorted(drawn):
            reader.encode_images([pictures.picture(place)])
    else:
        sample = [row.titled_text for place, row in enumerate(source.rows()) if place in drawn]
        encoder.prepare(sample[:32])
        encoder.encode(sample[:8], "document")  # the first call is slower than all others
        begun = time.perf_counter()
        encoder.encode(sample, "document")
    seconds = time.perf_counter() - begun
    progress.finish()
    return encoder.dim, seconds * items / len(drawn)
