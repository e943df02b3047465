"""A build by one machine and on two nodes of Ray: python benchmarks/ray_build.py --data FOLDER.

The vectors of acl_abstracts, all 54,031, and a few thousand of its texts through all-MiniLM-L6-v2,
each built by one process, on a local Ray of two nodes of one core, and there again with one node
killed when the first part (of vectors) or the first block (of texts) is done. Said: whether codec,
rows, codes and hits are the same to the bit, the seconds of each and of its stages, and their
ratio. All run one after the other on the same cores, so the ratio is what Ray costs where it has
nothing to give. Seconds in which the process was stopped (SIGSTOP) are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import nestvec as nv
from nestvec.bridge.ray import close_ray
from nestvec.jobs.build_on_ray import build_on_ray

SPEC = "16xcb64"
PLAN = "8B:500,raw:10"
QUERIES = 100
# a longer one was a stop
_LONGEST_TICK = 2.0
NODE = {"num_cpus": 1, "object_store_memory": 200 * 2**20}


def main() -> None:
    """Build, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--texts", type=int, default=2_048, help="texts that are encoded")
    parser.add_argument("--spec", default=SPEC)
    parser.add_argument("--parts", nargs="+", default=["vectors", "texts"])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/ray_build.json"))
    options = parser.parse_args()
    if options.data is None:
        print("nothing is built without --data FOLDER, which holds acl_abstracts")
        return
    data = options.data / "acl_abstracts"
    result: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    result |= {
        "command": f"python benchmarks/ray_build.py --data folder --texts {options.texts} "
        f"--spec {options.spec}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads_of_one_process": os.environ.get("OMP_NUM_THREADS", "all cores"),
        "nodes": 2,
        "cores_a_node": NODE["num_cpus"],
        "plan_of_hits": PLAN,
        "queries_measured_by": QUERIES,
    }
    with tempfile.TemporaryDirectory() as folder:
        for part in options.parts:
            source = (vectors_source if part == "vectors" else texts_source)(
                data, Path(folder) / part, options.texts
            )
            stage = "coding" if part == "vectors" else "encoding"

            def keep(found: dict[str, Any], part: str = part) -> None:
                result[part] = found
                options.out.write_text(json.dumps(result, indent=1) + "\n")

            compared(Path(folder), source, options.spec, stage, keep)
    print(json.dumps(result, indent=1))


def vectors_source(data: Path, folder: Path, _: int) -> dict[str, Any]:
    """The given vectors with their ids; agreement with exact search is measured."""
    folder.mkdir()
    import pyarrow.parquet as pq

    ids = pq.read_table(data / "corpus.parquet", columns=["_id"]).column(0).to_pylist()
    rows = nv.load_vectors(data / "minilm" / "docs.npy").vectors
    nv.save_vectors(folder / "docs.safetensors", rows, ids)
    return {"src": folder / "docs.safetensors"}


def texts_source(data: Path, folder: Path, count: int) -> dict[str, Any]:
    """The first texts of the corpus; titles are the queries."""
    folder.mkdir()
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(data / "corpus.parquet").slice(0, count), folder / "t.parquet")
    return {"src": folder / "t.parquet"}


def compared(
    folder: Path,
    source: dict[str, Any],
    spec: str,
    stage: str,
    keep: Callable[[dict[str, Any]], None],
) -> None:
    """Three builds of a source: seconds, stages, and what is equal; kept after each."""
    options = {**source, "spec": spec, "device": "cpu", "sample_queries": QUERIES}
    src = options.pop("src")
    name = Path(src).stem
    one = folder / f"{name}-one.nv"
    load = os.getloadavg()
    found: dict[str, Any] = {"load_average": [round(each, 1) for each in load]}
    clock = Stages()
    begun = CLOCK.seconds
    nv.build(src, out=one, progress=clock, **options)
    found["one machine"] = clock.told(begun)
    opened = nv.open(one).collection
    found |= {"rows": opened.count, "dim": opened.dim, "spec": opened.codec.spec}
    keep(found)
    for what in ("two nodes", "two nodes, one killed"):
        out = folder / f"{name}-{len(found)}.nv"
        with nodes() as cluster:
            clock = Stages()
            if what.endswith("killed"):
                clock = Stages(stage, lambda: cluster.remove_node(
                    next(iter(cluster.worker_nodes)), allow_graceful=False))  # fmt: skip
            begun = CLOCK.seconds
            build_on_ray(src, out, progress=clock, **options)
            found[what] = clock.told(begun)
        found[what]["ratio"] = round(found[what]["seconds"] / found["one machine"]["seconds"], 3)
        found[what]["equal"] = equal(one, out)
        found["fragments"] = fragments(out)
        keep(found)


def fragments(path: Path) -> int:
    """Data files of a collection that was written once: one a fragment."""
    return len(list((path / "rows.lance" / "data").iterdir()))


def equal(one: Path, other: Path) -> dict[str, Any]:
    """What two collections share."""
    a, b = nv.open(one).collection, nv.open(other).collection
    queries = np.asarray(a.vectors()[:500], np.float32)
    queries += np.random.default_rng(0).normal(0, 0.02, queries.shape).astype(np.float32)
    hits = [[answer.hits for answer in each.search(queries, PLAN)] for each in (a, b)]
    rows = [[row for batch in each.batches(("id",)) for row in batch["id"]] for each in (a, b)]
    return {
        "codec": a.manifest.codec_file == b.manifest.codec_file,
        "rows": rows[0] == rows[1],
        "codes": bool((a.codes() == b.codes()).all()),
        "vectors": bool((a.vectors() == b.vectors()).all()),
        "queries": len(queries),
        "hits": hits[0] == hits[1],
        "verified": nv.verify(other).whole,
    }


class Running:
    """Seconds that this process was let run."""

    def __init__(self) -> None:
        self.seconds = 0.0
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        last = time.perf_counter()
        while True:
            time.sleep(0.05)
            now = time.perf_counter()
            self.seconds += min(now - last, _LONGEST_TICK)
            last = now


CLOCK = Running()


class Stages:
    """A listener that times stages, and does something when the first unit of one is done."""

    def __init__(self, at: str = "", does: Callable[[], None] = lambda: None) -> None:
        self._at, self._does = at, does
        self._name, self._since = "", 0.0
        self._seconds: dict[str, float] = {}

    def start(self, what: str, total: int | None) -> None:
        """A stage begins."""
        self._name, self._since = what, CLOCK.seconds

    def advance(self, n: int) -> None:
        """Units are done."""
        if self._at and n and self._name.startswith(self._at):
            self._at = ""
            self._does()

    def note(self, sentence: str) -> None:
        """Nothing."""

    def finish(self) -> None:
        """A stage has ended."""
        spent = CLOCK.seconds - self._since
        self._seconds[self._name] = self._seconds.get(self._name, 0.0) + spent

    def told(self, begun: float) -> dict[str, Any]:
        """Seconds since begun, and of stages that took a tenth of a second."""
        stages = {name: round(s, 1) for name, s in self._seconds.items() if s >= 0.1}
        return {"seconds": round(CLOCK.seconds - begun, 1), "stages": stages}


@contextmanager
def nodes() -> Iterator[Any]:
    """A cluster of two nodes on this machine, connected; its start is not timed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        try:
            cluster.add_node(**NODE)
            ray.init(address=cluster.address, log_to_driver=False)
            yield cluster
        finally:
            close_ray()
            cluster.shutdown()


if __name__ == "__main__":
    main()
