"""What a collection holds."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nestvec.index.snapshot import Drift, Sizes, Snapshot
from nestvec.jobs.sheets import codec_parts

WORTH_REFITTING = 0.1
"""How much larger the error of added rows is where refitting is advised."""


@dataclass(frozen=True)
class Info:
    """Facts of a collection.

    kept: the share of quality its plan kept, with its interval. drift: of rows added since the
    codec was fitted, None where there are none or no vectors.
    """

    path: str
    version: int
    items: int
    dim: int
    model: str | None
    revision: str | None
    similarity: str
    spec: str
    adapter: str | None
    plan: str
    has_vectors: bool
    metric: str | None
    full: dict[str, float] | None
    kept: dict[str, float] | None
    sizes: Sizes
    drift: Drift | None
    format_version: int
    created_with: str

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object; sizes in bytes."""
        return asdict(self)

    def lines(self) -> list[tuple[str, str]]:
        """Name and value, for people."""
        sizes = self.sizes
        return [
            ("version", f"{self.version}"),
            ("rows", f"{self.items:,}"),
            ("dimensions", f"{self.dim}"),
            ("model", self.model or "none, built from vectors"),
            ("similarity", self.similarity),
            (
                "adapted code" if self.adapter else "code",
                f"{self.spec}, {sizes.code_bytes} bytes and {sizes.fact_bytes} of facts a row",
            ),
            *([("adapter", self.adapter)] if self.adapter else []),
            ("plan", self.plan),
            *self._kept(),
            ("full vectors", "kept" if self.has_vectors else "not kept"),
            (codec_parts(self.adapter), f"{sizes.codec_bytes:,} bytes"),
            *self._drifted(),
            ("on disk", f"{sizes.rows_on_disk + sizes.files_on_disk:,} bytes"),
            ("cache", f"{sizes.cache_on_disk:,} bytes, may be deleted"),
            ("format", f"{self.format_version}, written by nestvec {self.created_with}"),
        ]

    def _drifted(self) -> list[tuple[str, str]]:
        if self.drift is None:
            return []
        share = self.drift.added_error / self.drift.error - 1
        words = (
            f"{self.drift.added:,} rows were added since the codec was fitted; their error is "
            f"{abs(share):.0%} {'larger' if share >= 0 else 'smaller'}"
        )
        return [("drift", words + (": nestvec refit" if share > WORTH_REFITTING else ""))]

    def _kept(self) -> list[tuple[str, str]]:
        if self.kept is None:
            return []
        value, low, high = (100 * self.kept[name] for name in ("value", "low", "high"))
        share = f"{value:.1f} % ({low:.1f} to {high:.1f})"
        return [("kept", f"{share} of {self.metric} at build")]


def info(path: str | os.PathLike[str]) -> Info:
    """What the collection at path says of itself; raises UserError where it cannot be opened."""
    opened = Snapshot.open(Path(path))
    manifest = opened.manifest
    result = (opened.evidence() or {}).get("result") or {}
    return Info(
        str(path),
        opened.version,
        opened.count,
        opened.dim,
        manifest.model,
        manifest.revision,
        manifest.metric,
        manifest.spec,
        None if opened.adapter is None else opened.adapter.method,
        manifest.plan,
        opened.has_vectors,
        result.get("metric"),
        result.get("full"),
        result.get("kept"),
        opened.sizes(),
        opened.drift(),
        manifest.format_version,
        manifest.created_with,
    )
