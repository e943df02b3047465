"""A nested classifier and its cascade as a folder, and labels from it by numpy alone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from nestvec.choose.thresholds import CONFIDENCES, F64, I64, confidence, widen
from nestvec.data.model_nesting import read_nesting
from nestvec.errors import UserError
from nestvec.vectors import normalize, row_blocks

F32 = NDArray[np.float32]
Heads = Mapping[int, tuple[F32, F32]]
"""{width: (weight (classes, width), bias (classes,))}."""

FORMAT_VERSION = 1
CONFIG_FILE = "labeller.json"
ARRAYS_FILE = "labeller.safetensors"
MODEL_HEADS_FILE = "heads.safetensors"
MODEL_LABELS_FILE = "labels.json"
_MAP = "map"


@dataclass(frozen=True, eq=False)
class Labelled:
    """labels: (n,) strings. widths: (n,) the last one read. confidence: (n,) as sure_by says."""

    labels: NDArray[np.str_]
    widths: I64
    confidence: F64


@dataclass(frozen=True, eq=False)
class Labeller:
    """Labels vectors (n, dim) by the narrowest width that is sure.

    classes: labels by column. heads: a linear one a width, over the leading coordinates of matrix
    (dim, w) times the vectors at length 1; where matrix is None, of the vectors as they are.
    thresholds (w - 1,), temperatures (w,) and sure_by (its confidence): of a Cascade. encoder: what
    makes the vectors of texts, None where vectors were given. facts: how it was made, JSON-able.
    Kusupati et al. 2022 (arXiv:2205.13147, eq. 1 and app. D.1).
    """

    classes: tuple[str, ...]
    dim: int
    heads: Heads
    thresholds: F64
    temperatures: F64
    matrix: F32 | None = None
    tied: bool = False
    encoder: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    sure_by: str = "largest"

    @property
    def widths(self) -> tuple[int, ...]:
        """Those that there is a head for, rising."""
        return tuple(self.heads)

    def widening(self, cascade: Any) -> Labeller:
        """The same with what a Cascade over its widths stops by."""
        if tuple(cascade.widths_) != self.widths:
            raise ValueError(f"a cascade over {cascade.widths_} for heads of {self.widths}")
        return replace(
            self,
            thresholds=np.asarray(cascade.thresholds_, np.float64),
            temperatures=np.asarray(cascade.temperatures_, np.float64),
            sure_by=str(cascade.confidence),
        )

    def logits(self, vectors: NDArray[Any], width: int) -> F32:
        """(n, classes) of vectors (n, dim) at a width. Raises UserError where either is not fit."""
        self._check(vectors, width)
        weight, bias = self.heads[width]
        out = np.empty((len(vectors), len(self.classes)), np.float32)
        for rows in row_blocks(vectors):
            block = np.asarray(vectors[rows], np.float32)
            if self.matrix is not None:
                block = normalize(block) @ self.matrix[:, :width]
            np.add(block[:, :width] @ weight.T, bias, out=out[rows])
        return out

    def label(self, vectors: NDArray[Any], width: int | None = None) -> Labelled:
        """Labels of vectors (n, dim), each from the narrowest width that is sure, or all from one.

        Reads by blocks, so vectors may be a memory map; of the matrix, only the columns that a row
        has not had yet are multiplied. Raises UserError where vectors or width are not fit.
        """
        self._check(vectors, width)
        names = np.array(self.classes)
        n = len(vectors)
        columns, widths, sure = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
        for rows in row_blocks(vectors):
            if width is None:
                reader = _Reader(self, vectors[rows])
                columns[rows], widths[rows], sure[rows] = widen(
                    reader.read,
                    len(reader),
                    self.widths,
                    self.thresholds,
                    self.temperatures,
                    self.sure_by,
                )
                continue
            found = self.logits(vectors[rows], width)
            columns[rows], widths[rows] = found.argmax(axis=1), width
            heat = float(self.temperatures[self.widths.index(width)])
            sure[rows] = confidence(found, heat, self.sure_by)
        return Labelled(names[columns], widths, sure)

    def save(self, folder: str | os.PathLike[str], beside: Mapping[str, str] | None = None) -> None:
        """Write a new folder; load reads it back. It appears whole or not at all.

        beside: texts of other files in it, by their names.
        """
        place = Path(folder)
        arrays: dict[str, F32] = {} if self.matrix is None else {_MAP: self.matrix}
        for width in self.widths[-1:] if self.tied else self.widths:
            name = "head" if self.tied else f"head.{width}"
            arrays[f"{name}.weight"], arrays[f"{name}.bias"] = self.heads[width]
        config = {
            "format_version": FORMAT_VERSION,
            "classes": list(self.classes),
            "dim": self.dim,
            "widths": list(self.widths),
            "tied": self.tied,
            "thresholds": self.thresholds.tolist(),
            "temperatures": self.temperatures.tolist(),
            "sure_by": self.sure_by,
            "encoder": None if self.encoder is None else dict(self.encoder),
            "facts": dict(self.facts),
        }
        partial = place.with_name(f".{place.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            whole = {name: np.ascontiguousarray(each, np.float32) for name, each in arrays.items()}
            save_file(whole, partial / ARRAYS_FILE)
            text = json.dumps(config, indent=1, ensure_ascii=False, allow_nan=False)
            (partial / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
            for name, words in (beside or {}).items():
                (partial / name).write_text(words, encoding="utf-8")
            partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Labeller:
        """The one in a folder.

        Raises UserError where there is none, a part of one, or one of an unknown version.
        """
        place = Path(folder)
        if not (place / CONFIG_FILE).is_file():
            raise UserError(
                f"{place} holds no {CONFIG_FILE}. Name a folder that nestvec classify fit wrote."
            )
        try:
            config = json.loads((place / CONFIG_FILE).read_text(encoding="utf-8"))
        except ValueError as error:
            raise _not_whole(place, error) from None
        if not isinstance(config, dict) or config.get("format_version") != FORMAT_VERSION:
            raise UserError(
                f"{place} is not of format version {FORMAT_VERSION}. Name a folder that nestvec "
                "classify fit wrote, or install the nestvec that wrote this one."
            )
        try:
            return cls._described(config, load_file(place / ARRAYS_FILE))
        except (
            SafetensorError, OSError, KeyError, TypeError, ValueError, IndexError, AttributeError,
        ) as error:  # fmt: skip
            raise _not_whole(place, error) from None

    @classmethod
    def _described(cls, config: Mapping[str, Any], arrays: Mapping[str, F32]) -> Labeller:
        widths = tuple(int(width) for width in config["widths"])
        heads: dict[int, tuple[F32, F32]] = {}
        for width in widths:
            name = "head" if config["tied"] else f"head.{width}"
            heads[width] = arrays[f"{name}.weight"][:, :width], arrays[f"{name}.bias"]
        found = cls(
            tuple(str(label) for label in config["classes"]),
            int(config["dim"]),
            heads,
            np.asarray(config["thresholds"], np.float64),
            np.asarray(config["temperatures"], np.float64),
            arrays.get(_MAP),
            bool(config["tied"]),
            config["encoder"],
            config["facts"],
            config.get("sure_by", "largest"),  # folders of before it have none
        )
        for width, (weight, bias) in heads.items():
            if weight.shape != (len(bias), width) or len(bias) != len(found.classes):
                raise ValueError(f"a head of {width} has another shape")
        if found.sure_by not in CONFIDENCES:
            raise ValueError(f"nothing is sure by {found.sure_by!r}")
        if len(found.thresholds) != len(widths) - 1 or len(found.temperatures) != len(widths):
            raise ValueError("a threshold is missing")
        one = np.ones((1, found.dim), np.float32)
        for width in widths:  # raises where arrays do not fit one another
            found.logits(one, width)
        return found

    def _check(self, vectors: NDArray[Any], width: int | None) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise UserError(
                f"vectors are (n, {self.dim}), as those it was fitted on; got {vectors.shape}. Use "
                "vectors of the same model."
            )
        if width is not None and width not in self.heads:
            raise UserError(
                f"a width is one that has a head, {', '.join(map(str, self.widths))}; got {width}."
            )


class _Reader:
    """Logits of some vectors, width after width; what was mapped once is kept."""

    def __init__(self, labeller: Labeller, vectors: NDArray[Any]) -> None:
        self._labeller = labeller
        self._vectors = np.asarray(vectors, np.float32)
        self._mapped = self._vectors
        if labeller.matrix is not None:
            self._vectors = normalize(self._vectors)
            self._mapped = np.empty((len(vectors), labeller.widths[-1]), np.float32)
        self._done = 0

    def __len__(self) -> int:
        return len(self._vectors)

    def read(self, width: int, rows: I64) -> F32:
        """(m, classes) of rows (m,), which have had all widths that were read before."""
        # all rows, as at the first width, need no copy
        own = slice(None) if len(rows) == len(self) else rows
        matrix = self._labeller.matrix
        if matrix is not None:
            fresh = slice(self._done, width)
            self._mapped[own, fresh] = self._vectors[own] @ matrix[:, fresh]
            self._done = width
        weight, bias = self._labeller.heads[width]
        found: F32 = self._mapped[own, :width] @ weight.T + bias
        return found


def has_heads(folder: str | os.PathLike[str]) -> bool:
    """Whether a model folder holds class heads, as nestvec train leaves them."""
    return (Path(folder) / MODEL_HEADS_FILE).is_file()


def heads_of_model(folder: str | os.PathLike[str]) -> tuple[Heads, tuple[str, ...], bool]:
    """The heads in a model folder, their labels, and whether all widths share one.

    Raises UserError where they cannot be read or do not fit each other.
    """
    place = Path(folder)
    try:
        arrays = load_file(place / MODEL_HEADS_FILE)
        classes = tuple(map(str, json.loads((place / MODEL_LABELS_FILE).read_text("utf-8"))))
        tied = "head.weight" in arrays
        heads: dict[int, tuple[F32, F32]] = {}
        if tied:
            weight, bias = (np.asarray(arrays[f"head.{x}"], np.float32) for x in ("weight", "bias"))
            nesting = read_nesting(place)
            widths: Sequence[int] = (weight.shape[1],) if nesting is None else nesting.widths
            heads = {width: (weight[:, :width], bias) for width in widths}
        else:
            for i in range(len(arrays) // 2):
                weight, bias = (
                    np.asarray(arrays[f"heads.{i}.{x}"], np.float32) for x in ("weight", "bias")
                )
                heads[weight.shape[1]] = weight, bias
        if not heads or any(len(weight) != len(classes) for weight, _ in heads.values()):
            raise ValueError("heads and labels are not as many")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, IndexError) as error:
        raise _not_whole(place, error) from None
    return dict(sorted(heads.items())), classes, tied


def _not_whole(place: Path, error: Exception) -> UserError:
    said = " ".join(str(error).split())
    return UserError(
        f"a classifier's folder is read whole; {place} is not ({said}): copy or fit it again."
    )
