"""The collection of a server: searched by one thread, and read anew when it has changed."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec import __version__
from nestvec.choose.evidence import adapted_name
from nestvec.errors import UserError
from nestvec.index.plan import Plan
from nestvec.index.snapshot import Result, Snapshot
from nestvec.index.store import ROWS_FOLDER
from nestvec.serve.faults import Fault
from nestvec.serve.readers import SearchAsked

F32 = NDArray[np.float32]

_VERSIONS = "_versions"
_LOOK_S = 1.0
_NESTED = "nested"
_FEWEST_DIMS = 8
_LARGEST = 1 << 30


@dataclass(frozen=True)
class Found:
    """What one search found. plan: as it ran. ms: milliseconds of it. bytes_per_vector: of a row's
    code, facts and vector, those that the plan may read. version: of the collection.
    """

    plan: Plan
    result: Result
    ms: float
    bytes_per_vector: int
    version: int


class Searched:
    """The newest version of a collection that can be opened.

    path: its folder. any_dimensions: whether stages may read any width of vectors, though each that
    begins a plan is kept on disk once more. most_hits: of one search. note: told why a newer
    version was not taken. widths: that the model was trained for, if it says so. Searches and looks
    for newer versions are made by one thread; all may read `snapshot`.
    """

    def __init__(
        self,
        path: Path,
        any_dimensions: bool,
        most_hits: int,
        note: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.path = path
        self._note = note
        self._stamp = _stamp(path)
        self._looked = time.monotonic()
        self.widths: tuple[int, ...] = ()
        self._any = any_dimensions
        self._most_hits = most_hits
        self._take(Snapshot.open(path))

    def _take(self, snapshot: Snapshot) -> None:
        self._itemsize = snapshot.sizes().vector_bytes // snapshot.dim
        self.curve = evidence_curve(snapshot.evidence())
        self.has_texts = snapshot.has_texts()
        self.snapshot = snapshot

    def warm_up(self) -> None:
        """Search once, so that the first client does not wait for what is made on first use."""
        query = np.ones((1, self.snapshot.dim), np.float32)
        self.snapshot.search(query)

    def dims(self) -> tuple[int, ...]:
        """Widths that stages may read, rising; none where no vectors are stored."""
        if not self.snapshot.has_vectors:
            return ()
        full = self.snapshot.codec.dim
        planned = {stage.amount for stage in self.snapshot.plan.stages if stage.kind == "dims"}
        adapter = self.snapshot.adapter
        trained = self.widths if adapter is None else adapter.widths
        given = {width for width in trained if width <= full}
        if not given:
            halves = range(int(math.log2(max(1, full // _FEWEST_DIMS))) + 1)
            given = {full >> half for half in halves}
        return tuple(sorted({*planned, *given, full}))

    def plan_of(self, asked: SearchAsked) -> Plan:
        """The plan that a request wants; raises Fault (400) where this collection cannot run it."""
        snapshot = self.snapshot
        text = asked.plan
        k = asked.k or 10
        if asked.bytes is not None:
            cuts = snapshot.codec.cuts
            if asked.bytes not in cuts:
                raise Fault(
                    400,
                    f"'bytes' is one of {', '.join(map(str, cuts))}, where the code is cut; got "
                    f"{asked.bytes}.",
                    param="bytes",
                )
            text = f"{asked.bytes}B:{k}"
        elif asked.dims is not None:
            text = f"{asked.dims}d:{k}"
        elif asked.exact:
            text = f"exact:{k}"
        param = "dims" if asked.dims is not None else "exact" if asked.exact else "plan"
        try:
            plan = snapshot.checked_plan(text, asked.k or (None if text else k))
        except UserError as error:
            raise Fault(400, str(error), param=param) from None
        self._check_sizes(plan, param)
        return plan

    def _check_sizes(self, plan: Plan, param: str) -> None:
        if plan.k > self._most_hits:
            raise Fault(
                400,
                f"a search gives {self._most_hits:,} hits at most; got a plan of {plan.k:,}: keep "
                "fewer in its last stage.",
                param=param,
            )
        largest = max(plan.graph or 0, *(stage.keep for stage in plan.stages))
        if largest > _LARGEST:
            raise Fault(
                400, f"a plan's counts may be {_LARGEST:,} at most; got {largest}.", param=param
            )
        if not self._any:
            self._check_widths(plan, param)

    def _check_widths(self, plan: Plan, param: str) -> None:
        known = self.dims()
        for stage in plan.stages:
            if stage.kind == "dims" and stage.amount not in known:
                raise Fault(
                    400,
                    f"stages of vectors read {', '.join(map(str, known))} dimensions here; got "
                    f"{stage.amount}: take one of those, or pass --any-dimensions to nestvec "
                    "serve.",
                    param=param,
                )

    def search(self, vector: F32, asked: SearchAsked) -> Found:
        """The hits of one vector (d,), by the newest version.

        Raises Fault (400) where the request does not fit the collection, and (500) where that can
        be read no more.
        """
        self.look()
        plan = self.plan_of(asked)
        begun = time.perf_counter()
        try:
            self.snapshot.map_queries(vector[None])
        except UserError as error:
            raise Fault(400, str(error), param="vector") from None
        try:
            result = self.snapshot.search(vector[None], plan)[0]
        except UserError as error:
            self._note(str(error))
            raise Fault(
                500,
                "the collection's files were changed or damaged: the server's log tells more.",
                code="damaged",
            ) from None
        ms = (time.perf_counter() - begun) * 1000
        return Found(plan, result, ms, self.bytes_per_vector(plan), self.snapshot.version)

    def bytes_per_vector(self, plan: Plan) -> int:
        """Bytes of a row that a plan may read: code, facts and vector, each once."""
        codec = self.snapshot.codec
        length = 0 if codec.metric == "cosine" else 4
        itemsize = self._itemsize
        code, vector, norms = 0, 0, 0
        for stage in plan.stages:
            if stage.kind == "bytes":
                code = max(code, stage.amount)
                norms += 1 if stage.amount in codec.cuts else 4
            elif stage.kind == "sign":
                code = max(code, codec.sign_bytes)
            elif stage.kind == "dims":
                vector = max(vector, stage.amount * itemsize)
            else:
                vector = self.snapshot.dim * itemsize
        return code + norms + vector + length

    def look(self) -> bool:
        """Open the newest version where the collection has changed; at most once a second.

        A version that cannot be opened, or was built by another model, is left alone.
        """
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return False
        self._looked = now
        stamp = _stamp(self.path)
        if stamp is None or stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            fresh = Snapshot.open(self.path)
        except (UserError, OSError) as error:
            self._note(f"the newest version cannot be opened, the one before serves on: {error}")
            return False
        settings = (each.manifest.encoder.get("settings") for each in (fresh, self.snapshot))
        if len({repr(each) for each in settings}) > 1 or fresh.dim != self.snapshot.dim:
            self._note(
                "the collection has another model now, and the one before serves on: start "
                "nestvec serve again."
            )
            return False
        self._take(fresh)
        return True


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes with every version: the folder that each writes a file to."""
    try:
        status = os.stat(path / ROWS_FOLDER / _VERSIONS)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def search_answer(found: Found, snippet: int, encode_ms: float) -> dict[str, Any]:
    """The answer of /search as a JSON object."""
    hits = [
        {
            "id": hit.id,
            "score": hit.score,
            "title": hit.title,
            "text": shortened(hit.text, snippet),
        }
        for hit in found.result.hits
    ]
    stages = [
        {
            "stage": stage.stage,
            "rows": stage.scanned,
            "kept": stage.kept,
            "bytes_read": stage.bytes,
            "ms": round(stage.ms, 3),
        }
        for stage in found.result.stages
    ]
    return {
        "hits": hits,
        "plan": str(found.plan),
        "stages": stages,
        "ms": round(found.ms, 3),
        "bytes_per_vector": found.bytes_per_vector,
        "encode_ms": round(encode_ms, 3),
        "collection_version": found.version,
    }


