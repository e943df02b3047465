"""Many clients at once against `nestvec serve`: answers a second, waits, errors, memory.

    python benchmarks/serve.py --data DIR [--clients 200] [--seconds 30] [--warm-up 5]

DIR is a collection, or texts, of which one is built first. The server is a process of its own with
its default limits. Every client keeps one connection, from an address of its own where the system
has them (Linux: 127.1.0.1 and on), and asks again as soon as it has its answer: in turn a text's
embedding in 64 dimensions, and a search of ten hits by a text. An answer that is not 200, or whose
embedding strays from the one that the idle server gave, is an error. Memory is the server's
resident set, every second; of it, what is not mapped from files is told apart where the system
says (Linux). Both are printed every ten seconds. Whether they still grow is told of the last half:
the slope of a line through means of five seconds with its 95 % interval (Student's t), "flat" where
that holds 0 or less. A short run has a wide interval, and proves nothing: take --seconds 120.
Server and clients share the machine's cores. Writes benchmarks/results/serve.json.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from scipy.stats import t as student

from nestvec.index.snapshot import Snapshot
from nestvec.jobs.checks import is_collection

RESULTS = Path(__file__).parent / "results" / "serve.json"
DIMS = 64
QUERY_WORDS = 12
KINDS = ("embeddings", "search")
STRAY = 1e-3
"""Batches of other sizes add numbers up in another order."""
TOLD_S = 10
MEAN_S = 5


@dataclass
class Seen:
    """What the clients saw. seconds: of every answer, by kind; errors: their reasons."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    errors: list[str] = field(default_factory=list)


def main() -> None:
    """Runs the clients and prints what they saw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a collection, or a folder or file of texts")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--warm-up", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        collection = Path(options.data)
        if not is_collection(collection):
            collection = Path(folder) / "serve.nv"
            build = ["build", options.data, "--out", str(collection), "--model", options.model]
            subprocess.run([sys.executable, "-m", "nestvec", *build], check=True)
        result = measure(collection, options.clients, options.seconds, options.warm_up)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def measure(collection: Path, clients: int, seconds: float, warm_up: float) -> dict[str, Any]:
    """The whole result: serve the collection, ask, and stop the server by SIGTERM."""
    snapshot = Snapshot.open(collection)
    texts = queries_of(snapshot)
    load = os.getloadavg()
    with serving(collection) as (server, port):
        process = psutil.Process(server.pid)
        seen, memory, cpu = asyncio.run(run(port, process, texts, clients, seconds, warm_up))
        metrics = asyncio.run(whole_answer(port, "GET", "/metrics", b""))[1].decode()
        begun = time.perf_counter()
        server.send_signal(signal.SIGTERM)
        code = server.wait(60)
        stopped_s = time.perf_counter() - begun
    waits = {kind: percentiles(times) for kind, times in seen.seconds.items()}
    every = [each for times in seen.seconds.values() for each in times]
    return {
        "machine": {
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "load_average_before": [round(each, 1) for each in load],
            "python": platform.python_version(),
        },
        "collection": {
            "rows": snapshot.count,
            "model": snapshot.manifest.model,
            "plan": str(snapshot.plan),
        },
        "clients": clients,
        "seconds": seconds,
        "answers": len(every),
        "errors": len(seen.errors),
        "kinds_of_errors": sorted(set(seen.errors))[:10],
        "answers_per_second": round(len(every) / seconds, 1),
        "seconds_of_an_answer": {**waits, "all": percentiles(every)},
        "texts_a_batch": mean_batch(metrics),
        **memory,
        "cores_used_by_the_server": round(cpu / seconds, 2),
        "stopped_by_sigterm": {"exit_code": code, "seconds": round(stopped_s, 2)},
    }


def queries_of(snapshot: Snapshot) -> list[str]:
    """The first words of up to 500 rows' texts."""
    found: list[str] = []
    for batch in snapshot.batches(("text",)):
        found += [" ".join(text.split()[:QUERY_WORDS]) for text in batch["text"] if text.split()]
        if len(found) >= 500:
            break
    return found[:500]


