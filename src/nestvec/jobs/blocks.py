"""A build's rows dealt into blocks, which any machine can encode and code, and again if need be.

Everything is a file of the work folder, named by what it was made of: a file that is there is
done, whoever wrote it, and another source, model or codec has other names. Rows are dealt in
blocks of 1,024, as one machine encodes them, and coded in runs of 8,192, as a codec takes them:
the same arrays go through the same arithmetic.

    rows/0000012-DIGEST.json        rows of a block
    vectors/0000012-DIGEST.npy      their vectors, given or encoded
    encoded/0000012-DIGEST.json     how many of its texts were cut
    parts/DIGEST.json               Lance's record of a fragment
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter
from nestvec.codec.nested import Codec
from nestvec.data.encoder import Encoder
from nestvec.data.rows import Row
from nestvec.errors import UserError
from nestvec.index.columns import Kind, RowLike, as_kind
from nestvec.index.places import Place
from nestvec.index.store_changes import FRAGMENT_ROWS, Arrays
from nestvec.index.store_parts import no_rows, write_part
from nestvec.jobs.encoders import make_encoder
from nestvec.jobs.material import BLOCK_ROWS
from nestvec.jobs.settings import EmbedSettings
from nestvec.progress import Progress
from nestvec.vectors import row_blocks

_MACHINES = {"device", "number_format", "sample", "least_cosine", "top10_agreement"}
#: rows that a codec takes at a time; a part holds a multiple of them
CODED_ROWS = 8_192


@dataclass(frozen=True)
class Block:
    """Neighbouring rows; name: that of its files. first: the first row's number."""

    name: str
    first: int
    rows: int


def deal_rows(
    rows: Iterable[RowLike], kinds: Mapping[str, Kind], work: Place, total: int, progress: Progress
) -> list[Block]:
    """Write rows in blocks into the work folder; blocks that are there stay. Memory: a block.

    kinds: of the user's columns, whose values are written in the form they are stored in.
    """
    there = work.names("rows")
    blocks = []
    iterator = iter(rows)
    first = 0
    progress.start("dealing rows", total)
    while chunk := list(islice(iterator, BLOCK_ROWS)):
        columns = [as_kind(kind, (row.columns.get(name) for row in chunk))
                   for name, kind in kinds.items()]  # fmt: skip
        values = [
            [row.id, row.text, row.title, *(column[i] for column in columns)]
            for i, row in enumerate(chunk)
        ]
        data = json.dumps([list(kinds), values]).encode()
        block = Block(f"{first // BLOCK_ROWS:07d}-{_digest(data)}", first, len(chunk))
        if f"{block.name}.json" not in there:
            work.write(f"rows/{block.name}.json", data)
        blocks.append(block)
        first += len(chunk)
        progress.advance(len(chunk))
    progress.finish()
    return blocks


def deal_vectors(vectors: NDArray[Any], work: Place, progress: Progress) -> list[str]:
    """Write given vectors (n, d) in blocks; returns the blocks' names."""
    there = work.names("vectors")
    names = []
    progress.start("dealing vectors", len(vectors))
    for first in range(0, len(vectors), BLOCK_ROWS):
        some = np.ascontiguousarray(vectors[first : first + BLOCK_ROWS])
        name = f"{first // BLOCK_ROWS:07d}-{_digest(some.dtype.str.encode() + some.tobytes())}"
        if f"{name}.npy" not in there:
            work.write(f"vectors/{name}.npy", _npy(some))
        names.append(name)
        progress.advance(len(some))
    progress.finish()
    return names


def read_rows(work: Place, name: str) -> list[Row]:
    """The rows of a block."""
    kinds, values = json.loads(_found(work, f"rows/{name}.json"))
    return [
        Row(identity, text, title, dict(zip(kinds, own, strict=True)))
        for identity, text, title, *own in values
    ]


def read_vectors(work: Place, name: str) -> NDArray[Any]:
    """The vectors (m, d) of a block."""
    found: NDArray[Any] = np.load(
        io.BytesIO(_found(work, f"vectors/{name}.npy")), allow_pickle=False
    )
    return found