def shortened(text: str, characters: int) -> str:
    """A text on one line, cut at a blank where it is longer.

    >>> shortened("one two  three", 9)
    'one two …'
    """
    words = " ".join(text.split())
    if len(words) <= characters:
        return words
    head = words[:characters]
    return (head.rsplit(" ", 1)[0] if " " in head else head) + " …" if characters else ""


def info_answer(
    searched: Searched | None, name: str, dim: int, model: str | None, widths: tuple[int, ...]
) -> dict[str, Any]:
    """The answer of /info as a JSON object; of a model alone, what concerns rows is empty."""
    if searched is None:
        return {
            "name": name,
            "rows": 0,
            "dim": dim,
            "spec": "",
            "bytes_per_vector": 0,
            "plan": "",
            "model": model,
            "cuts": [],
            "dims": list(widths),
            "full_bytes": 4 * dim,
            "curve": [],
            "measure": None,
            "full": None,
            "has_vectors": False,
            "has_texts": False,
            "searchable": False,
            "version": __version__,
            "collection_version": None,
        }
    snapshot = searched.snapshot
    curve, measure, full = searched.curve
    return {
        "name": name,
        "rows": snapshot.count,
        "dim": snapshot.dim,
        "spec": snapshot.manifest.spec,
        "bytes_per_vector": searched.bytes_per_vector(snapshot.plan),
        "plan": str(snapshot.plan),
        "model": model,
        "cuts": list(snapshot.codec.cuts),
        "dims": list(searched.dims()),
        "full_bytes": 4 * snapshot.dim,
        "curve": curve,
        "measure": measure,
        "full": full,
        "has_vectors": snapshot.has_vectors,
        "has_texts": searched.has_texts,
        "searchable": True,
        "version": __version__,
        "collection_version": snapshot.version,
    }


def evidence_curve(
    evidence: dict[str, Any] | None,
) -> tuple[list[dict[str, Any]], str | None, dict[str, float] | None]:
    """Quality by bytes of the chosen code, the measure, and that of full vectors, as measured.

    Each point has bytes (where the code is cut), bytes_per_vector (facts counted), value, low and
    high. Empty and None where nothing was measured at the build.
    """
    grid = (evidence or {}).get("grid")
    if not grid:
        return [], None, None
    method = _chosen_method((evidence or {}).get("result") or {}, grid["cells"])
    points = [
        {
            "bytes": cell["bytes"],
            "bytes_per_vector": cell["bytes"] + cell["fact_bytes"],
            "value": cell["value"],
            "low": cell["low"],
            "high": cell["high"],
        }
        for cell in grid["cells"]
        if cell["method"] == method and cell.get("layer") is None
    ]
    points.sort(key=lambda point: int(point["bytes"]))
    full = {name: grid["full"][name] for name in ("value", "low", "high")}
    return points, grid["measure"], full


def _chosen_method(result: dict[str, Any], cells: list[dict[str, Any]]) -> str:
    """The name in the grid of the code that a build has chosen: a code without cuts has its own."""
    spec = str(result.get("spec"))
    adapter = result.get("adapter")
    if adapter is not None:
        spec = adapted_name(adapter, spec)
    if any(cell["method"] == spec for cell in cells):
        return spec
    return _NESTED if adapter is None else adapted_name(adapter, _NESTED)