@contextmanager
def serving(collection: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command `nestvec serve`, once it answers, and its port."""
    command = [sys.executable, "-m", "nestvec", "serve", str(collection), "--port", "0", "--json"]
    if sys.platform != "linux":  # all clients are one address
        command += ["--rate", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            told = json.loads(server.stdout.readline())
            yield server, int(told["address"].rpartition(":")[2])
        finally:
            if server.poll() is None:
                server.kill()


async def run(
    port: int,
    process: psutil.Process,
    texts: list[str],
    clients: int,
    seconds: float,
    warm_up: float,
) -> tuple[Seen, dict[str, Any], float]:
    """What clients saw, the server's megabytes, and seconds of its cores."""
    expected = [await embedding(port, text) for text in texts[:20]]
    idle = megabytes(process)
    begun = time.perf_counter() + warm_up
    seen = Seen()
    asking = [
        asyncio.create_task(client(number, port, texts, expected, begun, begun + seconds, seen))
        for number in range(clients)
    ]
    await asyncio.sleep(max(0.0, begun - time.perf_counter()))
    cpu = sum(process.cpu_times()[:2])
    sampled = [megabytes(process)]
    for second in range(1, int(seconds) + 1):
        await asyncio.sleep(max(0.0, begun + second - time.perf_counter()))
        sampled.append(megabytes(process))
        if second % TOLD_S == 0:
            resident, own = sampled[-1]
            print(f"{second:5} s: {resident:,.1f} MB resident, {own:,.1f} not of files", flush=True)
    cpu = sum(process.cpu_times()[:2]) - cpu
    await asyncio.gather(*asking)
    memory = {
        name: summary(idle[which], [each[which] for each in sampled])
        for which, name in enumerate(("resident_mb", "not_of_files_mb"))
    }
    return seen, memory, cpu


def summary(idle: float, sampled: list[float]) -> dict[str, Any]:
    """Of megabytes, one a second: where they began and ended, and whether they still grow."""
    found: dict[str, Any] = {
        "idle": round(idle, 1),
        "start": round(sampled[0], 1),
        "middle": round(sampled[len(sampled) // 2], 1),
        "end": round(sampled[-1], 1),
        "least": round(min(sampled), 1),
        "most": round(max(sampled), 1),
        "every_ten_seconds": [round(each, 1) for each in sampled[::TOLD_S]],
    }
    return {**found, "last_half": growth(sampled[(len(sampled) + 1) // 2 :])}


def growth(sampled: list[float]) -> dict[str, Any] | None:
    """Megabytes a minute of samples, one a second, and whether they are flat.

    Neighbouring seconds are alike and count as one observation only together: a line goes through
    means of MEAN_S seconds. None where there are fewer than four of them.
    """
    count = len(sampled) // MEAN_S
    if count < 4:
        return None
    means = np.array(sampled[-count * MEAN_S :]).reshape(count, MEAN_S).mean(axis=1)
    minutes = np.arange(count) * MEAN_S / 60
    centered = minutes - minutes.mean()
    slope = float(centered @ means / (centered @ centered))
    rest = means - means.mean() - slope * centered
    error = float(np.sqrt(rest @ rest / (count - 2) / (centered @ centered)))
    half = float(student.ppf(0.975, count - 2)) * error
    return {
        "mb_a_minute": round(slope, 2),
        "low": round(slope - half, 2),
        "high": round(slope + half, 2),
        "flat": round(slope - half, 2) <= 0,
    }


async def client(
    number: int,
    port: int,
    texts: list[str],
    expected: list[np.ndarray],
    begun: float,
    end: float,
    seen: Seen,
) -> None:
    """One client: asks until the end, and counts what was asked after the warm-up."""
    rng = np.random.default_rng(number)
    reader, writer = await connected(port, number)
    turn = number
    while (asked := time.perf_counter()) < end:
        kind = KINDS[turn % len(KINDS)]
        turn += 1
        which = int(rng.integers(len(texts)))
        path, body = request(kind, texts[which])
        try:
            status, answer = await ask(reader, writer, "POST", path, body)
            reason = "" if status == 200 else f"{kind}: status {status}: {answer[:120]!r}"
            if not reason and kind == "embeddings" and which < len(expected):
                strayed = np.abs(vector_of(answer) - expected[which]).max()
                reason = "" if strayed < STRAY else f"embeddings: strayed by {strayed:.3g}"
            if not reason and kind == "search" and len(json.loads(answer)["hits"]) != 10:
                reason = "search: other than ten hits"
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            reason = f"{kind}: {type(error).__name__}: {error}"
            writer.close()
            reader, writer = await connected(port, number)
        if reason:
            seen.errors.append(reason)
        elif asked >= begun:
            seen.seconds[kind].append(time.perf_counter() - asked)
    writer.close()


def request(kind: str, text: str) -> tuple[str, bytes]:
    """Path and body of a request."""
    if kind == "search":
        return "/search", json.dumps({"query": text, "k": 10}).encode()
    asked = {"input": text, "dimensions": DIMS, "encoding_format": "base64"}
    return "/v1/embeddings", json.dumps(asked).encode()


async def connected(port: int, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, from an address of the client's own where there is one."""
    own = (f"127.1.{number // 250}.{number % 250 + 1}", 0) if sys.platform == "linux" else None
    return await asyncio.open_connection("127.0.0.1", port, local_addr=own)


async def ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    method: str,
    path: str,
    body: bytes,
) -> tuple[int, bytes]:
    """Status and body of one answer, the connection kept."""
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    length = next(line for line in head if line.startswith("content-length:"))
    return int(head[0].split()[1]), await reader.readexactly(int(length.partition(":")[2]))


async def whole_answer(port: int, method: str, path: str, body: bytes) -> tuple[int, bytes]:
    """As ask, over a connection of its own."""
    reader, writer = await connected(port, 0)
    try:
        return await ask(reader, writer, method, path, body)
    finally:
        writer.close()


async def embedding(port: int, text: str) -> np.ndarray:
    """A text's vector by the server."""
    status, answer = await whole_answer(port, "POST", *request("embeddings", text))
    assert status == 200, answer
    return vector_of(answer)


def vector_of(answer: bytes) -> np.ndarray:
    """The one vector (DIMS,) float32 of an answer."""
    found = np.frombuffer(base64.b64decode(json.loads(answer)["data"][0]["embedding"]), "<f4")
    assert found.shape == (DIMS,)
    return found


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile and the most, in seconds."""
    found = np.percentile(seconds, (50, 95, 99, 100)) if seconds else np.full(4, np.nan)
    names = ("p50", "p95", "p99", "most")
    return {name: round(float(each), 3) for name, each in zip(names, found, strict=True)}


def mean_batch(metrics: str) -> float:
    """Texts that the encoder was given at once, on average."""
    found = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    return round(
        float(found["nestvec_batch_texts_sum"]) / float(found["nestvec_batch_texts_count"]), 1
    )


def megabytes(process: psutil.Process) -> tuple[float, float]:
    """Resident memory, and what of it is not mapped from files, in MB of a million bytes."""
    found = process.memory_info()
    return found.rss / 1e6, (found.rss - getattr(found, "shared", 0)) / 1e6


if __name__ == "__main__":
    main()