@dataclass(frozen=True)
class Encoding:
    """How blocks of texts become vectors; calling it gives what encodes them, on any machine.

    work: the work folder's place. titled: texts are encoded with their titles. dtype: of what is
    stored. sample: texts that the encoder settles its number format on. described: what an encoder
    must say of itself (identity), so that all machines encode alike.
    """

    work: str
    settings: EmbedSettings
    titled: bool
    dtype: str
    sample: tuple[str, ...]
    described: str

    def vectors_of(self, block: str) -> str:
        """The name of a block's vectors."""
        about = _digest(f"{self.described}{self.titled}{self.dtype}".encode())
        return f"{block}-{about[:12]}"

    def __call__(self) -> Callable[[str], int]:
        """The encoder of a block by name, the model loaded; it gives the number of rows.

        Raises UserError where the encoder is not as the others are.
        """
        work = Place(self.work)
        encoder = make_encoder(self.settings)
        encoder.prepare(list(self.sample))
        said = identity(encoder)
        if said != self.described:
            raise UserError(
                f"every machine must load the same model; one loaded {said}, and this one asked "
                f"for {self.described}: give all of them the same files."
            )
        number_format = encoder.describe().get("number_format")

        def encode(block: str) -> int:
            name = self.vectors_of(block)
            known = work.read(f"encoded/{name}.json")
            if known is not None:
                return int(json.loads(known)["rows"])
            rows = read_rows(work, block)
            texts = [row.titled_text if self.titled else row.text for row in rows]
            found = encoder.encode_block(texts, "document")
            with np.errstate(over="ignore"):  # told below
                vectors = np.ascontiguousarray(found.vectors, self.dtype)
            if not np.isfinite(vectors).all():
                raise UserError(
                    "a coordinate is too large for float16 (over 65,504): build with "
                    "--similarity dot or l2, which store float32."
                )
            work.write(f"vectors/{name}.npy", _npy(vectors))
            note = {
                "rows": len(rows), "truncated": found.truncated, "number_format": number_format,
            }  # fmt: skip
            work.write(f"encoded/{name}.json", json.dumps(note).encode())
            return len(rows)

        return encode


@dataclass(frozen=True)
class Part:
    """Blocks that become one fragment: their names, those of their vectors, the first row."""

    blocks: tuple[str, ...]
    vectors: tuple[str, ...]
    first: int
    rows: int


@dataclass(frozen=True)
class Coding:
    """How parts become fragments; calling it gives what writes them, on any machine.

    out: the place of the unfinished collection. codec, adapter: names of files in the work folder.
    cut: leading bytes to keep of its codes. stored: number type of vectors kept beside them, None
    for none. dim: their coordinates. kinds: of the user's columns.
    """

    work: str
    out: str
    codec: str
    cut: int
    adapter: str | None
    stored: str | None
    dim: int
    kinds: Mapping[str, Kind]

    def note_of(self, part: Part) -> str:
        """The name of the record of a part's fragment."""
        about = [self.out, self.codec, self.cut, self.adapter, self.stored, *self.kinds.items()]
        return _digest(json.dumps([about, part.blocks, part.vectors, part.first]).encode())

    def like(self, codec: Codec) -> Arrays:
        """Arrays of no rows, of the types that are written; codec: cut already."""
        facts = {f"norm_{cut}": "uint8" for cut in codec.cuts}
        if codec.metric != "cosine":
            facts["length"] = "float32"
        vectors = None if self.stored is None else (self.dim, self.stored)
        return no_rows(codec.bytes, facts, vectors, codec.level_ends)

    def __call__(self) -> Callable[[str], int]:
        """The writer of a part in JSON, the codec loaded; it gives the number of rows."""
        work = Place(self.work)
        codec = Codec.load(_copied(work, self.codec))
        adapter = None if self.adapter is None else Adapter.load(_copied(work, self.adapter))
        like = self.like(codec.truncated(self.cut))

        def code(task: str) -> int:
            found = json.loads(task)
            part = Part(tuple(found["blocks"]), tuple(found["vectors"]), found["first"],
                        found["rows"])  # fmt: skip
            chunks = self._chunks(work, part, codec, adapter, like)
            fragment = write_part(Place(self.out), self.kinds, like, chunks, part.first)
            work.write(f"parts/{self.note_of(part)}.json", fragment.encode())
            return part.rows

        return code

    def _chunks(
        self, work: Place, part: Part, codec: Codec, adapter: Adapter | None, like: Arrays
    ) -> Iterator[tuple[Sequence[RowLike], Arrays]]:
        together = CODED_ROWS // BLOCK_ROWS
        for at in range(0, len(part.blocks), together):
            blocks = slice(at, at + together)
            rows = [row for name in part.blocks[blocks] for row in read_rows(work, name)]
            vectors = np.concatenate([read_vectors(work, name) for name in part.vectors[blocks]])
            given = vectors if adapter is None else adapter.transform(vectors)
            codes = codec.encode(given)
            facts = codec.facts(codes, given)
            yield (
                rows,
                Arrays(
                    np.ascontiguousarray(codes[:, : like.codes.shape[1]]),
                    {name: facts[name] for name in like.facts},
                    None if like.vectors is None else vectors.astype(like.vectors.dtype),
                    like.level_ends,
                ),
            )


