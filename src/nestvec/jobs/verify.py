"""Whether a collection's files are as they were written."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nestvec.errors import UserError
from nestvec.index.checksums import check_files
from nestvec.index.collection import Collection
from nestvec.index.creation import FILES_FOLDER
from nestvec.index.store import ROWS_FOLDER, RowStore
from nestvec.jobs.checks import check_collection
from nestvec.progress import Progress, quiet


@dataclass(frozen=True)
class Damage:
    """A file that is not as it was written. fragment, column: of a data file, where known."""

    path: str
    what: str
    fragment: int | None
    column: str


@dataclass(frozen=True)
class Verified:
    """What was found: damage, files that no hash is known of, and what the newest version says.

    unknown: files whose writer was stopped before it recorded them; they may be whole.
    opens: None, or why the newest version cannot be opened.
    """

    damage: tuple[Damage, ...]
    unknown: tuple[str, ...]
    opens: str | None
    seconds: float

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damage and self.opens is None

    def to_json(self) -> dict[str, Any]:
        """{whole, damage, unknown, opens, seconds}."""
        return {"whole": self.whole, **asdict(self)}


def verify(path: str | os.PathLike[str], *, progress: Progress | None = None) -> Verified:
    """Read every file of the collection at path, all versions, and compare it with its hash.

    Changes nothing but what opening does. Raises UserError where there is no collection.
    """
    begun = time.monotonic()
    check_collection(path)
    place = Path(path)
    faults, unknown = check_files(place, ROWS_FOLDER, FILES_FOLDER, progress or quiet())
    opens = None
    store = None
    try:
        store = RowStore.open(place / ROWS_FOLDER)
        Collection.open(place)
    except UserError as error:
        opens = str(error)
    damage = []
    for fault in faults:
        name = Path(fault.path)
        fragment = None
        if store is not None and name.parent.name == "data":
            fragment = store.fragment_of(name.name)
        damage.append(Damage(fault.path, fault.what, fragment, fault.column))
    return Verified(tuple(damage), tuple(unknown), opens, time.monotonic() - begun)
