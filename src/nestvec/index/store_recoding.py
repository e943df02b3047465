"""Rows on disk written anew with other codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nestvec.errors import UserError
from nestvec.index.columns import code_column, code_groups
from nestvec.index.files import one_writer
from nestvec.index.store import BATCH_ROWS, MANIFEST_KEY, RowStore, lance_library, reading
from nestvec.index.store_changes import FRAGMENT_ROWS, Arrays, lists_of, writing
from nestvec.index.store_records import recording
from nestvec.progress import Progress, quiet


def recode_rows(
    folder: Path,
    arrays: Arrays,
    manifest_name: str,
    version: int,
    progress: Progress | None = None,
) -> RowStore:
    """A new version of the same rows with other codes and facts, in one commit; returned open.

    arrays: of all rows that are not deleted, in their order; its vectors are not read: those that
    are stored stay. version: the one that they were coded of. Deleted rows are left out; ids,
    texts, columns and seq stay. Raises UserError where another version was written meanwhile, the
    disk is full, or another process is writing.
    """
    lance = lance_library()
    import pyarrow as pa

    with one_writer(folder.parent), reading(folder):
        dataset = lance.dataset(str(folder))
        if dataset.version != version:
            raise UserError(
                f"rows are coded anew of the newest version; got codes of version {version}, and "
                f"{dataset.version} was written meanwhile: run it again."
            )
        schema = _schema(pa, dataset.schema, arrays, manifest_name)
        with writing(folder):
            batches = pa.RecordBatchReader.from_batches(
                schema, _batches(pa, dataset, schema, arrays, progress or quiet())
            )
            fragments = lance.fragment.write_fragments(
                batches,
                str(folder),
                schema=schema,
                mode="overwrite",
                max_rows_per_file=FRAGMENT_ROWS,
            )
            operation = lance.LanceOperation.Overwrite(schema, fragments)
            with recording(folder):
                lance.LanceDataset.commit(str(folder), operation, read_version=version)
        return RowStore.open(folder)


def _schema(pa: Any, old: Any, arrays: Arrays, manifest_name: str) -> Any:
    """The columns in their order, facts and codes replaced where they stood: before the vector."""
    kept = [field for field in old if not _derived(field.name) and field.name != "vector"]
    kept += [pa.field(name, pa.from_numpy_dtype(f.dtype)) for name, f in arrays.facts.items()]
    for start, stop in code_groups(arrays.level_ends):
        kept.append(pa.field(code_column(start, stop), pa.list_(pa.uint8(), stop - start)))
    kept += [field for field in old if field.name == "vector"]
    return pa.schema(kept, metadata={MANIFEST_KEY: manifest_name})


def _derived(name: str) -> bool:
    return name == "length" or name.startswith(("norm_", "code_"))


def _batches(
    pa: Any, dataset: Any, schema: Any, arrays: Arrays, progress: Progress
) -> Iterator[Any]:
    start = 0
    kept = [name for name in dataset.schema.names if not _derived(name)]
    progress.start("writing rows", dataset.count_rows())
    for batch in dataset.to_batches(columns=kept, batch_size=BATCH_ROWS, batch_readahead=2):
        part = slice(start, start + batch.num_rows)
        fresh = {name: pa.array(np.asarray(fact[part])) for name, fact in arrays.facts.items()}
        for first, last in code_groups(arrays.level_ends):
            fresh[code_column(first, last)] = lists_of(pa, arrays.codes[part, first:last])
        columns = [fresh[name] if name in fresh else batch.column(name) for name in schema.names]
        yield pa.record_batch(columns, schema)
        start = part.stop
        progress.advance(batch.num_rows)
    progress.finish()
