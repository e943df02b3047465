"""A codec on disk: one safetensors file whose metadata holds the settings as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from nestvec.codec.ladder import Ladder
from nestvec.codec.levels import Level
from nestvec.codec.scalar import Floats, Int8
from nestvec.codec.signs import SignPlane
from nestvec.codec.spec import LevelSpec, check_width
from nestvec.errors import UserError

PathLike = str | os.PathLike[str]

FORMAT = 1
_KEY = "nestvec.codec"


def make_level(term: LevelSpec, dim: int) -> Level:
    """An unfitted level of a spec's term, for vectors of dim coordinates."""
    if term.kind == "cb":
        return Ladder(term.amount, term.codewords, term.precision)
    if term.kind == "sign":
        return SignPlane(term.amount)
    if term.kind == "int8":
        check_width(term, dim)
        return Int8(dim, term.amount or dim)
    return Floats(term.kind, dim)


def build_levels(
    configs: list[dict[str, Any]], arrays: dict[str, NDArray[Any]]
) -> tuple[Level, ...]:
    """Fitted levels of their configs and of arrays named level0.words and so on."""
    kinds: dict[str, Callable[[dict[str, Any], dict[str, NDArray[Any]]], Level]] = {
        "cb": Ladder.from_config,
        "sign": SignPlane.from_config,
        "int8": Int8.from_config,
        "float16": Floats.from_config,
        "raw": Floats.from_config,
    }
    levels: list[Level] = []
    for i, config in enumerate(configs):
        start = f"level{i}."
        own = {name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)}
        levels.append(kinds[config["kind"]](config, own))
    return tuple(levels)


def write(path: PathLike, config: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Write to a neighbouring file, then rename: whole or not at all."""
    target = Path(path)
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    blob = save(whole, metadata={_KEY: json.dumps(config, sort_keys=True)})
    beside = target.with_name(target.name + ".partial")
    beside.write_bytes(blob)
    beside.replace(target)


def read(path: PathLike) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Settings and arrays of a codec file.

    Raises UserError where there is no such file, it is cut short or no codec, or of another format.
    """
    if not Path(path).is_file():
        raise UserError(f"a codec is read from a file; got {path}, which is none; check the path.")
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as fault:
        raise UserError(
            f"a codec is a whole safetensors file; {path} is not ({fault}); write it again."
        ) from fault
    if _KEY not in metadata:
        raise UserError(
            f"a codec file carries its settings; {path} has none; pass a file of Codec.save."
        )
    config = json.loads(metadata[_KEY])
    if config.get("format") != FORMAT:
        raise UserError(
            f"this version reads codecs of format {FORMAT}; {path} has format "
            f"{config.get('format')}; install the version of nestvec that wrote it."
        )
    return config, arrays
