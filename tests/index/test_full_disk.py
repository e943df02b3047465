"""A full disk: the last version stays readable. Needs the right to mount a small one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nestvec.errors import UserError
from nestvec.index.checksums import check_files
from nestvec.index.collection import Collection
from nestvec.progress import quiet


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)],
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_what_does_not_fit_leaves_the_last_version(
    make: Callable[..., Any], small_disk: Path, row: Any, queries: Any
) -> None:
    material = make(300)
    collection = material.collection(small_disk / "a.nv")
    vectors = np.random.default_rng(0).standard_normal((2_000, 16)).astype(np.float32)
    added = 0
    with pytest.raises(UserError, match="has no space left: free some"):  # noqa: PT012
        for part in range(100):
            rows = [row(f"x{part}-{i}", "some words " * 4) for i in range(2_000)]
            collection = collection.add(rows, vectors)
            added += 2_000
    assert added
    found = Collection.open(small_disk / "a.nv")
    assert found.count == 300 + added
    assert check_files(found.path, "rows.lance", "files", quiet())[0] == []
    one, other = (each.rank(queries, "4B:50,raw:10") for each in (found, collection))
    assert [each.rows.tolist() for each in one] == [each.rows.tolist() for each in other]
