"""Vector files and the few things done to vectors everywhere: cut, normalize, check.

Vectors are (n, d) arrays in C order, float16 or float32, perhaps memory maps: whatever reads
them casts by blocks of rows and never copies them whole.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec import tables, vector_formats
from nestvec.errors import UserError
from nestvec.vector_formats import row_blocks as row_blocks

SUFFIXES = (".npy", ".npz", ".safetensors", *tables.SUFFIXES)
"""Names of files that can hold vectors."""

_NAMES = ("vectors", "embeddings", "vector", "embedding")
_ID_NAMES = ("id", "_id", "ids", "doc_id")


@dataclass(frozen=True)
class VectorFile:
    """What a vector file holds.

    vectors: (n, d) float16 or float32 in C order, a memory map where the format allows.
    ids: n distinct strings; the row numbers where the file has none.
    queries: (q, d) vectors of queries, where the file has them.
    """

    vectors: NDArray[Any]
    ids: list[str]
    queries: NDArray[Any] | None = None


def normalize(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """The rows at length 1, as float32; all-zero rows stay zero.

    vectors: (n, d), or one vector (d,), any float dtype. Lengths are taken in float64, so that
    neither tiny nor huge numbers are lost.
    """
    if vectors.ndim == 1:
        one: NDArray[np.float32] = normalize(vectors[None])[0]
        return one
    out = np.empty(vectors.shape, dtype=np.float32)
    for rows in row_blocks(vectors):
        block = np.asarray(vectors[rows], dtype=np.float64)
        lengths = np.sqrt(np.einsum("nd,nd->n", block, block))
        lengths[lengths == 0] = 1.0
        np.divide(block, lengths[:, None], out=out[rows], casting="same_kind")
    return out


def prefix(vectors: NDArray[Any], width: int) -> NDArray[np.float32]:
    """The first width coordinates of each row, at length 1 again, as float32.

    vectors: (n, d), or one vector (d,). Raises UserError if width is not within 1 to d.
    Kusupati et al. 2022 (arXiv:2205.13147), section 4.
    """
    dim = vectors.shape[-1]
    if not 1 <= width <= dim:
        raise UserError(
            f"a prefix must be 1 to {dim} coordinates wide, as the vectors are; got {width}. "
            f"Give a width of at most {dim}."
        )
    return normalize(vectors[..., :width])


def check_vectors(vectors: NDArray[Any], name: str) -> None:
    """Raise UserError unless vectors are (n, d) floats, finite, and no row is all zero.

    name: what the vectors are called in the message, such as the file. Reads by blocks.
    """
    _check_kind(vectors, name)
    for rows in row_blocks(vectors):
        block = vectors[rows]
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            row = rows.start + int(finite.argmin())
            seen = "NaN" if np.isnan(vectors[row]).any() else "infinity"
            raise UserError(
                f"vectors must be finite; {name}: row {row} has {seen}. Drop or encode it again."
            )
        filled = block.any(axis=1)
        if not filled.all():
            row = rows.start + int(filled.argmin())
            raise UserError(
                f"a vector must point somewhere; {name}: row {row} is all zero. "
                "Drop such rows or encode them again."
            )


def check_range(vectors: NDArray[Any], dtype: np.dtype[Any]) -> None:
    """Raise UserError where a number of vectors (n, d) is too large for dtype. Reads by blocks."""
    most = float(np.finfo(dtype).max)
    for rows in row_blocks(vectors):
        largest = float(np.abs(vectors[rows]).max())
        if largest > most:
            raise UserError(
                f"vectors are stored as {dtype} here, up to {most:,.0f}; got {largest:,.0f}: scale "
                "them as those that are there."
            )


def check_ids(ids: Sequence[str], name: str) -> None:
    """Raise UserError where an id comes twice; name: of the file, for the message."""
    if len(set(ids)) == len(ids):
        return
    first: dict[str, int] = {}
    for row, identity in enumerate(ids):
        if identity in first:
            raise UserError(
                f"ids must be unique; {name}: rows {first[identity]} and {row} are both "
                f"{identity!r}. Rename or drop one."
            )
        first[identity] = row


def load_vectors(path: str | os.PathLike[str], column: str | None = None) -> VectorFile:
    """Read .npy, .npz, .safetensors, .parquet, .arrow or .feather.

    column: the array, tensor or column that holds the vectors; where None it is the one called
    vectors, embeddings, vector or embedding, or the only candidate. An array or column id (_id,
    ids, doc_id) gives the ids, an array queries the queries' vectors. .npy, .safetensors and
    one-batch Arrow files are memory-mapped; float64 and bfloat16 become float32 by blocks.
    Rows are not read here: check_vectors does that. Raises UserError for what cannot be used.
    """
    where = Path(path)
    suffix = Path(where.name.removesuffix(".gz")).suffix
    if suffix not in SUFFIXES or (where.suffix == ".gz" and not tables.is_table(where)):
        raise UserError(
            f"a vector file ends in {', '.join(SUFFIXES)}; got {where.name}. "
            "Convert it, for instance with numpy.save."
        )
    if not where.exists():
        raise UserError(f"{where} does not exist. Check the name.")
    if where.is_dir():
        raise UserError(f"{where} is a folder and not a vector file. Name a file in it.")
    if tables.is_table(where):
        return _load_table(where, column)
    arrays: Mapping[str, Any]
    if suffix == ".npy":
        arrays = {"vectors": vector_formats.read_npy(where)}
        column = None
    elif suffix == ".npz":
        arrays = vector_formats.read_npz(where)
    else:
        arrays = vector_formats.read_safetensors(where)
    return _from_arrays(where, arrays, column)


def save_vectors(
    path: str | os.PathLike[str], vectors: NDArray[Any], ids: Sequence[str] | None = None
) -> None:
    """Write vectors, (n, d) floats, in the format of the name; load_vectors reads them back.

    ids: n distinct strings, kept by every format but .npy, which has no place for them.
    The file appears whole or not at all. Raises UserError for a name or ids that do not fit.
    """
    where = Path(path)
    _check_kind(vectors, "vectors")
    if ids is not None:
        if len(ids) != len(vectors):
            raise UserError(
                f"every row has one id; got {len(ids)} ids for {len(vectors)} rows. Give as many."
            )
        check_ids(ids, "ids")
    if where.suffix not in SUFFIXES:
        raise UserError(
            f"a vector file ends in {', '.join(SUFFIXES)}; got {where.name}. Choose one of these."
        )
    if where.suffix == ".npy" and ids is not None:
        raise UserError(
            f".npy files have no place for ids; got {len(ids)} of them for {where.name}. "
            "Write .npz, .safetensors or .parquet instead."
        )
    partial = where.with_name(f".{where.stem}.partial{where.suffix}")
    try:
        _write(partial, vectors, ids)
        partial.replace(where)
    finally:
        partial.unlink(missing_ok=True)


def _write(path: Path, vectors: NDArray[Any], ids: Sequence[str] | None) -> None:
    usable = vectors if _is_usable(vectors) else _to_float32(vectors)
    if path.suffix == ".npy":
        np.save(path, usable, allow_pickle=False)
    elif path.suffix == ".npz":
        vector_formats.write_npz(path, usable, ids)
    elif path.suffix == ".safetensors":
        vector_formats.write_safetensors(path, usable, ids)
    else:
        tables.write_vectors(path, usable, ids)


def _from_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], column: str | None) -> VectorFile:
    beside = (*_ID_NAMES, "queries", "query_ids")
    candidates = [n for n in arrays if n not in beside]
    floats = [n for n in candidates if arrays[n].dtype.kind == "f"]
    name = column or _pick(path, floats or candidates, list(arrays), "array")
    if name not in arrays:
        raise UserError(f"{path} has no array {name!r}. Its arrays are: {', '.join(arrays)}.")
    vectors = _usable(arrays[name], str(path))
    ids = next((arrays[n] for n in _ID_NAMES if n in arrays), None)
    queries = arrays.get("queries")
    return VectorFile(
        vectors,
        _row_ids(path, None if ids is None else ids.ravel().tolist(), len(vectors)),
        None if queries is None else _usable(queries, f"{path} (queries)"),
    )


def _load_table(path: Path, column: str | None) -> VectorFile:
    kinds = tables.column_kinds(path)
    name = column or _pick(
        path, [n for n, k in kinds.items() if k == "vector"], list(kinds), "column"
    )
    vectors = _usable(tables.read_vectors(path, name), str(path))
    found = next((n for n in _ID_NAMES if kinds.get(n) in ("text", "number")), None)
    ids = None if found is None else tables.read_ids(path, found)
    return VectorFile(vectors, _row_ids(path, ids, len(vectors)))


def _pick(path: Path, candidates: list[str], present: list[str], noun: str) -> str:
    for name in _NAMES:
        if name in candidates:
            return name
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise UserError(
            f"one {noun} must hold the vectors; {path} has several candidates: "
            f"{', '.join(candidates)}. Name one (column, --vector-column)."
        )
    raise UserError(
        f"one {noun} must hold the vectors; {path} has only: {', '.join(present) or 'nothing'}. "
        f"Add one of float numbers, called vectors."
    )


def _row_ids(path: Path, ids: list[Any] | None, n: int) -> list[str]:
    if ids is None:
        return [str(row) for row in range(n)]
    if len(ids) != n:
        raise UserError(
            f"every row has one id; {path} has {len(ids)} ids for {n} vectors. Write it again."
        )
    strings = [identity if isinstance(identity, str) else str(identity) for identity in ids]
    check_ids(strings, str(path))
    return strings


def _check_kind(vectors: NDArray[Any], name: str) -> None:
    if vectors.dtype.kind != "f" or vectors.dtype.itemsize > 8:
        raise UserError(
            f"vectors must be float16, float32 or float64; {name} holds {vectors.dtype}. "
            "If these are numbers and no packed bits or codes, convert them with "
            "astype('float32')."
        )
    if vectors.ndim != 2:
        raise UserError(
            f"vectors must be a table of rows by coordinates; {name} has shape {vectors.shape}. "
            "Stack them into one array of two dimensions."
        )
    if 0 in vectors.shape:
        raise UserError(
            f"vectors are needed; {name} has shape {vectors.shape}. Check how it was written."
        )


def _usable(vectors: NDArray[Any], name: str) -> NDArray[Any]:
    """The array itself where it is float16 or float32 in C order, else a float32 copy."""
    _check_kind(vectors, name)
    return vectors if _is_usable(vectors) else _to_float32(vectors, name)


def _is_usable(vectors: NDArray[Any]) -> bool:
    plain = vectors.flags.c_contiguous and vectors.flags.aligned and vectors.dtype.isnative
    return bool(plain and vectors.dtype in (np.float16, np.float32))


def _to_float32(vectors: NDArray[Any], name: str = "vectors") -> NDArray[np.float32]:
    out = np.empty(vectors.shape, dtype=np.float32)
    for rows in row_blocks(vectors):
        block = vectors[rows]
        if vectors.dtype.itemsize == 8 and (np.abs(block) > np.finfo(np.float32).max).any():
            row = rows.start + int((np.abs(block) > np.finfo(np.float32).max).any(1).argmax())
            raise UserError(
                f"vectors must be finite as float32; {name}: row {row} has a number beyond 3.4e38. "
                "Scale the vectors or drop the row."
            )
        out[rows] = block
    return out
