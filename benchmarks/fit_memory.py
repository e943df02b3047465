"""Peak memory of fitting on a million vectors of 1,536: python benchmarks/fit_memory.py.

Makes the vectors (float16, clustered, 3 GB by default) in a temporary file, memory-maps them, fits
and encodes a part. Prints seconds and the peak resident memory, mapped pages of the file included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from nestvec.codec.nested import Codec


def write_vectors(path: Path, rows: int, dim: int) -> None:
    """Clustered float16 vectors, written by blocks of 10,000 rows."""
    rng = np.random.default_rng(0)
    middles = rng.standard_normal((2000, dim)).astype(np.float32)
    scale = np.linspace(1.5, 0.1, dim, dtype=np.float32)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(rows, dim))
    for start in range(0, rows, 10_000):
        size = min(10_000, rows - start)
        noise = rng.standard_normal((size, dim), dtype=np.float32)
        out[start : start + size] = (middles[rng.integers(0, 2000, size)] + noise) * scale
    out.flush()


def main() -> None:
    """Run, print and write the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None, help="not used: the vectors are made")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=1536)
    parser.add_argument("--spec", default="32xcb")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fit_memory.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        write_vectors(path, options.rows, options.dim)
        vectors = np.load(path, mmap_mode="r")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        start = time.perf_counter()
        codec = Codec(options.spec).fit(vectors)
        fit_s = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        start = time.perf_counter()
        codec.encode(vectors[:20_000])
        encode_s = time.perf_counter() - start
    results = {
        "command": f"python benchmarks/fit_memory.py --rows {options.rows} --dim {options.dim} "
        f"--spec {options.spec}",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "rows": options.rows,
        "dim": options.dim,
        "spec": options.spec,
        "fitted_rows": codec.fitted_rows,
        "fit_s": fit_s,
        "encode_rows_per_s": 20_000 / encode_s,
        "rss_before_mb": before,
        "peak_rss_mb": peak,
        "codec_bytes": codec.size_bytes(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
