"""Builds and searches on two nodes of a local Ray, one of which is killed in the middle."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nestvec as nv
from nestvec.bridge import ray as bridge
from nestvec.jobs.build_on_ray import build_on_ray
from nestvec.jobs.verify import verify

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
SETTINGS: dict[str, Any] = {"spec": "4xcb16", "sample_queries": 8}
NODE = {"num_cpus": 1, "object_store_memory": 150 * 2**20}


def clustered(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).standard_normal((12, dim))
    noise = rng.standard_normal((rows, dim))
    return (centres[rng.integers(0, 12, rows)] + 0.6 * noise).astype(np.float32)


def assert_equal(one: Path, other: Path) -> None:
    a, b = nv.open(one).collection, nv.open(other).collection
    assert a.manifest.codec_file == b.manifest.codec_file  # named by its content
    for name in ("id", "seq"):
        assert [v for batch in a.batches((name,)) for v in batch[name]] == [
            v for batch in b.batches((name,)) for v in batch[name]
        ]
    np.testing.assert_array_equal(a.codes(), b.codes())
    np.testing.assert_array_equal(a.vectors(), b.vectors())
    queries = clustered(20, a.dim, seed=3)
    assert [r.hits for r in a.search(queries)] == [r.hits for r in b.search(queries)]
    found = verify(other)
    assert found.whole
    assert found.unknown == ()


class _Recorder:
    """Makes workers that wait until two of them have begun, and write whether it came to that."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self) -> Callable[[str], int]:
        def work(task: str) -> int:
            own = self.folder / task
            own.touch()
            until = time.monotonic() + 60
            while len(list(self.folder.iterdir())) < 2 and time.monotonic() < until:
                time.sleep(0.05)
            own.write_text("not alone" if len(list(self.folder.iterdir())) == 2 else "alone")
            return 1

        return work


class AtFirst:
    """A listener that does something once, when the first unit of a stage is done."""

    def __init__(self, stage: str, does: Callable[[], None]) -> None:
        self.stage, self.does = stage, does
        self.said: list[str] = []
        self._here = False

    def start(self, what: str, total: int | None) -> None:
        self.said.append(what)
        self._here = what.startswith(self.stage)

    def advance(self, n: int) -> None:
        if self._here and n:
            self._here = False
            self.does()

    def note(self, sentence: str) -> None:
        pass

    def finish(self) -> None:
        pass


def test_who_names_many_machines_names_ray() -> None:
    bridge.check_address("ray")
    bridge.check_address("ray://head:10001")
    with pytest.raises(nv.UserError, match="named as ray"):
        bridge.check_address("http://head:10001")


def test_a_mistake_of_a_worker_is_told_as_it_was() -> None:
    mistake = nv.UserError("a rule; a value; a remedy")
    wrapped = RuntimeError("a library's")
    wrapped.__cause__ = ValueError("another's")
    wrapped.__cause__.cause = mistake  # type: ignore[attr-defined]
    assert bridge._user_error(wrapped) is mistake
    assert bridge._user_error(ValueError("none of ours")) is None


@pytest.fixture
def nodes() -> Iterator[Any]:
    """A cluster of two nodes, connected; gone afterwards, whatever happened."""
    pytest.importorskip("ray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray, as it is imported, starts and ends
        ray = bridge._library()
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        try:
            cluster.add_node(**NODE)
            ray.init(address=cluster.address, log_to_driver=False)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def lose_one(cluster: Any) -> Callable[[], None]:
    """Kills the node that is not the head."""

    def kill() -> None:
        (other,) = cluster.worker_nodes
        cluster.remove_node(other, allow_graceful=False)

    return kill


@pytest.mark.slow
def test_vectors_are_coded_though_a_node_is_lost(nodes: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", clustered(26_000, 8))
    nv.build(tmp_path / "v.npy", out=tmp_path / "one.nv", **SETTINGS)
    killer = AtFirst("coding", lose_one(nodes))
    build_on_ray(tmp_path / "v.npy", tmp_path / "two.nv", progress=killer, **SETTINGS)
    assert "coding on 2 machines" in killer.said
    assert not nodes.worker_nodes
    assert_equal(tmp_path / "one.nv", tmp_path / "two.nv")
    assert len(nv.open(tmp_path / "two.nv").collection._store.fragments) > 2


@pytest.mark.slow
@pytest.mark.usefixtures("nodes")
def test_two_machines_take_a_task_each(tmp_path: Path) -> None:
    with bridge.connected("ray") as cluster:
        assert cluster.machines == 2
        given = list(cluster.on_machines(_Recorder(tmp_path), ["one", "other"]))
    assert given == [1, 1]
    # each waits for the other to begin
    assert {path.read_text() for path in tmp_path.iterdir()} == {"not alone"}


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")  # as workers of one core compute
def test_texts_are_encoded_though_a_node_is_lost(
    nodes: Any, tmp_path: Path, save_text_model: Callable[..., Path]
) -> None:
    words = [*"abc0123456789", *(f"##{digit}" for digit in "0123456789")]
    model = save_text_model(tmp_path / "model", words, layers=1)
    rows = [
        json.dumps({"id": f"d{i}", "title": f"a{i} b{i % 7}", "text": f"b{i % 7} c{i % 11} a{i}"})
        for i in range(6_000)
    ]
    source = tmp_path / "rows.jsonl"
    source.write_text("\n".join(rows) + "\n", encoding="utf-8")
    options = {**SETTINGS, "model": str(model), "device": "cpu"}
    nv.build(source, out=tmp_path / "one.nv", **options)
    killer = AtFirst("encoding", lose_one(nodes))
    build_on_ray(source, tmp_path / "two.nv", progress=killer, **options)
    assert not nodes.worker_nodes
    assert_equal(tmp_path / "one.nv", tmp_path / "two.nv")


@pytest.mark.slow
def test_searchers_answer_as_one_machine_though_one_is_lost(nodes: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", clustered(6_000, 8))
    out = tmp_path / "c.nv"
    nv.build(tmp_path / "v.npy", out=out, **SETTINGS)
    for i in range(3):
        fresh = [Row(f"n{i}-{j}") for j in range(500)]
        vectors = np.concatenate([clustered(450, 8, seed=i), clustered(6_000, 8)[:50]])
        nv.Collection.open(out).add(fresh, vectors)
    queries = clustered(70, 8, seed=5)
    one = nv.open(out)
    many = nv.open(out, on="ray")
    for plan in ("4B:100,raw:10", "sure=2;4B:100,raw:5", "exact:10", "8d:10"):
        wanted = one.search_vectors(queries, plan=plan)
        found = many.search_vectors(queries, plan=plan)
        assert [answer.hits for answer in found] == [answer.hits for answer in wanted]
    with pytest.raises(nv.UserError, match="a filter is a SQL predicate"):
        many.search_vectors(queries, where="nonsense ((")
    searchers = many.collection.shares
    assert len(searchers.numbers) == 2
    bridge._library().kill(searchers._actors[0], no_restart=False)
    lose_one(nodes)()
    again = many.search_vectors(queries, plan="4B:100,raw:10")
    wanted = one.search_vectors(queries, plan="4B:100,raw:10")
    assert [answer.hits for answer in again] == [answer.hits for answer in wanted]
    searchers.close()


class Row:
    text, title, columns = "", "", {}

    def __init__(self, identity: str) -> None:
        self.id = identity
