"""Encode and fit side by side with FAISS's ResidualQuantizer: python benchmarks/codec.py --data D.

D holds acl_abstracts/minilm/docs.npy (vectors of ACL Anthology abstracts by all-MiniLM-L6-v2); any
other .npy of vectors can be given with --vectors. Both sides have the same rows, levels and
beam. Reported: seconds, their ratio, the squared error at each cut, machine and versions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from nestvec.codec.directions import directions
from nestvec.codec.nested import Codec

CUTS = (4, 8, 12, 16, 24, 32)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that work took, and what it gave."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def best_of(repeats: int, work: Callable[[], Any]) -> float:
    """The shortest of several runs, in seconds."""
    return min(timed(work)[0] for _ in range(repeats))


def errors(decode: Callable[[int], NDArray[np.float32]], rows: NDArray[np.float32]) -> list[float]:
    """Mean squared error of the reconstruction at each of CUTS."""
    return [float(((decode(cut) - rows) ** 2).sum(axis=1).mean()) for cut in CUTS]


def main() -> None:
    """Run, print and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--vectors", type=Path, default=None)
    parser.add_argument("--rows", type=int, default=20_000, help="rows to encode")
    parser.add_argument("--fit-rows", type=int, default=20_000)
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/codec.json"))
    options = parser.parse_args()
    path = options.vectors or options.data / "acl_abstracts/minilm/docs.npy"
    vectors = directions(np.load(path, mmap_mode="r")[:])
    order = np.random.default_rng(0).permutation(len(vectors))
    sample = vectors[np.sort(order[: options.fit_rows])]
    rows = vectors[np.sort(order[-options.rows :])]
    dim = vectors.shape[1]
    faiss.omp_set_num_threads(os.cpu_count() or 1)

    codec = Codec("32xcb", beam=options.beam, power=0.0, sample_rows=options.fit_rows)
    codec.fit(sample[:4000])  # compiles the kernels, or loads them
    codec.encode(rows[:1000])
    fit_ours, codec = timed(lambda: codec.fit(sample))
    peer: Any = faiss.ResidualQuantizer(dim, 32, 8)
    peer.max_beam_size = options.beam
    fit_peer, _ = timed(lambda: peer.train(sample))
    plain = best_of(options.repeats, lambda: peer.compute_codes(rows))
    peer.use_beam_LUT = 1
    peer.compute_codebook_tables()
    tables = best_of(options.repeats, lambda: peer.compute_codes(rows))
    ours = best_of(options.repeats, lambda: codec.encode(rows))

    books = faiss.vector_to_array(peer.codebooks).reshape(32, 256, dim)
    peer_codes = peer.compute_codes(rows)
    codes = codec.encode(rows)
    results = {
        "command": f"python benchmarks/codec.py --rows {options.rows} "
        f"--fit-rows {options.fit_rows} --beam {options.beam}",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "versions": {"faiss": faiss.__version__, "numpy": np.__version__},
        "rows": options.rows,
        "fit_rows": options.fit_rows,
        "dim": dim,
        "beam": options.beam,
        "fit_s": {"ours": fit_ours, "faiss": fit_peer, "ratio": fit_ours / fit_peer},
        "encode_s": {
            "ours": ours,
            "faiss": plain,
            "faiss with look-up tables": tables,
            "ratio": ours / min(plain, tables),
        },
        "squared_error": {
            "cuts": list(CUTS),
            "ours": errors(lambda cut: codec.decode(codes, cut), rows),
            "faiss": errors(lambda cut: sum(books[m][peer_codes[:, m]] for m in range(cut)), rows),
        },
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