def identity(encoder: Encoder) -> str:
    """What an encoder says of itself, as JSON, but for what depends on the machine at hand."""
    said = {name: value for name, value in encoder.describe().items() if name not in _MACHINES}
    return json.dumps(said, sort_keys=True)


class BlockVectors:
    """Vectors (n, d) in blocks of the work folder, read as they are asked for.

    By positions (m,), rising, or by a slice; in the number type that they were encoded in.
    """

    ndim = 2

    def __init__(self, work: Place, blocks: Sequence[Block], names: Sequence[str]) -> None:
        self._work, self._blocks, self._names = work, blocks, names
        self._firsts = np.array([block.first for block in blocks])
        first = read_vectors(work, names[0])
        self.dtype = first.dtype
        self.shape: tuple[int, int] = (blocks[-1].first + blocks[-1].rows, first.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """Numbers in all."""
        return self.shape[0] * self.shape[1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of them, in memory."""
        return self[:] if dtype is None else self[:].astype(dtype)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        picks = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        out = np.empty((len(picks), self.shape[1]), self.dtype)
        of = np.searchsorted(self._firsts, picks, side="right") - 1
        for number in np.unique(of):
            mine = of == number
            found = read_vectors(self._work, self._names[number])
            out[mine] = found[picks[mine] - self._firsts[number]]
        return out


def truncated_texts(encoding: Encoding, blocks: Sequence[Block], work: Place) -> int | None:
    """How many texts of all blocks were cut, None where unknown.

    Raises UserError where machines settled on different number formats.
    """
    cut: int | None = 0
    formats = set()
    for block in blocks:
        note = json.loads(_found(work, f"encoded/{encoding.vectors_of(block.name)}.json"))
        formats.add(note["number_format"])
        known = cut is not None and note["truncated"] is not None
        cut = (cut or 0) + note["truncated"] if known else None
    if len(formats) > 1:
        raise UserError(
            f"all texts must be encoded in one number format, and machines settled on "
            f"{' and '.join(sorted(map(str, formats)))}: take machines with the same devices, or "
            "--device cpu, and another place for the collection."
        )
    return cut


def joined(vectors: BlockVectors, path: Path) -> NDArray[Any]:
    """The vectors of all blocks in one .npy file at path, mapped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = np.lib.format.open_memmap(path, mode="w+", dtype=vectors.dtype, shape=vectors.shape)
    for rows in row_blocks(file):
        file[rows] = vectors[rows]
    file.flush()
    found: NDArray[Any] = np.load(path, mmap_mode="r")
    return found


def parts_of(blocks: Sequence[Block], vectors: Sequence[str], machines: int) -> list[Part]:
    """Blocks in parts of neighbours: two a machine where rows allow, of equal size but the last.

    A part has a multiple of CODED_ROWS rows, and at most as many as a fragment of one machine's.
    """
    rows = sum(block.rows for block in blocks)
    wanted = min(-(-rows // (2 * machines)), FRAGMENT_ROWS)
    together = -(-wanted // CODED_ROWS) * (CODED_ROWS // BLOCK_ROWS)
    return [
        Part(
            tuple(block.name for block in blocks[at : at + together]),
            tuple(vectors[at : at + together]),
            blocks[at].first,
            sum(block.rows for block in blocks[at : at + together]),
        )
        for at in range(0, len(blocks), together)
    ]


def keep_file(path: Path, work: Place) -> str:
    """Copy a file into the work folder under a name that its content gives it."""
    data = path.read_bytes()
    name = f"{path.stem}-{_digest(data)}{path.suffix}"
    if work.read(name) != data:
        work.write(name, data)
    return name


def _copied(work: Place, name: str) -> Path:
    """A file of the work folder as one on this machine."""
    if not work.is_address:
        return Path(work.where, name)
    path = Path(tempfile.mkdtemp(prefix="nestvec-"), name)
    path.write_bytes(_found(work, name))
    return path


def _found(work: Place, name: str) -> bytes:
    data = work.read(name)
    if data is None:
        raise UserError(
            f"every machine must see the work folder, and one does not find {name} in "
            f"{work.where}: give --out on a file system that all share, or an object store's "
            "address."
        )
    return data


def _npy(rows: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, rows, allow_pickle=False)
    return file.getvalue()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
