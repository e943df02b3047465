"""Pictures as input: folders of files, IDX, arrays, and tables with the bytes of images.

The only file that imports Pillow.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nestvec import tables
from nestvec.data.image_places import (
    COLUMNS,
    SUFFIXES,
    image_files,
    is_idx,
    is_image,
)
from nestvec.data.lines import open_bytes, plain_suffix
from nestvec.errors import MissingExtra, UserError
from nestvec.progress import Progress, quiet

try:
    from PIL import Image, UnidentifiedImageError
except ImportError:
    raise MissingExtra("reading images", "images") from None

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
T = TypeVar("T")

LABEL_COLUMNS = ("label", "class", "fine_label", "category")
TEXT_COLUMNS = ("text", "caption")
NAME_COLUMNS = ("_id", "id", "name", "path", "file_name")
_IDX_BYTES = 8
_NAMED = 3
# What Pillow's readers raise at bytes that are no image, or no whole one.
_BROKEN = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    IndexError,
    struct.error,
    zlib.error,
)
# Threads that decode, and pictures that they are ahead: a photograph takes 36 MB when decoded.
_DECODERS = 2
_AHEAD = 4
_ORIENTATION = 0x0112  # of EXIF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class Images:
    """Some pictures, read one at a time when they are asked for.

    ids: (n,) names. read: the picture at a place, as Pillow has it. labels: (n,) int64, numbers of
    classes, or None. classes: their names. texts: (n,) captions, or None. stored: the bytes that
    the picture at a place is decoded from, None where there are no such.
    """

    ids: tuple[str, ...]
    read: Callable[[int], Image.Image]
    labels: I64 | None = None
    classes: tuple[str, ...] = ()
    texts: tuple[str, ...] | None = None
    stored: Callable[[int], bytes] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def picture(self, i: int) -> Image.Image:
        """The picture at a place, in RGB, turned as its EXIF says, on white where transparent.

        Of several frames the first. Raises UserError where its bytes are no image.
        """
        try:
            with self.read(i) as found:
                return _rgb(found)
        except _BROKEN as error:
            raise UserError(f"{self.ids[i]} cannot be read as an image: {error}.") from None

    def pictures(self, rows: Iterable[int]) -> Iterator[Image.Image]:
        """Pictures at some places, in order, a few decoded ahead. Raises as picture does."""
        return _ahead(self.picture, rows)

    def content(self, i: int) -> bytes:
        """What decides the picture at a place: the bytes it is decoded from, else its pixels."""
        if self.stored is None:
            picture = self.picture(i)
            return f"{picture.size}".encode() + picture.tobytes()
        try:
            return self.stored(i)
        except OSError as error:
            raise UserError(f"{self.ids[i]} cannot be read: {error}.") from None

    def thumbnail(self, i: int, side: int) -> bytes:
        """The picture at a place as a JPEG file, its longer side at most so many pixels."""
        picture = self.picture(i)
        picture.thumbnail((side, side))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=80)
        return buffer.getvalue()

    def pixels(self, rows: Sequence[int] | I64, size: int | None = None) -> U8:
        """Pictures at some places: (m, height, width, 3) uint8.

        size: height and width, to which the shorter side is brought (bicubic) and the longer one
        cut at both ends; None leaves pictures as they are, which must then be alike.
        """
        found = []
        for i in rows:
            picture = self.picture(int(i))
            found.append(np.asarray(picture if size is None else _fitted(picture, size)))
        shapes = sorted({each.shape for each in found})
        if len(shapes) > 1:
            raise UserError(
                f"pictures of one array are of one size; got {shapes[0][:2]} and {shapes[-1][:2]}. "
                "Give a size."
            )
        return np.stack(found) if found else np.empty((0, size or 0, size or 0, 3), np.uint8)

    def take(self, rows: Sequence[int] | I64) -> Images:
        """Those at some places."""
        places = [int(i) for i in rows]
        read, stored = self.read, self.stored
        return Images(
            tuple(self.ids[i] for i in places),
            lambda i: read(places[i]),
            None if self.labels is None else self.labels[places],
            self.classes,
            None if self.texts is None else tuple(self.texts[i] for i in places),
            None if stored is None else lambda i: stored(places[i]),
        )

    def check(self, skip: bool = False, progress: Progress | None = None) -> Images:
        """Read every picture once: itself, or without those that cannot be read where skip is true.

        Raises UserError that counts and names them, and where none is left.
        """
        listener = progress or quiet()
        listener.start("reading images", len(self))
        broken = []
        for i, whole in enumerate(_ahead(self._is_whole, range(len(self)))):
            if not whole:
                broken.append(i)
            listener.advance(1)
        listener.finish()
        if not broken:
            return self
        named = ", ".join(self.ids[i] for i in broken[:_NAMED])
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        if not skip:
            raise UserError(
                f"every image must be readable; {len(broken)} of {len(self):,} are not: "
                f"{named}{more}. Mend them, or leave them out (--skip-broken)."
            )
        if len(broken) == len(self):
            raise UserError(f"none of {len(self):,} images can be read: {named}{more}.")
        listener.note(f"{len(broken)} of {len(self):,} images cannot be read: {named}{more}")
        return self.take(np.setdiff1d(np.arange(len(self)), broken))

    def _is_whole(self, i: int) -> bool:
        try:
            self.picture(i)
        except UserError:
            return False
        return True


def open_images(
    where: str | Path,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    text_column: str | None = None,
) -> Images:
    """Pictures of a folder, an IDX file (plain or gzipped), a table, .npy, .npz, or one picture.

    A folder of folders has a class a folder, in the order of their names; of files alone, none. An
    IDX file of images has labels where one of labels lies beside it. .npy is (n, height, width) or
    (n, height, width, 3) uint8; .npz has it as `images`, and `labels` perhaps. Of a table the usual
    columns are taken where none is named: images are bytes, or structs with `bytes`.
    Raises UserError for a place that is not there or holds no images.
    """
    place = Path(where)
    if not place.exists():
        raise UserError(f"images are read from a folder or file that is there; {place} is not.")
    if place.is_dir():
        return _of_folder(place)
    if is_idx(place):
        return _of_idx(place)
    if is_image(place):
        return _of_files([place], (place.name,))
    suffix = plain_suffix(place)
    if suffix in (".npy", ".npz"):
        return _of_arrays(place)
    if tables.is_table(place):
        return _of_table(place, image_column, label_column, text_column)
    raise UserError(
        "images are read from folders, IDX, Parquet, .npy, .npz and files of pictures; got "
        f"{place}. Give such a one."
    )


def open_image(path: Path) -> Image.Image:
    """One file of a picture, in RGB; see Images.picture. Raises UserError where it is none."""
    if not path.is_file():
        raise UserError(f"an image is a file that is there; {path} is not. Name one.")
    return _of_files([path], (str(path),)).picture(0)


def of_pixels(pixels: U8, labels: I64 | None, classes: Sequence[str], name: str) -> Images:
    """Pictures of an array (n, height, width) or (n, height, width, 3) uint8."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[3:] not in ((), (3,)):
        raise UserError(
            "arrays of images are uint8, (n, height, width) or (n, height, width, 3); got "
            f"{pixels.dtype} {pixels.shape}."
        )
    if labels is not None and len(labels) != len(pixels):
        raise UserError(f"labels are one an image; got {len(labels)} for {len(pixels)} images.")
    ids = tuple(f"{name} {i}" for i in range(len(pixels)))
    return Images(
        ids,
        lambda i: Image.fromarray(pixels[i]),
        labels,
        tuple(classes),
        stored=lambda i: f"{pixels.shape[1:]}".encode() + pixels[i].tobytes(),
    )


