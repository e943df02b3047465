"""nestvec build on many machines: the same collection as one machine makes, by Ray.

The driver reads SRC and deals its rows into the work folder; machines encode them; the driver asks
the questions, measures and fits the codec, as a build on one machine does, on the same vectors in
the same order; machines code all rows and write them as fragments; the driver commits once.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np

from nestvec.bridge.ray import Cluster, check_address, connected
from nestvec.data.encode import Encoded, settling_sample
from nestvec.data.encoder import Encoder
from nestvec.data.source import Source
from nestvec.errors import UserError
from nestvec.index.columns import RowLike, Survey, check_column_names, survey
from nestvec.index.creation import FILES_FOLDER, write_files
from nestvec.index.files import sync_folder, sync_tree
from nestvec.index.manifest import Manifest
from nestvec.index.places import Place, is_address
from nestvec.index.store import ROWS_FOLDER
from nestvec.index.store_parts import commit_parts
from nestvec.jobs.adapting import train_adapter
from nestvec.jobs.blocks import (
    Block,
    BlockVectors,
    Coding,
    Encoding,
    Part,
    deal_rows,
    deal_vectors,
    identity,
    joined,
    keep_file,
    parts_of,
    truncated_texts,
)
from nestvec.jobs.build import BuildResult, choose_code, manifest_of, stored_type, told
from nestvec.jobs.build_sheet import short_command
from nestvec.jobs.checks import check_build, check_settings, check_source
from nestvec.jobs.choose import Picked
from nestvec.jobs.machine import peak_rss_mb
from nestvec.jobs.material import BLOCK_ROWS, Material, RowsAgain, gather
from nestvec.jobs.report import REPORT_NAME, report
from nestvec.jobs.settings import BuildOptions, BuildSettings
from nestvec.jobs.unmeasured import (
    MEASURED_ROWS,
    check_unmeasured,
    fit_unmeasured,
    gather_unmeasured,
)
from nestvec.progress import Progress, quiet
from nestvec.report.page import page
from nestvec.report.sheet import Sheet


def build_on_ray(
    src: str | os.PathLike[str] | None,
    out: str | os.PathLike[str],
    *,
    on: str = "ray",
    progress: Progress | None = None,
    **options: Unpack[BuildOptions],
) -> BuildResult:
    """Build a collection as build does, on the machines of a Ray cluster.

    on: "ray" (the cluster of RAY_ADDRESS or of this machine, else this machine alone) or
    "ray://host:port". src, out: paths that the driver, and for out all machines, see; or addresses
    of an object store that pyarrow and Lance read. options: as for build.
    An interrupted run leaves `<out>.work`, and goes on there when it is run again.
    Raises UserError for what cannot be used, MissingExtra without the extra 'ray'.
    """
    return build_on_ray_with(src, out, BuildSettings(**options), on, progress)


def build_on_ray_with(
    src: str | os.PathLike[str] | None,
    out: str | os.PathLike[str] | None,
    settings: BuildSettings,
    on: str,
    progress: Progress | None = None,
) -> BuildResult:
    """As build_on_ray, the options in one record."""
    begun = time.monotonic()
    listener = progress or quiet()
    check_address(on)
    with _at_hand(src) as here:
        place, source = _checked(here, out, settings)
        first = next(iter(source.rows()), None)
        check_column_names(() if first is None else first.columns)
        work = Place(f"{place.where}.work")
        with connected(on) as cluster, _local_folder(work) as local:
            dealt = _Dealt(cluster, work, local, settings)
            source.survey(listener)
            material, picked, trained_on = _measured(source, settings, dealt, local, listener)
            stored = stored_type(material.vectors) if settings.store_vectors else None
            on_disk = 0 if stored is None else material.vectors.size * stored.itemsize
            command = _command(src, place, settings, on)
            result, evidence = told(
                place.where, material, picked, on_disk, settings, begun, trained_on, command
            )
            manifest = manifest_of(material, picked, settings)
            width = material.vectors.shape[1]
            dealt.write(place, picked, stored, width, manifest, evidence, listener)
        work.remove()
    return dataclasses.replace(result, seconds=time.monotonic() - begun, peak_rss_mb=peak_rss_mb())


def _measured(
    source: Source, settings: BuildSettings, dealt: _Dealt, local: Path, progress: Progress
) -> tuple[Material, Picked, str]:
    """The material and code of a surveyed source, and a sentence on the adapter, "" for none.

    Measured as one machine does it; where rows are too many for that, the code that was asked for.
    """
    rows = source.tally.rows
    measured = rows <= MEASURED_ROWS
    if not measured:
        check_unmeasured(rows, settings)
    collect = gather if measured else gather_unmeasured
    material = collect(source, settings, local, progress, dealt.encode)
    if source.kind == "vectors":
        dealt.take(material, progress)
    if not measured:
        return material, fit_unmeasured(material, settings, progress), ""
    adapter, trained_on = None, ""
    if settings.adapt is not None and material.questions is not None:
        adapter, trained_on = train_adapter(material, source, settings, local, progress)
    return material, choose_code(material, settings, progress, adapter), trained_on


class _Dealt:
    """A build's rows in the work folder: what gather and the coding of parts need of them."""

    def __init__(self, cluster: Cluster, work: Place, local: Path, settings: BuildSettings) -> None:
        self._cluster = cluster
        self._work = work
        self._local = local
        self._settings = settings
        self.found = Survey(0, {})
        self.blocks: list[Block] = []
        self.vectors: list[str] = []

    def encode(
        self,
        source: Source,
        encoder: Encoder,
        work: Path,
        progress: Progress,
        titled: bool,
        dtype: Literal["float16", "float32"],
    ) -> Encoded:
        """What material.encode_source does, by the machines."""
        rows = RowsAgain(source)
        self._deal(rows, progress)
        first = islice(rows, BLOCK_ROWS)
        texts = [row.titled_text if titled else row.text for row in first]
        sample = settling_sample(texts, self.found.rows)
        encoder.prepare(sample)
        encoding = Encoding(
            self._work.where, self._settings, titled, dtype, tuple(sample), identity(encoder)
        )
        there = self._work.names("encoded")
        names = {block.name: encoding.vectors_of(block.name) for block in self.blocks}
        missing = [block for block in self.blocks if f"{names[block.name]}.json" not in there]
        done = self.found.rows - sum(block.rows for block in missing)
        progress.start(f"encoding with {encoder.name} on {_count(self._cluster)}", self.found.rows)
        progress.advance(done)
        for count in self._cluster.on_devices(encoding, [block.name for block in missing]):
            progress.advance(count)
        progress.finish()
        self.vectors = list(names.values())
        path = self._local / "vectors.npy"
        truncated = truncated_texts(encoding, self.blocks, self._work)
        blocks = BlockVectors(self._work, self.blocks, self.vectors)
        vectors: Any = blocks if len(blocks) > MEASURED_ROWS else joined(blocks, path)
        return Encoded(path, vectors, truncated, done, encoder.describe())

    def take(self, material: Material, progress: Progress) -> None:
        """Deal given vectors and their rows."""
        self._deal(material.rows, progress)
        self.vectors = deal_vectors(material.vectors, self._work, progress)

    def write(
        self,
        place: Place,
        picked: Picked,
        stored: np.dtype[Any] | None,
        dim: int,
        manifest: Manifest,
        evidence: dict[str, Any],
        progress: Progress,
    ) -> None:
        """Code all rows by the machines, and make the collection of what they wrote.

        stored: the number type of vectors (n, dim) kept beside the codes, None for none.
        """
        coded = picked.coded
        whole, adapter = coded.whole or coded.codec, coded.adapter
        whole.save(self._local / "codec.safetensors")
        kept_adapter = None
        if adapter is not None:
            adapter.save(self._local / "adapter.safetensors")
            kept_adapter = keep_file(self._local / "adapter.safetensors", self._work)
        staged = place if place.is_address else self._work.within("collection")
        coding = Coding(
            self._work.where,
            staged.where,
            keep_file(self._local / "codec.safetensors", self._work),
            coded.codec.bytes,
            kept_adapter,
            None if stored is None else stored.name,
            dim,
            self.found.kinds,
        )
        if not staged.is_address:  # of a run that was stopped as it ended
            shutil.rmtree(Path(staged.where, ROWS_FOLDER, "_versions"), ignore_errors=True)
        parts = parts_of(self.blocks, self.vectors, self._cluster.machines)
        fragments = _coded(self._cluster, coding, parts, self._work, staged, progress)
        files = self._local / FILES_FOLDER
        shutil.rmtree(files, ignore_errors=True)
        name = write_files(files, coded.codec, adapter, evidence, manifest, self.found.rows)
        like = coding.like(coded.codec)

        def commit() -> None:
            commit_parts(staged, self.found.kinds, like, fragments, name)

        if place.is_address:
            _publish(place, files, Sheet.from_json(evidence["sheet"]), commit)
        else:
            _finish(staged, Path(place.where), files, commit)

    def _deal(self, rows: Iterable[RowLike], progress: Progress) -> None:
        self.found = survey(rows)
        self.blocks = deal_rows(rows, self.found.kinds, self._work, self.found.rows, progress)


