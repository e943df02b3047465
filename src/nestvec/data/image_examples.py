"""Pictures to train on: by class, or with a caption each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nestvec import tables
from nestvec.data.images import Images, open_images
from nestvec.data.training import HUB, Examples, Shape, load_dataset
from nestvec.errors import UserError
from nestvec.progress import Progress

_SPLIT = "split"


def read_image_examples(
    place: str,
    shape: Shape,
    *,
    columns: tuple[str, ...] = (),
    split: str = "train",
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> Examples:
    """Examples of a folder of pictures, IDX, .npy, .npz, Parquet, or "datasets:NAME[:CONFIG]".

    shape: "labelled", pictures with their classes, or "pairs", pictures with their texts. Their
    first column holds places in `images`. columns: of a table, picture first, then label or text.
    split: of a dataset, or of a table's rows by its column `split`.
    skip_broken: leave out what is no picture, with a note that counts it.
    Raises UserError where pictures have no labels or texts, where some cannot be read, counted and
    named, and for other shapes.
    """
    if shape not in ("labelled", "pairs"):
        raise UserError(
            "pictures are trained by classes (cross_entropy) or captions (info_nce and the losses "
            f"of pairs); got examples that are {shape}."
        )
    second = "label" if shape == "labelled" else "text"
    if place.startswith(HUB):
        images = images_of_dataset(load_dataset(place, split), place, columns, second)
    else:
        named: dict[str, Any] = {}
        if columns:
            named = {"image_column": columns[0], f"{second}_column": columns[-1]}
        images = _of_split(open_images(place, **named), Path(place), split)
    images = images.check(skip_broken, progress)
    rows = list(range(len(images)))
    if shape == "labelled":
        if images.labels is None:
            raise UserError(
                f"classes need a label for each picture; {place} has none. Put pictures into a "
                "folder a class, or name a column of labels."
            )
        names = [images.classes[i] for i in images.labels.tolist()]
        return Examples(shape, {"image": rows, "label": names}, place, images)
    if images.texts is None:
        raise UserError(f"pairs need a text for each picture; {place} has none. Name its column.")
    return Examples(shape, {"image": rows, "text": list(images.texts)}, place, images)


def _of_split(images: Images, place: Path, split: str) -> Images:
    if place.suffix != ".parquet" or _SPLIT not in tables.column_kinds(place):
        return images
    found: list[str] = []
    for batch in tables.read_batches(place, [_SPLIT]):
        found += [str(each) for each in batch[_SPLIT]]
    rows = np.flatnonzero(np.asarray(found) == split)
    if not len(rows):
        raise UserError(
            f"{place} has no row of the split {split!r} (it has {', '.join(sorted(set(found)))}): "
            "name one of them."
        )
    return images.take(rows)


def images_of_dataset(data: Any, place: str, columns: tuple[str, ...], second: str) -> Images:
    """Pictures of a dataset whose features name an image and a label or text column."""
    features: Mapping[str, Any] = data.features
    pictured = [name for name, kind in features.items() if type(kind).__name__ == "Image"]
    image = columns[0] if columns else next(iter(pictured), "")
    usual = ("label", "fine_label", "labels") if second == "label" else ("text", "caption")
    other = columns[-1] if columns else next((x for x in usual if x in features), "")
    for column in (image, other):
        if column not in features:
            raise UserError(
                f"{place} has the columns {', '.join(features)}; pictures and their {second}s are "
                "not found there. Name both in data.columns."
            )
    ids = tuple(f"{place} {i}" for i in range(len(data)))

    def read(i: int) -> Any:
        return data[i][image]

    if second == "text":
        return Images(ids, read, texts=tuple(map(str, data[other])))
    values = list(data[other])
    names = getattr(features[other], "names", None)
    if names is None:
        known = sorted(set(values))
        names, values = [str(x) for x in known], [known.index(x) for x in values]
    return Images(ids, read, np.asarray(values, np.int64), tuple(names))
