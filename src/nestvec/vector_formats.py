"""The array files: .npy, .npz and .safetensors, read as named arrays and written by blocks.

Nothing pickled is ever loaded. A file that is cut short or is not what its name says is told
in one sentence.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import UserError

_BLOCK_BYTES = 1 << 23
_SAFE_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "BOOL": "?",
}  # fmt: skip


def row_blocks(vectors: NDArray[Any], n_bytes: int = _BLOCK_BYTES) -> Iterator[slice]:
    """Slices of rows that cover the array, each about n_bytes long as float32."""
    step = max(1, n_bytes // max(1, 4 * vectors.shape[1]))
    for start in range(0, len(vectors), step):
        yield slice(start, min(start + step, len(vectors)))


def read_npy(path: Path) -> NDArray[Any]:
    """The array, memory-mapped."""
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise _unreadable(path, error, ".npy") from None
    return array


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Every array, in memory: members of a zip archive are not aligned, if stored plain at all."""
    try:
        # opened here, so that a file that is no archive does not leave a handle open
        with zipfile.ZipFile(path) as archive:
            return {
                name.removesuffix(".npy"): _member(archive, name) for name in archive.namelist()
            }
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error, ".npz") from None


def _member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(name) as member:
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
        # read to its end, where the archive's checksum is compared
        if member.read(1):
            raise ValueError(f"array {name!r} is longer than its header says")
    return array


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Every tensor of two dimensions, memory-mapped, and "ids" of the metadata if there.

    bfloat16 becomes float32 in memory. The format: 8 bytes of header length, little endian, a
    JSON header {name: {dtype, shape, data_offsets}}, then the numbers.
    """
    try:
        arrays: dict[str, NDArray[Any]] = {}
        header, body = _safetensors_header(path)
        ids = header.pop("__metadata__", {}).get("ids")
        for name, tensor in header.items():
            shape, (start, stop) = tuple(tensor["shape"]), tensor["data_offsets"]
            if body + stop > path.stat().st_size:
                raise ValueError(f"tensor {name!r} is cut short")
            if len(shape) != 2 or 0 in shape:
                continue
            if tensor["dtype"] not in _SAFE_TYPES:
                raise ValueError(f"tensor {name!r} is of the unsupported kind {tensor['dtype']}")
            kind = np.dtype(_SAFE_TYPES[tensor["dtype"]])
            if stop - start != kind.itemsize * shape[0] * shape[1]:
                raise ValueError(f"tensor {name!r} has another length than its shape says")
            mapped = np.memmap(path, dtype=kind, mode="r", offset=body + start, shape=shape)
            arrays[name] = _from_bfloat16(mapped) if tensor["dtype"] == "BF16" else mapped
        if ids is not None:
            arrays["ids"] = np.array(json.loads(ids), dtype=object)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise _unreadable(path, error, ".safetensors") from None
    return arrays


def _safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size - 8:
            raise ValueError("its header is cut short")
        return json.loads(file.read(length)), 8 + length


def _from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """bfloat16 is the upper half of a float32."""
    out = np.empty(bits.shape, dtype=np.uint32)
    for rows in row_blocks(bits):
        np.left_shift(bits[rows], 16, out=out[rows], dtype=np.uint32)
    return out.view(np.float32)


def write_npz(path: Path, vectors: NDArray[Any], ids: Sequence[str] | None) -> None:
    """Arrays vectors and ids."""
    arrays = {"vectors": vectors}
    if ids is not None:
        arrays["ids"] = np.array(list(ids), dtype=np.str_)
    np.savez(path, allow_pickle=False, **arrays)


def write_safetensors(path: Path, vectors: NDArray[Any], ids: Sequence[str] | None) -> None:
    """A tensor vectors; ids as a JSON list in the metadata, which holds nothing but text."""
    tensor = {
        "dtype": "F16" if vectors.dtype == np.float16 else "F32",
        "shape": list(vectors.shape),
        "data_offsets": [0, vectors.nbytes],
    }
    header: dict[str, Any] = {"vectors": tensor}
    if ids is not None:
        header["__metadata__"] = {"ids": json.dumps(list(ids))}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for rows in row_blocks(vectors):
            out.write(np.ascontiguousarray(vectors[rows]).tobytes())


def _unreadable(path: Path, error: Exception, kind: str) -> UserError:
    reason = (str(error).strip() or "it ends too early").splitlines()[0].rstrip(".")
    if "allow_pickle" in reason or "Python objects" in reason:
        return UserError(
            f"a vector file holds numbers; {path} holds Python objects, which are never loaded. "
            "Stack the vectors into one float32 array and save that."
        )
    return UserError(
        f"{path} cannot be read as {kind} ({reason}). It may be cut short: write or copy it again."
    )
