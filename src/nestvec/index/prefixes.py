"""A first stage over short prefixes of stored vectors, which are kept by coordinate for scans.

A compiled scan says which rows may be among the best; those are scored as everywhere else, so that
what is found is what scan.scan_vectors finds, to the bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nestvec.index import fused
from nestvec.index.reader import Reader
from nestvec.index.scan import Shortlist, rescore_vectors, rounding, scan_vectors

F32 = NDArray[np.float32]

# Rows that are held beyond those wanted: where the last of them is out of reach, none is missing.
_SPARE = 32
_RUN_COORDINATES = 1 << 22


def scan_prefixes(
    queries: F32, reader: Reader, width: int, metric: str, keep: int
) -> list[Shortlist]:
    """For each query (q, d) the best `keep` of all rows by their first `width` coordinates.

    Memory: the pages of the prefixes, and 24 bytes an entry for twice the shortlist a query and
    thread. Where many rows are nearly equal, all of those queries are scanned by scan_vectors.
    """
    runs = list(reader.prefix_runs(width))
    rough = fused.scan_prefixes(runs, queries, width, metric, reader.count, keep + _SPARE)
    longest = max(
        (float(run.lengths.max()) for run in runs if run.lengths is not None and len(run.lengths)),
        default=None,
    )
    found: list[Shortlist | None] = []
    for query, some in zip(queries, rough, strict=True):
        reach = rounding(metric, width, query, longest)
        if len(some.rows) == keep + _SPARE and some.scores[-1] >= some.scores[keep - 1] - reach:
            found.append(None)
            continue
        vectors, lengths = reader.vectors(some.rows, width), reader.lengths(some.rows)
        found.append(rescore_vectors(query, some, vectors, lengths, metric, keep))
    unsure = [i for i, each in enumerate(found) if each is None]
    if unsure:
        run_rows = max(1, _RUN_COORDINATES // max(width, len(unsure)))
        again = reader.vector_runs(width, run_rows)
        for i, each in zip(
            unsure, scan_vectors(queries[unsure], again, width, metric, keep), strict=True
        ):
            found[i] = each
    return [each for each in found if each is not None]
