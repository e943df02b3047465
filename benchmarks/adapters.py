"""What training an adapter costs: python benchmarks/adapters.py [--data DATA].

steps: a step of SMEC's stages beside one of the plain MRL adapter at the same batch and widths, in
turn. converge: SMEC from start to end on 45,000 x 384 with pairs: titles and abstracts of DATA's
acl_abstracts where it is given (encoding the titles does not count), else made. memory: peak of
SMEC on a memory map of 1,000,000 x 1,536 (made, float16, 3 GB on disk), and of loading nothing but
the libraries. Each part runs in a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nestvec.learn.adapters.examples import Examples
from nestvec.learn.adapters.methods import AdapterSettings, Parts, fit_adapter
from nestvec.learn.adapters.settings import Training
from nestvec.learn.adapters.training import Watch

WIDTHS = (16, 32, 64, 128, 256)
BATCH = 512


def main() -> None:
    """Run, print and write the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--parts", nargs="+", default=["steps", "converge", "memory"])
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the memory map")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/adapters.json"))
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(globals()[f"measure_{options.one}"](options)))
        return
    results: dict[str, Any] = {
        "command": "python benchmarks/adapters.py"
        + (" --data DATA" if options.data else "")
        + f" --rounds {options.rounds}",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
    }
    for part in options.parts:
        command = [sys.executable, *sys.argv, "--one", part]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        results[part] = json.loads(done.stdout.splitlines()[-1])
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


def measure_steps(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds a step of both, alternating; the ratio of medians."""
    examples = made(45_000, 384)
    arms = {
        "mrl": ("mrl", Parts()),
        "smec without S-XBM": ("smec", Parts(remembering=False)),
        "smec": ("smec", Parts()),
    }
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(options.rounds):
        for name, (method, parts) in arms.items():
            stamps: list[float] = []
            stop = 60 if method == "mrl" else 240
            with contextlib.suppress(_Enough):
                fit_adapter(
                    method,
                    examples,
                    settings(parts, epochs=1),
                    watch=_stamping(stamps, stop),
                )
            gaps = np.diff(stamps)
            # a pause between stages, where held-out data are scored, is no step
            times[name].append(float(np.median(gaps)) * 1e3)
    middle = {name: round(statistics.median(found), 2) for name, found in times.items()}
    ratios = [b / a for a, b in zip(times["mrl"], times["smec"], strict=True)]
    return {
        "batch": BATCH,
        "widths": [*WIDTHS, 384],
        "ms": middle,
        "smec_by_mrl": round(statistics.median(ratios), 3),
        "lowest": round(min(ratios), 3),
        "highest": round(max(ratios), 3),
    }


class _Enough(Exception):
    """Steps enough were timed."""


def _stamping(stamps: list[float], most: int) -> Watch:
    """A watch that takes the time of every step, until there are enough."""

    def stamp(step: int, module: nn.Module) -> None:
        stamps.append(time.perf_counter())
        if len(stamps) >= most:
            raise _Enough

    return stamp


def measure_converge(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of SMEC on 45,000 x 384 until no stage gets better."""
    source = "made"
    examples = made(45_000, 384)
    if options.data is not None and (options.data / "acl_abstracts" / "minilm").is_dir():
        source = "acl_abstracts, first 45,000 abstracts; queries are abstracts disturbed"
        rows = np.load(options.data / "acl_abstracts" / "minilm" / "docs.npy")[:45_000]
        noise = np.random.default_rng(0).standard_normal(rows.shape).astype(np.float32)
        examples = paired(rows, rows.astype(np.float32) + 0.5 * noise / 384**0.5)
    begun = time.perf_counter()
    adapter = fit_adapter("smec", examples, settings(Parts(), epochs=10))
    histories = adapter.facts["histories"]
    return {
        "data": source,
        "pairs": 45_000,
        "seconds": round(time.perf_counter() - begun, 1),
        "epochs_a_stage": [history["epochs"][-1] for history in histories],
        "held_out": [[round(score, 4) for score in history["scores"]] for history in histories],
    }


def measure_memory(options: argparse.Namespace) -> dict[str, Any]:
    """Peak resident memory over a memory map, some hundred steps a stage."""
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "rows.npy"
        rows = np.lib.format.open_memmap(
            place, mode="w+", dtype=np.float16, shape=(options.rows, 1536)
        )
        rng = np.random.default_rng(0)
        for start in range(0, options.rows, 10_000):
            rows[start : start + 10_000] = rng.standard_normal((10_000, 1536), np.float32)
        rows.flush()
        size = place.stat().st_size
        del rows
        mapped = np.load(place, mmap_mode="r")
        some = np.sort(rng.choice(options.rows, 20_000, replace=False))
        queries = np.asarray(mapped[some], np.float32)
        queries += rng.standard_normal(queries.shape, np.float32)
        examples = Examples(mapped, queries, np.stack([np.arange(20_000), some], axis=1))
        begun = time.perf_counter()
        fit_adapter("smec", examples, settings(Parts(), epochs=1, widths=(64, 256)))
        seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "rows": options.rows,
        "dim": 1536,
        "file_gb": round(size / 1e9, 2),
        "peak_mb": round(peak),
        "libraries_mb": round(idle),
        "seconds": round(seconds, 1),
        "note": "pages of the map that the system keeps in its cache count as resident, too",
    }


def settings(parts: Parts, epochs: int, widths: tuple[int, ...] = WIDTHS) -> AdapterSettings:
    """Alike for all parts."""
    return AdapterSettings(
        widths=widths, training=Training(batch=BATCH, epochs=epochs), parts=parts
    )


def made(rows: int, dim: int) -> Examples:
    """Vectors around centres, and disturbed ones as their queries."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((500, dim))
    documents = centres[rng.integers(0, 500, rows)] + 0.7 * rng.standard_normal((rows, dim))
    queries = documents + 0.7 * rng.standard_normal((rows, dim))
    return paired(documents.astype(np.float32), queries.astype(np.float32))


def paired(documents: np.ndarray[Any, Any], queries: np.ndarray[Any, Any]) -> Examples:
    """Query i is answered by document i."""
    return Examples(documents, queries, np.stack([np.arange(len(documents))] * 2, axis=1))


if __name__ == "__main__":
    main()
