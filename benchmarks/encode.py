"""Texts a second: our encoder against sentence-transformers' own, side by side in one run.

    python benchmarks/encode.py --data DIR [--texts 2000] [--rounds 5] [--threads N]

The library's batch size is first chosen by speed on a small part of the texts. Then every round
encodes the same texts by each way in turn, so that a busy machine slows all of them; the ratio of
a round is ours over the library's, and the median and the range of the rounds are told. At the end
encode_texts writes all texts to a file, the check of the number format included.
Writes benchmarks/results/encode.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import torch
import transformers

from nestvec.data.encode import encode_texts
from nestvec.data.encoder import load_encoder
from nestvec.data.model_files import find_model
from nestvec.data.source import open_source

Way = Callable[[list[str]], Any]

BATCH_SIZES = (16, 32, 64, 128)
RESULTS = Path(__file__).parent / "results" / "encode.json"


def main() -> None:
    """Runs the comparison and prints it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a folder or file of texts")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of torch; all cores where not given")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()

    if options.threads:
        torch.set_num_threads(options.threads)
    texts = read_texts(options.data, options.texts)
    rounds = max(1, min(options.rounds, len(texts) // 40))
    part = len(texts) // rounds
    ours = load_encoder(options.model)
    ours.prepare(texts[:: max(1, len(texts) // 50)])
    location = find_model(options.model).location
    library: dict[str, Any] = {
        "float32": sentence_transformers.SentenceTransformer(location),
        "bfloat16": sentence_transformers.SentenceTransformer(
            location, model_kwargs={"dtype": torch.bfloat16}
        ),
    }
    sizes = {name: best_batch_size(model, texts[:part]) for name, model in library.items()}
    ways: dict[str, Way] = {"nestvec": lambda some: ours.encode(some, "document")}
    for name, model in library.items():
        ways[f"sentence-transformers {name}"] = library_way(model, sizes[name])
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds):
        some = texts[number * part : (number + 1) * part]
        # who goes first changes, so that nobody always meets a cold machine
        names = list(ways)[number % len(ways) :] + list(ways)[: number % len(ways)]
        for name in names:
            seconds[name].append(timed(ways[name], some))
    probe = texts[: min(100, part)]
    cosines = (ways["nestvec"](probe) * ways["sentence-transformers float32"](probe)).sum(axis=1)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        fresh = load_encoder(options.model)
        done = encode_texts(texts, fresh, Path(folder) / "vectors.npy", total=len(texts))
        whole = time.perf_counter() - start
    result = {
        "machine": machine(),
        "data": Path(options.data).name,
        "texts": len(texts),
        "truncated": done.truncated,
        "model": ours.describe(),
        "batch_sizes": sizes,
        "rounds": rounds,
        "texts_per_second": {
            name: round(part / statistics.median(clock for clock, _ in times), 1)
            for name, times in seconds.items()
        },
        "texts_per_core_second": {
            name: round(part / statistics.median(used for _, used in times), 1)
            for name, times in seconds.items()
        },
        "speed_over_the_librarys_best": ratios(seconds, 0),
        "the_same_by_core_seconds": ratios(seconds, 1),
        "least_cosine_to_float32": round(float(np.min(cosines)), 5),
        "encode_texts_per_second_load_and_check_included": round(len(texts) / whole, 1),
        "peak_rss_mb_of_this_script": round(peak_rss_mb()),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def ratios(seconds: dict[str, list[tuple[float, float]]], kind: int) -> dict[str, float]:
    """Median, least and largest over the rounds of the library's best time over ours."""
    theirs = [times for name, times in seconds.items() if name != "nestvec"]
    found = [
        min(times[kind] for times in round_) / ours[kind]
        for ours, *round_ in zip(seconds["nestvec"], *theirs, strict=True)
    ]
    return {
        "median": round(statistics.median(found), 3),
        "low": round(min(found), 3),
        "high": round(max(found), 3),
    }


def read_texts(data: str, count: int) -> list[str]:
    """count texts with their titles, spread over the source."""
    texts = [row.titled_text for row in open_source(data).rows()]
    count = min(count, len(texts))
    return [texts[number * len(texts) // count] for number in range(count)]


def library_way(model: Any, batch_size: int) -> Way:
    """The library's own loop at a batch size."""
    return lambda texts: model.encode(texts, batch_size=batch_size, show_progress_bar=False)


def best_batch_size(model: Any, texts: list[str]) -> int:
    """The fastest of BATCH_SIZES for the library's own loop, on up to 128 texts."""
    some = texts[:128]
    library_way(model, BATCH_SIZES[0])(some[:16])
    speeds = {size: timed(library_way(model, size), some)[1] for size in BATCH_SIZES}
    return min(speeds, key=lambda size: speeds[size])


def timed(way: Way, texts: list[str]) -> tuple[float, float]:
    """(seconds by the clock, seconds of all cores) of one call.

    The second is the steadier on a machine that does other work as well.
    """
    start, used = time.perf_counter(), time.process_time()
    way(texts)
    return time.perf_counter() - start, time.process_time() - used


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    return {
        "platform": platform.platform(terse=True),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "torch_threads": torch.get_num_threads(),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "sentence-transformers": sentence_transformers.__version__,
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


def peak_rss_mb() -> float:
    """Largest resident memory so far, in MB (of 10^6 bytes)."""
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
