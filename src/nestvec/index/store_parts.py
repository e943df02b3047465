"""A dataset written in parts by many machines and committed once: what Lance is asked for.

A part is a fragment: its data files are written and not committed, so that nothing of it is seen
until one place commits all parts in their order. Writing a part again leaves a file that no
version names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from nestvec.errors import UserError
from nestvec.index.columns import Kind, RowLike
from nestvec.index.files import sync_folder
from nestvec.index.places import Place
from nestvec.index.store import ROWS_FOLDER, first_line, lance_library
from nestvec.index.store_changes import Arrays, batch_of, schema_of
from nestvec.index.store_records import recording


def write_part(
    place: Place,
    kinds: Mapping[str, Kind],
    like: Arrays,
    chunks: Iterator[tuple[Sequence[RowLike], Arrays]],
    first_row: int,
) -> str:
    """Write one fragment of the rows below a place, uncommitted; returns Lance's record of it.

    kinds: of the user's columns. like: arrays of no rows, of the types of all. chunks: rows and
    their arrays, in order; first_row: their first one's number among all, which seq counts from.
    Memory: a chunk, and what Lance buffers. Raises UserError where it cannot be written.
    """
    lance = lance_library()
    import pyarrow as pa

    schema = schema_of(pa, kinds, like, "")
    failed: list[UserError] = []

    def batches() -> Iterator[object]:
        start = first_row
        try:
            for rows, arrays in chunks:
                yield batch_of(pa, schema, rows, kinds, arrays, 0, start)
                start += len(rows)
        except UserError as error:
            failed.append(error)
            raise

    where = f"{place.where}/{ROWS_FOLDER}"
    try:
        fragment = lance.fragment.LanceFragment.create(
            where,
            pa.RecordBatchReader.from_batches(schema, batches()),
            schema=schema,
            mode="create",
        )
    except (OSError, ValueError, RuntimeError) as error:
        if failed:
            raise failed[0] from None
        raise UserError(
            f"rows must be written below {place.where}, and cannot be ({first_line(error)}): see "
            "that every machine may write there, and run the same again: it goes on."
        ) from error
    if not place.is_address:
        for file in fragment.files:
            with Path(where, "data", file.path).open("rb") as written:
                os.fsync(written.fileno())
        sync_folder(Path(where, "data"))
    return json.dumps(fragment.to_json())


def commit_parts(
    place: Place,
    kinds: Mapping[str, Kind],
    like: Arrays,
    parts: Sequence[str],
    manifest_name: str,
) -> None:
    """Make the parts, in their order, the first version of the rows below a place.

    What else stands in a path's folder, of writers that were lost, is removed before; its files
    are forced to disk and their hashes recorded, as a build on one machine does it.
    """
    lance = lance_library()
    import pyarrow as pa

    schema = schema_of(pa, kinds, like, manifest_name)
    fragments = [lance.fragment.FragmentMetadata.from_json(part) for part in parts]
    for number, fragment in enumerate(fragments):
        fragment.id = number
    operation = lance.LanceOperation.Overwrite(schema, fragments)
    where = f"{place.where}/{ROWS_FOLDER}"
    if place.is_address:
        lance.LanceDataset.commit(where, operation)
        return
    named = {file.path for fragment in fragments for file in fragment.files}
    _remove_strangers(Path(where), named)
    with recording(Path(where)):
        lance.LanceDataset.commit(where, operation)


def no_rows(codes: int, facts: Mapping[str, str], vectors: tuple[int, str] | None,
            level_ends: Sequence[int]) -> Arrays:  # fmt: skip
    """Arrays of no rows: bytes of a code, facts' number types, and vectors' width and type."""
    return Arrays(
        np.empty((0, codes), np.uint8),
        {name: np.empty(0, dtype) for name, dtype in facts.items()},
        None if vectors is None else np.empty((0, vectors[0]), vectors[1]),
        tuple(level_ends),
    )


def _remove_strangers(folder: Path, named: set[str]) -> None:
    """Leave nothing but the named data files: neither lost parts nor an unfinished commit."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (path.parent != folder / "data" or path.name not in named):
            path.unlink()
