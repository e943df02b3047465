"""Which files hold images, by their names and first bytes; nothing here needs Pillow."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nestvec import tables
from nestvec.data.lines import plain_suffix

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
LABEL = "label"
"""The column of a collection of images that holds the names of their classes."""
COLUMNS = ("image", "jpeg", "jpg", "png", "img", "bytes")
"""Usual names of a table's column of images, the first that is there."""


def is_image(path: Path) -> bool:
    """Whether the name says that the file is one image."""
    return path.suffix.lower() in SUFFIXES


def is_idx(path: Path) -> bool:
    """Whether the name says that the file is an array in IDX, of images or of their labels."""
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(("-ubyte", ".idx", ".idx3", ".idx1"))


def image_files(folder: Path) -> Iterator[Path]:
    """The image files in a folder and below, in the order of their paths; hidden ones apart."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and is_image(path) and path.is_file():
            yield path


def image_column(kinds: Mapping[str, str]) -> str | None:
    """The column of a table that holds images as bytes, None where there is none.

    kinds: as tables.column_kinds gives them; bytes, and structs with bytes, are "other" there.
    """
    return next((name for name in COLUMNS if kinds.get(name) == "other"), None)


def is_array(path: Path) -> bool:
    """Whether a .npy file, or `images` of an .npz file, is uint8 of three or four axes."""
    try:
        if path.suffix == ".npy":
            found: Any = np.load(path, mmap_mode="r", allow_pickle=False)
            return _are_pixels(found.shape, found.dtype)
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive, archive.open("images.npy") as file:
                major, _ = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0
                if major > 1:
                    read = np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
                return _are_pixels(shape, dtype)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False  # whatever it is, its own reader says what is wrong
    return False


def holds_images(place: Path) -> bool:
    """Whether a folder, IDX file, array, table or single file holds images."""
    if place.is_dir():
        return next(image_files(place), None) is not None
    if is_image(place) or is_idx(place):
        return True
    if tables.is_table(place):
        return image_column(tables.column_kinds(place)) is not None
    return plain_suffix(place) in (".npy", ".npz") and is_array(place)


def _are_pixels(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return dtype == np.uint8 and (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3))