def _fitted(picture: Image.Image, size: int) -> Image.Image:
    width, height = picture.size
    scale = size / min(width, height)
    if scale != 1:
        wanted = (max(size, round(width * scale)), max(size, round(height * scale)))
        picture = picture.resize(wanted, Image.Resampling.BICUBIC)
    left, top = (picture.size[0] - size) // 2, (picture.size[1] - size) // 2
    return picture.crop((left, top, left + size, top + size))


def _rgb(found: Image.Image) -> Image.Image:
    """A new picture in RGB, turned as its EXIF says."""
    try:
        turn = _TURNS.get(found.getexif().get(_ORIENTATION, 1))
    except Exception:  # of broken EXIF beside whole pixels: Pillow raises whatever it met
        turn = None
    if found.mode.startswith("I;16"):
        # Pillow's own conversion cuts 16 bits at 255, which leaves white
        found = Image.fromarray((np.asarray(found) >> 8).astype(np.uint8))
    if found.has_transparency_data:
        shown = found.convert("RGBA")
        ground = Image.new("RGBA", shown.size, "white")
        ground.alpha_composite(shown)
        found = ground
    picture = found.convert("RGB")
    return picture if turn is None else picture.transpose(turn)


def _ahead(function: Callable[[int], T], rows: Iterable[int]) -> Iterator[T]:
    """The function's values in order, a few computed ahead by threads."""
    with ThreadPoolExecutor(_DECODERS) as pool:
        waiting: deque[Future[T]] = deque()
        for row in rows:
            waiting.append(pool.submit(function, row))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _of_folder(folder: Path) -> Images:
    paths = list(image_files(folder))
    if not paths:
        raise UserError(
            f"a folder of images holds some ({', '.join(SUFFIXES)}); {folder} has none."
        )
    names = [path.relative_to(folder) for path in paths]
    found = _of_files(paths, tuple(name.as_posix() for name in names))
    firsts = [name.parts[0] if len(name.parts) > 1 else None for name in names]
    if None in firsts:
        return found
    classes = sorted({str(first) for first in firsts})
    places = {name: place for place, name in enumerate(classes)}
    labels = np.array([places[str(first)] for first in firsts], np.int64)
    return replace(found, labels=labels, classes=tuple(classes))


