"""A power cut, replayed: what was not forced to disk is lost, torn or there, as it happens."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nestvec.errors import UserError
from nestvec.index import files
from nestvec.index.checksums import check_files
from nestvec.index.collection import Collection
from nestvec.progress import quiet

Entries = dict[str, int]
"""A folder's names, and the file (its inode) or folder that each stands for."""


@dataclass
class Disk:
    """What survives for sure: contents and folders as they were when they were last synced."""

    root: Path
    contents: dict[int, bytes] = field(default_factory=dict)
    folders: dict[int, Entries] = field(default_factory=dict)
    # an inode is not used again while it is open
    _open: dict[int, int] = field(default_factory=dict)

    def synced(self, path: Path) -> None:
        inode = path.stat().st_ino
        if inode not in self._open:
            self._open[inode] = os.open(path, os.O_RDONLY)
        if path.is_dir():
            self.folders[inode] = entries_of(path)
        else:
            self.contents[inode] = path.read_bytes()

    def all_synced(self) -> None:
        for parent, _, names in os.walk(self.root):
            for name in names:
                self.synced(Path(parent, name))
            self.synced(Path(parent))
        self.synced(self.root.parent)

    def close(self) -> None:
        for handle in self._open.values():
            os.close(handle)


def entries_of(folder: Path) -> Entries:
    return {entry.name: entry.stat(follow_symlinks=False).st_ino for entry in os.scandir(folder)}


@dataclass
class Moment:
    """All that stood in memory and on disk when the power went."""

    contents: dict[int, bytes]
    folders: dict[int, Entries]
    disk_contents: dict[int, bytes]
    disk_folders: dict[int, Entries]
    root: int
    done: bool

    def survive(self, place: Path, chance: random.Random) -> None:
        """One way in which the disk may be found."""
        self._folder(self.root, place, chance)

    def _folder(self, inode: int, place: Path, chance: random.Random) -> None:
        place.mkdir()
        now, then = self.folders.get(inode, {}), self.disk_folders.get(inode, {})
        for name in sorted(now.keys() | then.keys()):
            # an entry that was not synced is there, is not, or is what it was before
            which = then.get(name)
            if now.get(name) != which and chance.random() < 0.5:
                which = now.get(name)
            if which is None:
                continue
            if which in self.folders or which in self.disk_folders:
                self._folder(which, place / name, chance)
            else:
                (place / name).write_bytes(self._content(which, chance))

    def _content(self, inode: int, chance: random.Random) -> bytes:
        now, then = self.contents.get(inode), self.disk_contents.get(inode)
        if now is None or now == then:
            return then or b""
        torn = [now, now[: len(now) // 2], bytes(len(now)), b""]
        return chance.choice(torn if then is None else [*torn, then])


def moment_of(disk: Disk, done: bool) -> Moment:
    contents: dict[int, bytes] = {}
    folders: dict[int, Entries] = {}
    for parent, _, names in os.walk(disk.root):
        folders[Path(parent).stat().st_ino] = entries_of(Path(parent))
        for name in names:
            path = Path(parent, name)
            if stat.S_ISREG(path.stat().st_mode):
                contents[path.stat().st_ino] = path.read_bytes()
    root = disk.root.stat().st_ino
    return Moment(contents, folders, dict(disk.contents), dict(disk.folders), root, done)


@contextmanager
def watched(disk: Disk, moments: list[Moment], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Note what is synced, and how all stands before and after each time."""
    real = files._sync

    def sync(path: Path) -> None:
        moments.append(moment_of(disk, False))
        real(path)
        disk.synced(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_sync", sync)
        yield
    moments.append(moment_of(disk, True))


def ids(collection: Collection) -> set[str]:
    return {str(name) for batch in collection.batches(("id",)) for name in batch["id"]}


def change(what: str, collection: Collection, material: Any) -> Collection:
    if what == "add":
        return collection.add(material.rows[200:], material.vectors[200:])
    if what == "replace":
        return collection.add(material.rows[:20], material.vectors[200:220], replacing=True)
    if what == "delete":
        return collection.delete(["r3", "r77"])
    if what == "plan":
        return collection.store_plan(collection.plan.with_k(3))
    if what == "tag":
        collection.tag("kept")
        return collection
    return collection.compact()[0]


@pytest.mark.parametrize("what", ["add", "replace", "delete", "plan", "tag", "compact"])
def test_nothing_that_was_reported_is_lost(
    make: Callable[..., Any],
    tmp_path: Path,
    queries: Any,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    material = make(300)
    whole = material.cut(slice(200)).collection(tmp_path / "a.nv")
    before = whole.add(material.rows[200:210], material.vectors[200:210]).delete(["r1"])
    if what == "add":
        before = before.delete([f"r{row}" for row in range(200, 210)])
    disk = Disk(before.path)
    disk.all_synced()
    moments: list[Moment] = []
    with watched(disk, moments, monkeypatch):
        after = change(what, before, material)
    older, newer = ((ids(one), hits(one, queries)) for one in (before, after))
    chance = random.Random(what)
    chosen = [*chance.sample(moments[:-1], min(8, len(moments) - 1)), *[moments[-1]] * 5]
    for number, moment in enumerate(chosen):
        place = tmp_path / f"cut-{number}"
        moment.survive(place, chance)
        found = Collection.open(place)
        # compaction takes two commits, of which the first changes nothing
        assert (after if moment.done else before).version <= found.version <= after.version
        rows, answers = newer if found.version == after.version else older
        assert ids(found) == rows
        assert hits(found, queries) == answers
        faults, _ = check_files(place, "rows.lance", "files", quiet())
        assert not [fault for fault in faults if "torn" not in fault.path]
        # and it can be changed as if nothing had been
        again = found.delete(["r9"])
        assert ids(again) == rows - {"r9"}
    if what == "tag":
        assert [v.tags for v in Collection.open(place).versions()][-2] == ("kept",)
    disk.close()


def test_the_replay_tells_a_writer_that_does_not_sync(
    make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    material = make(300)
    before = material.cut(slice(200)).collection(tmp_path / "a.nv")
    disk = Disk(before.path)
    disk.all_synced()
    moments: list[Moment] = []
    monkeypatch.setattr("nestvec.index.store_records.sync_tree", lambda folder: None)
    with watched(disk, moments, monkeypatch):
        after = change("add", before, material)
    lost = 0
    for number in range(8):
        moments[-1].survive(tmp_path / f"cut-{number}", random.Random(number))
        try:
            lost += Collection.open(tmp_path / f"cut-{number}").version != after.version
        except UserError:
            lost += 1
    assert lost
    disk.close()


def hits(collection: Collection, queries: Any) -> list[list[tuple[str, float]]]:
    found = collection.search(queries, "4B:30,raw:5")
    return [[(hit.id, hit.score) for hit in each.hits] for each in found]
