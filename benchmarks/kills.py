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
import multiprocessing
import os
import platform
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
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
_KEPT = 25
State = dict[str, str]
"""id -> the text that its row has."""


def main() -> None:
    """Kill, count and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=None, help="not needed; for make bench")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/kills.json"))
    options = parser.parse_args()
    facts = {
        "command": f"python benchmarks/kills.py --kills {options.kills} --seed {options.seed}",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
    }
    with tempfile.TemporaryDirectory() as folder:
        for found in killed(Path(folder) / "c.nv", options.kills, options.seed):
            # what was seen so far stays where a run is cut short
            if found["kills"] % _KEPT == 0 or found["kills"] == options.kills:
                options.out.write_text(json.dumps({**found, **facts}, indent=2) + "\n")
                print(json.dumps(found), flush=True)


def vectors_of(ids: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A vector (m, 16) an id, always the same."""
    rows = [np.random.default_rng(int(each)).standard_normal(DIM) for each in ids]
    return np.array(rows, np.float32)


def write(path: Path, told: Connection) -> None:
    """Change the collection as it is told, and report each change done."""
    collection = Collection.open(path)
    # kernels are loaded before the clock runs: else every kill would fall into that
    first = vectors_of(["0"])
    collection.codec.facts(collection.codec.encode(first), first)
    told.send("open")
    while True:
        change = told.recv()
        if change["do"] == "compact":
            collection, _ = collection.compact()
        elif change["do"] == "delete":
            collection = collection.delete(change["ids"])
        else:
            rows = [Row(each, change["text"], "", {}) for each in change["ids"]]
            vectors = vectors_of(change["ids"])
            collection = collection.add(rows, vectors, replacing=change["do"] == "replace")
        told.send("done")


def killed(path: Path, kills: int, seed: int) -> Iterator[dict[str, Any]]:
    """What was found wrong so far, after every kill.

    Writers come from a process that has imported what they need and opened nothing, so that most
    of the time goes into changes.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lance", "nestvec.index.creation", "nestvec.jobs.verify"])
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
        told, theirs = context.Pipe()
        writer = context.Process(target=write, args=(path, theirs))
        writer.start()
        theirs.close()
        assert told.recv() == "open"
        # most changes take some 10 to 40 ms; the moment of the kill is drawn over several of them
        until = time.monotonic() + draw.uniform(0, 1.0)
        pending: State | None = None
        while True:
            change, after, fresh = _drawn(draw, state, fresh, f"{kill}.{counts['reported']}")
            pending = after
            told.send(change)
            answer = _answer_before(told, until)
            counts["crashed"] += answer == ""
            if answer != "done":
                break
            counts["reported"] += 1
            changes[change["do"]] += 1
            state, pending = after, None
            if time.monotonic() > until:
                break
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        # what was reported in the last moment counts
        if pending is not None and _answer_before(told, time.monotonic()) == "done":
            counts["reported"] += 1
            changes[change["do"]] += 1
            state, pending = pending, None
        told.close()
        state = _checked(path, state, pending, counts)
        yield {
            "kills": kill + 1,
            "seed": seed,
            "changes": changes,
            **counts,
            "rows_at_the_end": len(state),
            "seconds": round(time.monotonic() - begun),
        }


def _answer_before(told: Connection, until: float) -> str | None:
    """What the writer said in time: "" where it died, None where it was late."""
    if not told.poll(max(0.0, until - time.monotonic())):
        return None
    try:
        return str(told.recv())
    except (EOFError, OSError):
        return ""


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
