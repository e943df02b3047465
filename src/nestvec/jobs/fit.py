"""A codec from a file of vectors."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from typing import Any, Unpack

from numpy.typing import NDArray

from nestvec.choose.specs import candidate_power, choose_spec, codebook_specs
from nestvec.codec.nested import Codec
from nestvec.jobs.checks import check_fit
from nestvec.jobs.machine import peak_rss_mb
from nestvec.jobs.settings import FitOptions, FitSettings
from nestvec.progress import Progress
from nestvec.vectors import check_vectors, load_vectors


def _best_spec(vectors: NDArray[Any], settings: FitSettings, progress: Progress | None) -> str:
    """Of the codecs that suit so many rows, the one of the best ranks within its total bytes."""
    (first, *others) = codebook_specs(len(vectors))
    if not others:
        return first
    similarity, seed = settings.similarity, settings.seed
    return choose_spec(vectors, similarity, seed=seed, progress=progress).spec


@dataclass(frozen=True)
class FitResult:
    """spec as fitted; bytes of a code; codec_bytes of the file's arrays; rows seen."""

    spec: str
    dim: int
    bytes: int
    similarity: str
    codec_bytes: int
    rows: int
    seconds: float
    peak_rss_mb: float
    out: str

    def to_json(self) -> dict[str, Any]:
        """A flat object."""
        return asdict(self)


def fit(
    vectors: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    **options: Unpack[FitOptions],
) -> FitResult:
    """Fit a codec on the vectors of a file and save it as .safetensors.

    options: the fields of FitSettings, such as spec. On arrays, use Codec itself.
    """
    return fit_with(vectors, out, FitSettings(**options), progress)


def fit_with(
    vectors: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: FitSettings,
    progress: Progress | None = None,
) -> FitResult:
    """As fit, the options in one record.

    Raises UserError where the file cannot be used, or out exists or is no .safetensors name.
    """
    begun = time.monotonic()
    place = check_fit(vectors, out, settings)
    found = load_vectors(vectors).vectors
    check_vectors(found, str(vectors))
    spec: str = settings.spec
    power: float | str = "auto"
    if spec == "auto":
        spec, power = _best_spec(found, settings, progress), candidate_power(len(found))
    codec = Codec(
        spec, metric=settings.similarity, beam=settings.beam, power=power, seed=settings.seed
    ).fit(found, progress=progress)
    codec.save(place)
    return FitResult(
        codec.spec,
        codec.dim,
        codec.bytes,
        codec.metric,
        codec.size_bytes(),
        codec.fitted_rows,
        time.monotonic() - begun,
        peak_rss_mb(),
        str(place),
    )
