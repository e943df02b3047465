"""What a collection loses when its writer is killed: python benchmarks/kills.py [--kills N].

A process adds, replaces, deletes and compacts as it is told and reports each change once it is
done; it is killed (SIGKILL) at a random moment, again and again. After each kill the collection
must open, hold every change that was reported, hold the one that was under way whole or not at all,
and no id twice, have no file that differs from its hash, and the next process goes on with it. What
was found wrong is counted: crashed (a writer that died by itself), not_opened, commits_lost,
duplicates, damaged and strange must be 0. unfinished counts changes that were there though nobody
had been told yet.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from nestvec.codec.nested import Codec
from nestvec.data.rows import Row
from nestvec.errors import UserError
from nestvec.index.collection import Collection
from nestvec.index.creation import create
from nestvec.index.manifest import Manifest
from nestvec.jobs.verify import verify

DIM = 16
START_ROWS = 200
State = dict[str, str]
"""id -> the text that its row has."""


def main() -> None:
    """Kill, count and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=None, help="not needed; for make bench")
    parser.add_argument("--write", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/kills.json"))
    options = parser.parse_args()
    if options.write is not None:
        write(Path(options.write))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = killed(Path(folder) / "c.nv", options.kills, options.seed)
    found["command"] = f"python benchmarks/kills.py --kills {options.kills}"
    found["machine"] = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    options.out.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


def vectors_of(ids: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A vector (m, 16) an id, always the same."""
    rows = [np.random.default_rng(int(each)).standard_normal(DIM) for each in ids]
    return np.array(rows, np.float32)


def write(path: Path) -> None:
    """Change the collection as the lines of standard input say, and report each change done."""
    collection = Collection.open(path)
    # kernels are loaded before the clock runs: else every kill would fall into that
    first = vectors_of(["0"])
    collection.codec.facts(collection.codec.encode(first), first)
    print("open", flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        if told["do"] == "compact":
            collection, _ = collection.compact()
        elif told["do"] == "delete":
            collection = collection.delete(told["ids"])
        else:
            rows = [Row(each, told["text"], "", {}) for each in told["ids"]]
            vectors = vectors_of(told["ids"])
            collection = collection.add(rows, vectors, replacing=told["do"] == "replace")
        print("done", flush=True)


def killed(path: Path, kills: int, seed: int) -> dict[str, Any]:
    """What was found wrong over so many kills."""
    draw = random.Random(seed)
    state = _made(path)
    counts = dict.fromkeys(
        (
            "reported",
            "unfinished",
            "crashed",
            "not_opened",
            "commits_lost",
            "duplicates",
            "damaged",
            "strange",
        ),
        0,
    )
    changes = dict.fromkeys(("add", "replace", "delete", "compact"), 0)
    begun = time.monotonic()
    fresh = START_ROWS
    for kill in range(kills):
        writer = subprocess.Popen(
            [sys.executable, __file__, "--write", str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        # most changes take some 10 to 40 ms; the moment of the kill is drawn over several of them
        until = time.monotonic() + draw.uniform(0, 1.0)
        pending: State | None = None
        while True:
            told, after, fresh = _drawn(draw, state, fresh, f"{kill}.{counts['reported']}")
            pending = after
            writer.stdin.write(json.dumps(told) + "\n")
            writer.stdin.flush()
            answer = _answer_before(writer, until)
            counts["crashed"] += answer == ""
            if answer != "done\n":
                break
            counts["reported"] += 1
            changes[told["do"]] += 1
            state, pending = after, None
            if time.monotonic() > until:
                break
        os.kill(writer.pid, signal.SIGKILL)
        # what was reported in the last moment counts
        if pending is not None and writer.stdout.read().strip() == "done":
            counts["reported"] += 1
            changes[told["do"]] += 1
            state, pending = pending, None
        writer.wait()
        state = _checked(path, state, pending, counts)
    return {
        "kills": kills,
        "seed": seed,
        "changes": changes,
        **counts,
        "rows_at_the_end": len(state),
        "seconds": round(time.monotonic() - begun),
    }


def _answer_before(writer: subprocess.Popen[str], until: float) -> str | None:
    """What the writer said in time: a line, nothing where it died, None where it was late."""
    import select

    assert writer.stdout is not None
    ready, _, _ = select.select([writer.stdout], [], [], max(0.0, until - time.monotonic()))
    return writer.stdout.readline() if ready else None


def _drawn(
    draw: random.Random, state: State, fresh: int, text: str
) -> tuple[dict[str, Any], State, int]:
    """A change, the state after it, and the next id that was never used."""
    do = draw.choice(("add", "add", "replace", "delete", "compact"))
    after = dict(state)
    if do == "compact" or (do == "delete" and len(state) < 50):
        return {"do": "compact"}, after, fresh
    if do == "delete":
        ids = draw.sample(sorted(state), draw.randint(1, 20))
        for each in ids:
            del after[each]
        return {"do": do, "ids": ids}, after, fresh
    ids = [str(fresh + i) for i in range(draw.randint(1, 20))]
    fresh += len(ids)
    if do == "replace":
        ids += draw.sample(sorted(state), draw.randint(1, 10))
    after.update(dict.fromkeys(ids, text))
    return {"do": do, "ids": ids, "text": text}, after, fresh


def _checked(path: Path, state: State, pending: State | None, counts: dict[str, int]) -> State:
    """The state found, what is wrong with it counted."""
    try:
        collection = Collection.open(path)
        found: list[tuple[str, str]] = []
        for batch in collection.batches(("id", "text")):
            found += zip(batch["id"], batch["text"], strict=True)
        asked = vectors_of([found[0][0]])
        best = collection.search(asked, "raw:1")[0].hits[0].id
    except UserError as error:
        print(error, file=sys.stderr)
        counts["not_opened"] += 1
        return state
    counts["damaged"] += not verify(path).whole
    counts["duplicates"] += len(found) - len(dict(found))
    counts["strange"] += best != found[0][0]
    there = dict(found)
    if there == state:
        return state
    if pending is not None and there == pending:
        counts["unfinished"] += 1
        return pending
    counts["commits_lost"] += 1
    return there


def _made(path: Path) -> State:
    """A new collection at path."""
    ids = [str(i) for i in range(START_ROWS)]
    vectors = vectors_of(ids)
    codec = Codec("8xcb4", power=0.0, beam=1).fit(vectors)
    codes = codec.encode(vectors)
    create(
        path,
        [Row(each, "first", "", {}) for each in ids],
        codes=codes,
        facts=codec.facts(codes, vectors),
        vectors=vectors,
        codec=codec,
        manifest=Manifest(metric="", dim=0, rows=0, spec="", plan="8B:10"),
    )
    return dict.fromkeys(ids, "first")


if __name__ == "__main__":
    main()