def _of_files(paths: Sequence[Path], ids: tuple[str, ...]) -> Images:
    return Images(ids, lambda i: Image.open(paths[i]), stored=lambda i: paths[i].read_bytes())


def _of_idx(path: Path) -> Images:
    pixels = _idx(path)
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    labels = None
    if beside != path and beside.exists():
        labels = _idx(beside).astype(np.int64)
        if labels.ndim != 1:
            raise UserError(f"labels in IDX have one axis; {beside} has {labels.ndim}.")
    count = 0 if labels is None else int(labels.max(initial=-1)) + 1
    name = path.name.removesuffix(".gz")
    return of_pixels(pixels, labels, [str(i) for i in range(count)], name)


def _idx(path: Path) -> U8:
    """An array of bytes: two zeros, the type 8, the number of axes, their lengths, the bytes."""
    with open_bytes(path) as file:
        try:
            raw = file.read()
        except (OSError, EOFError) as error:
            raise UserError(f"{path} cannot be unzipped: {error}.") from None
    axes = raw[3] if len(raw) > 3 else 0
    begin = 4 + 4 * axes
    if raw[:3] != bytes([0, 0, _IDX_BYTES]) or not axes or len(raw) < begin:
        raise UserError(f"an IDX file of bytes begins with 0, 0, 8 and its axes; {path} does not.")
    shape = struct.unpack(f">{axes}I", raw[4:begin])
    wanted = int(np.prod(shape))
    if len(raw) - begin != wanted:
        raise UserError(
            f"{path} says {shape} bytes, {wanted:,}, and holds {len(raw) - begin:,}: it is cut "
            "short or something else."
        )
    return np.frombuffer(raw, np.uint8, offset=begin).reshape(shape)


def _of_arrays(path: Path) -> Images:
    try:
        found: Any = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as arrays: {error}.") from None
    labels = None
    if path.suffix == ".npz":
        if "images" not in found:
            raise UserError(f"an .npz of images has them as `images`; {path} has {list(found)}.")
        labels = found["labels"].astype(np.int64) if "labels" in found else None
        found = found["images"]
    count = 0 if labels is None else int(labels.max(initial=-1)) + 1
    return of_pixels(found, labels, [str(i) for i in range(count)], path.name)


def _image_column(path: Path, named: str | None) -> str | None:
    names = list(tables.column_kinds(path))
    if named is not None:
        return named if named in names else None
    return next((name for name in COLUMNS if name in names), None)


def _of_table(
    path: Path, image_column: str | None, label_column: str | None, text_column: str | None
) -> Images:
    names = list(tables.column_kinds(path))
    column = _image_column(path, image_column)
    if column is None:
        raise UserError(
            f"a table of images has a column of their bytes; {path} has {', '.join(names)}. Name "
            "it."
        )
    label = _named(label_column, LABEL_COLUMNS, names, path)
    text = _named(text_column, TEXT_COLUMNS, names, path)
    name = next((each for each in NAME_COLUMNS if each in names), None)
    wanted = [each for each in (column, label, text, name) if each is not None]
    columns: dict[str, list[Any]] = {each: [] for each in wanted}
    for batch in tables.read_batches(path, wanted):
        for each in wanted:
            columns[each] += batch[each]
    blobs = [each["bytes"] if isinstance(each, dict) else each for each in columns[column]]
    for i, blob in enumerate(blobs):
        if not isinstance(blob, bytes):
            raise UserError(
                f"images of a table are bytes; column {column} of {path} has {type(blob).__name__} "
                f"in row {i}. Name another column."
            )
    ids = tuple(str(each) for each in columns[name]) if name else _rows(path, len(blobs))
    labels: I64 | None = None
    classes: tuple[str, ...] = ()
    if label is not None:
        given = columns[label]
        missing = [i for i, each in enumerate(given) if each is None]
        if missing:
            raise UserError(
                f"labels are one an image; column {label} of {path} has none in row {missing[0]}."
            )
        known = sorted(set(given))
        classes = tuple(str(each) for each in known)
        place = {each: i for i, each in enumerate(known)}
        labels = np.array([place[each] for each in given], np.int64)
    texts = tuple(map(_caption, columns[text])) if text else None
    return Images(
        ids,
        lambda i: Image.open(io.BytesIO(blobs[i])),
        labels,
        classes,
        texts,
        lambda i: blobs[i],
    )


def _caption(given: Any) -> str:
    """The text of a cell; of a list of captions, a line each."""
    if isinstance(given, list):
        return "\n".join(" ".join(str(each).split()) for each in given)
    return "" if given is None else str(given)


def _rows(path: Path, n: int) -> tuple[str, ...]:
    return tuple(f"{path.name} row {i}" for i in range(n))


def _named(named: str | None, usual: Sequence[str], names: Sequence[str], path: Path) -> str | None:
    if named is not None and named not in names:
        raise UserError(
            f"{path} has the columns {', '.join(names)}; got {named}. Name one of them."
        )
    return named or next((each for each in usual if each in names), None)
