"""A model, or a collection's with its adapter, as one ONNX file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nestvec.bridge.exported import Exported
from nestvec.errors import UserError
from nestvec.index.snapshot import Snapshot
from nestvec.index.store import ROWS_FOLDER
from nestvec.jobs.encoders import encoder_of, make_encoder, width_notes
from nestvec.jobs.settings import EmbedSettings
from nestvec.progress import Progress, quiet

if TYPE_CHECKING:
    from nestvec.adapters.adapter import Adapter
    from nestvec.data.encoder import Encoder


def export_encoder(
    src: str | os.PathLike[str],
    out: str | os.PathLike[str] | None,
    *,
    dims: int | None = None,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write the encoder of src, a collection or a model's name or folder, to the ONNX file out.

    dims: leading coordinates that are kept. A collection's adapter is inside.
    Raises UserError where the collection was built from vectors, the model cannot be had or has no
    form in ONNX, or out is taken.
    """
    listener = progress or quiet()
    if out is None:
        raise UserError("an export to onnx needs a file; got none: give --out model.onnx.")
    from nestvec.bridge.onnx import check_onnx, write_onnx

    check_onnx(Path(out))
    encoder, adapter = _encoder(os.fspath(src), trust_remote_code, dims, listener)
    written = write_onnx(encoder, Path(out), adapter=adapter, dims=dims, progress=listener)
    longest = "any" if written.longest is None else f"{written.longest}"
    facts = (
        ("model", written.model + (", with the collection's adapter" if written.adapted else "")),
        ("vectors", f"{written.width} coordinates, compared by {written.metric}"),
        ("tokens of a text", f"{longest} at most"),
        ("prompts", f"query {written.query_prompt!r}, document {written.document_prompt!r}"),
        (
            "largest difference from torch",
            f"{written.difference:.1e} of a vector's length ({written.inputs} random inputs, and "
            "texts)",
        ),
        ("file", f"{written.bytes:,} bytes"),
    )
    files = (written.out, *(str(path) for path in sorted(Path(written.tokenizer).iterdir())))
    where = f"{written.out}, and its tokenizer in {written.tokenizer}"
    return Exported(where, 0, None, written.query(), facts, files)


def _encoder(
    src: str, trust_remote_code: bool, dims: int | None, progress: Progress
) -> tuple[Encoder, Adapter | None]:
    if not (Path(src) / ROWS_FOLDER).is_dir():
        settings = EmbedSettings(
            model=src,
            dimensions=dims,
            any_dimensions=True,
            trust_remote_code=trust_remote_code,
            device="cpu",
        )
        for note in width_notes(settings):
            progress.note(note)
        return make_encoder(replace(settings, dimensions=None)), None
    opened = Snapshot.open(Path(src))
    kept = opened.manifest.encoder.get("settings")
    if not kept:
        raise UserError(
            f"an export to onnx writes a collection's model, and {src} was built from vectors: "
            "name the model itself."
        )
    if kept.get("api"):
        raise UserError(
            f"an export to onnx needs a model's weights, and {src} was built by a server "
            f"({kept['api']}): name a model that is here."
        )
    encoder = encoder_of(kept, trust_remote_code=trust_remote_code, api=None, device="cpu")
    return encoder, opened.adapter
