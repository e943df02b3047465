"""An adapter: maps over frozen vectors, applied by numpy alone, kept in one file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nestvec.adapters.maps import F32, Linear, Map, Select, make_map
from nestvec.errors import UserError
from nestvec.vectors import normalize, row_blocks

FORMAT_VERSION = 1
_KEY = "nestvec_adapter"
_TRAINED_ROWS = "trained_rows"


@dataclass(frozen=True, eq=False)
class Stage:
    """Maps in turn, and the widths they serve: from the next narrower stage's width up to `width`.

    width: coordinates that come out. source: the stage whose output is taken, -1 for the vectors
    themselves; always an earlier one.
    """

    width: int
    maps: tuple[Map, ...]
    source: int = -1


@dataclass(frozen=True, eq=False)
class Adapter:
    """A trained map of vectors (n, dim) whose leading coordinates are good at every trained width.

    method: what trained it. widths: those trained for, rising. stages: widest first; a method
    with one map for all widths has one. facts: how it was trained, JSON-able.
    trained_rows: (r,) uint32, rising: rows of its collection that the pairs it was trained on name;
    None where no pairs were, or where that was not kept.
    Documents and queries are mapped alike, each at length 1 before and after.
    """

    method: str
    dim: int
    widths: tuple[int, ...]
    stages: tuple[Stage, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    trained_rows: NDArray[np.uint32] | None = None

    def __post_init__(self) -> None:
        rising = all(a.width > b.width for a, b in zip(self.stages, self.stages[1:], strict=False))
        sources = all(-1 <= stage.source < i for i, stage in enumerate(self.stages))
        if not self.stages or not rising or not sources:
            raise ValueError("stages go from wide to narrow, each fed by an earlier one")

    @property
    def width(self) -> int:
        """Coordinates of the widest output."""
        return self.stages[0].width

    def transform(self, vectors: NDArray[Any], width: int | None = None) -> F32:
        """Vectors (n, dim) mapped, cut to `width` (None: the widest) and at length 1: float32.

        Reads by blocks, so vectors may be a memory map. Raises UserError where vectors have
        another width, or `width` is not within what the adapter gives.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise UserError(
                f"this adapter takes vectors of shape (n, {self.dim}); got {vectors.shape}. "
                "Use vectors of the model it was trained on."
            )
        chosen = self.width if width is None else width
        at = self._serving(chosen)
        out = np.empty((len(vectors), chosen), np.float32)
        for rows in row_blocks(vectors):
            block = normalize(vectors[rows])  # as in training
            out[rows] = normalize(self._run(at, block)[:, :chosen])
        return out

    def cut(self, width: int) -> Adapter:
        """The adapter that gives `width` coordinates and holds no more than that takes."""
        at = self._serving(width)
        chain = [at]
        while self.stages[chain[0]].source >= 0:
            chain.insert(0, self.stages[chain[0]].source)
        maps = tuple(m for i in chain for m in self.stages[i].maps)
        if self.stages[at].width > width:
            maps = _narrowed(maps, np.arange(width, dtype=np.int64))
        # Widths that a narrower stage served are not those of this one.
        below = max((s.width for s in self.stages if s.width < width), default=0)
        widths = tuple(w for w in self.widths if below < w <= width) or (width,)
        return replace(self, widths=widths, stages=(Stage(width, maps),))

    def size_bytes(self) -> int:
        """Bytes of all maps' arrays, which is what applying it takes."""
        return sum(
            array.nbytes
            for stage in self.stages
            for each in stage.maps
            for array in each.arrays().values()
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file; load reads it back. The file appears whole or not at all.

        Raises UserError where its folder is not there.
        """
        where = Path(path)
        if not where.parent.is_dir():
            raise UserError(
                f"an adapter is written into a folder that is there; {where.parent} is not. Make "
                "it first."
            )
        arrays: dict[str, NDArray[Any]] = {}
        stages = []
        for s, stage in enumerate(self.stages):
            for m, each in enumerate(stage.maps):
                for name, array in each.arrays().items():
                    arrays[f"{s}.{m}.{name}"] = np.ascontiguousarray(array)
            kinds = [each.kind for each in stage.maps]
            stages.append({"width": stage.width, "source": stage.source, "maps": kinds})
        if self.trained_rows is not None:
            arrays[_TRAINED_ROWS] = np.ascontiguousarray(self.trained_rows, np.uint32)
        config = {
            "format_version": FORMAT_VERSION,
            "method": self.method,
            "dim": self.dim,
            "widths": list(self.widths),
            "stages": stages,
            "facts": dict(self.facts),
        }
        partial = where.with_name(f".{where.name}.partial")
        try:
            save_file(arrays, partial, {_KEY: json.dumps(config, sort_keys=True, allow_nan=False)})
            partial.replace(where)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Adapter:
        """The adapter in a file.

        Raises UserError where there is none, a part of one, or one of an unknown version.
        """
        where = Path(path)
        if not where.is_file():
            raise UserError(f"{where} is not there. Name a file that nestvec adapt wrote.")
        try:
            with safe_open(where, "numpy") as file:
                config = json.loads((file.metadata() or {}).get(_KEY, "null"))
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, json.JSONDecodeError) as error:
            raise _not_whole(where, error) from None
        if not isinstance(config, dict) or config.get("format_version") != FORMAT_VERSION:
            raise UserError(
                f"{where} is not an adapter of format version {FORMAT_VERSION}. Name a file that "
                "nestvec adapt wrote, or install the nestvec that wrote this one."
            )
        try:
            return cls._described(config, arrays)
        except UserError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise _not_whole(where, error) from None

    @classmethod
    def _described(cls, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Adapter:
        stages = tuple(
            Stage(int(said["width"]), _maps(arrays, s, said["maps"]), int(said["source"]))
            for s, said in enumerate(config["stages"])
        )
        widths = tuple(int(width) for width in config["widths"])
        rows = arrays.get(_TRAINED_ROWS)
        adapter = cls(config["method"], int(config["dim"]), widths, stages, config["facts"], rows)
        one = np.ones((1, adapter.dim), np.float32)
        for stage in stages:  # raises where arrays do not fit one another
            adapter.transform(one, stage.width)
        return adapter

    def _serving(self, width: int) -> int:
        if not 1 <= width <= self.width:
            raise UserError(
                f"this adapter gives widths from 1 to {self.width}; got {width}. "
                f"It was trained for {', '.join(map(str, self.widths))}."
            )
        return max(i for i, stage in enumerate(self.stages) if stage.width >= width)

    def _run(self, at: int, rows: F32) -> F32:
        stage = self.stages[at]
        here = rows if stage.source < 0 else self._run(stage.source, rows)
        for each in stage.maps:
            here = each.apply(here)
        return here


def _not_whole(where: Path, error: Exception) -> UserError:
    said = " ".join(str(error).split())
    return UserError(
        f"an adapter is a whole .safetensors file; {where} is not ({said}): copy or train it again."
    )


def _narrowed(maps: tuple[Map, ...], order: NDArray[np.int64]) -> tuple[Map, ...]:
    """Maps that give the coordinates of order alone: a last matrix loses columns."""
    last = maps[-1] if maps else None
    if isinstance(last, Select):
        return _narrowed(maps[:-1], last.order[order])
    if isinstance(last, Linear):
        return (*maps[:-1], Linear(np.ascontiguousarray(last.weight[:, order])))
    return (*maps, Select(order))


def _maps(arrays: Mapping[str, NDArray[Any]], stage: int, kinds: Sequence[str]) -> tuple[Map, ...]:
    maps = []
    for m, kind in enumerate(kinds):
        start = f"{stage}.{m}."
        own = {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}
        maps.append(make_map(kind, own))
    return tuple(maps)