def _coded(
    cluster: Cluster,
    coding: Coding,
    parts: list[Part],
    work: Place,
    staged: Place,
    progress: Progress,
) -> list[str]:
    """Lance's records of the parts' fragments, in order; those that are there stay."""
    there = work.names("parts")
    written = staged.names(f"{ROWS_FOLDER}/data")
    notes = [coding.note_of(part) for part in parts]
    left = []
    for note, part in zip(notes, parts, strict=True):
        record = work.read(f"parts/{note}.json") if f"{note}.json" in there else None
        if record is None or any(f["path"] not in written for f in json.loads(record)["files"]):
            left.append(json.dumps(dataclasses.asdict(part)))
    progress.start(f"coding on {_count(cluster)}", sum(part.rows for part in parts))
    progress.advance(sum(part.rows for part in parts) - sum(json.loads(t)["rows"] for t in left))
    for rows in cluster.on_machines(coding, left):
        progress.advance(rows)
    progress.finish()
    found = [work.read(f"parts/{note}.json") for note in notes]
    assert all(record is not None for record in found)
    return [record.decode() for record in found if record is not None]


def _finish(staged: Place, place: Path, files: Path, commit: Callable[[], None]) -> None:
    """Give a collection that was written elsewhere on the same disk its place, whole."""
    target = Path(staged.where, FILES_FOLDER)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(files, target)
    commit()
    sync_tree(Path(staged.where))
    if place.exists():
        raise UserError(f"{place} exists already: choose another name, or remove it first.")
    os.rename(staged.where, place)
    sync_folder(place.parent)
    report(place)


