"""What a collection says of itself: one JSON file, named by its content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from nestvec import __version__
from nestvec.errors import UserError
from nestvec.index.files import put_bytes, verified
from nestvec.index.plan import Plan

FORMAT_VERSION = 1
# Fields that the first manifests of this format had not.
_LATER = {"lists_file", "graph", "coded_version"}


@dataclass(frozen=True)
class Manifest:
    """The facts that stay true of one version of a collection.

    model, revision: the encoder's name and revision; None where vectors were given.
    prompts: text put before "query" and "document" inputs. encoder: whatever else the encoder
    wants back in order to be loaded alike. metric: "cosine", "dot" or "l2". dim: coordinates of
    a vector. rows: rows when this manifest was written. nesting: its text form, or None.
    spec: the codec's. plan: the default plan's text form. codec_file, adapter_file, evidence_file
    and lists_file (the centers of lists) name files beside this one. graph: what rows are linked
    by, as "8B/16" (see index.graph), or None. coded_version: the version
    whose rows the codec was fitted on, 0 for those of the build. machine: what was decided by
    the machine at hand (device, number type). created_with: nestvec's version.
    """

    metric: str
    dim: int
    rows: int
    spec: str
    plan: str
    model: str | None = None
    revision: str | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    encoder: Mapping[str, Any] = field(default_factory=dict)
    nesting: str | None = None
    codec_file: str = ""
    adapter_file: str | None = None
    evidence_file: str | None = None
    lists_file: str | None = None
    graph: str | None = None
    coded_version: int = 0
    machine: Mapping[str, Any] = field(default_factory=dict)
    created_with: str = __version__
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """One JSON object, keys sorted, so that equal manifests have equal names."""
        return json.dumps(asdict(self), sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def write_manifest(manifest: Manifest, folder: Path) -> str:
    """Store a manifest in the folder of content-named files, and return its name."""
    return put_bytes(manifest.to_json().encode(), folder, ".json")


def read_manifest(folder: Path, name: str) -> Manifest:
    """The manifest of that name.

    Raises UserError where the file is missing, damaged, or of a format not known here.
    """
    path = verified(folder, name)
    return parse_manifest(path.read_text(encoding="utf-8"), path)


def parse_manifest(text: str, path: Path) -> Manifest:
    """The manifest in a JSON text; path names it in errors.

    Raises UserError where the format version is not known, a field is missing, or the plan
    does not parse.
    """
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"a manifest must be JSON, and {path} is not ({error}): build the collection again."
        ) from None
    version = found.get("format_version") if isinstance(found, dict) else None
    if version != FORMAT_VERSION:
        raise UserError(
            f"this nestvec ({__version__}) reads collections of format version {FORMAT_VERSION}; "
            f"{path} says {version!r}. Install the nestvec that wrote it"
            f"{_written_by(found)}, or build the collection again."
        )
    known = {f.name for f in fields(Manifest)}
    missing = sorted(known - found.keys() - _LATER)
    if missing:
        raise UserError(
            f"a manifest must have every field, and {path} lacks {', '.join(missing)}: "
            "build the collection again."
        )
    manifest = Manifest(**{name: found[name] for name in known & found.keys()})
    Plan.parse(manifest.plan)
    return manifest


def _written_by(found: object) -> str:
    if isinstance(found, dict) and isinstance(found.get("created_with"), str):
        return f" ({found['created_with']})"
    return ""