def _publish(place: Place, files: Path, sheet: Sheet, commit: Callable[[], None]) -> None:
    """Put what belongs to the rows of an address beside them; that they are there comes last."""
    for path in sorted(files.iterdir()):
        place.write(f"{FILES_FOLDER}/{path.name}", path.read_bytes())
    place.write(REPORT_NAME, page(sheet).encode())
    commit()


def _checked(
    src: str | os.PathLike[str] | None,
    out: str | os.PathLike[str] | None,
    settings: BuildSettings,
) -> tuple[Place, Source]:
    """Where the collection goes and its source; raises UserError as check_build does."""
    if out is None or not is_address(out):
        path, source = check_build(src, out, settings)
        _check_kind(source)
        return Place(path), source
    place = Place(out)
    source = check_source(src, settings)
    _check_kind(source)
    if place.names(f"{ROWS_FOLDER}/_versions"):
        raise UserError(f"{place.where} holds a collection already: choose another address.")
    check_settings(settings, source.kind)
    return place, source


def _check_kind(source: Source) -> None:
    if source.kind == "images":
        raise UserError(
            "many machines encode texts, and images are encoded on one: make vectors of them with "
            "nestvec embed, and build from these."
        )


@contextmanager
def _at_hand(src: str | os.PathLike[str] | None) -> Iterator[str | os.PathLike[str] | None]:
    """SRC as a path: an address is copied into a temporary folder, since readers read files."""
    if src is None or not is_address(src):
        yield src
        return
    place = Place(src)
    with tempfile.TemporaryDirectory(prefix="nestvec-") as folder:
        path = Path(folder, place.where.rpartition("/")[2])
        place.copy_to(path)
        yield path


@contextmanager
def _local_folder(work: Place) -> Iterator[Path]:
    """A folder of this machine's own: the work folder, where that is a path."""
    if not work.is_address:
        Path(work.where).mkdir(exist_ok=True)
        yield Path(work.where)
        return
    with tempfile.TemporaryDirectory(prefix="nestvec-") as folder:
        yield Path(folder)


def _command(
    src: str | os.PathLike[str] | None, place: Place, settings: BuildSettings, on: str
) -> str:
    said = short_command("build", src, None, settings)
    return f"{said} --on {on} --out {shlex.quote(place.where)}"


def _count(cluster: Cluster) -> str:
    machines = cluster.machines
    return f"{machines:,} machine{'s' if machines > 1 else ''}"
