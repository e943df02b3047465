"""What images are asked: captions that must find their image, else images that must find their
class, else agreement with exact search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nestvec.choose.relevance import LABEL_MEASURE, from_classes, from_titles, title_queries
from nestvec.data.source import Source
from nestvec.jobs.questions import (
    FEWEST_ROWS,
    FEWEST_TITLES,
    Questions,
    encode_queries,
)
from nestvec.jobs.settings import EvaluateSettings
from nestvec.progress import Progress

if TYPE_CHECKING:
    from nestvec.data.encoder import Encoder


def ask_captions(
    encoder: Encoder,
    source: Source,
    settings: EvaluateSettings,
    progress: Progress,
) -> Questions | None:
    """Captions that must find their own image; None for fewer than FEWEST_TITLES of them.

    Those of an image are all used, as far as sample_queries of all captions are drawn; a caption of
    several images finds any of them. Shorter ones than three words name too little.
    """
    album = source.album
    owners = [i for i, captions in enumerate(album.captions) for _ in captions]
    texts = [caption for captions in album.captions for caption in captions]
    chosen, places = title_queries(texts, settings.sample_queries, settings.seed)
    if len(chosen) < FEWEST_TITLES:
        return None
    rows = [sorted({owners[place] for place in group}) for group in places]
    vectors = encode_queries(encoder, chosen, progress)
    task = from_titles(vectors, rows, source.ids, settings.metric or LABEL_MEASURE)
    # an image may have five captions, so that its id names none of them
    names = tuple(f"caption {place}" for place in range(len(chosen)))
    task = replace(task, kind="caption->image", ids=names)
    qrels = {
        name: {source.ids[row]: 1.0 for row in group}
        for name, group in zip(names, rows, strict=True)
    }
    about = "captions that must find their own image"
    return Questions(task, tuple(chosen), about, qrels)


def ask_classes(
    vectors: NDArray[Any],
    labels: Sequence[str | None],
    ids: Sequence[str],
    settings: EvaluateSettings,
) -> Questions | None:
    """Rows that must find the others of their class; None where classes tell too little.

    labels: (n,) names of classes, None for rows of none.
    """
    if len(vectors) < FEWEST_ROWS:
        return None
    names, numbers = np.unique([label or "" for label in labels], return_inverse=True)
    task = from_classes(
        vectors,
        np.where(names[numbers] == "", -1, numbers),
        ids,
        settings.metric or LABEL_MEASURE,
        settings.sample_queries,
        settings.seed,
    )
    if task is None:
        return None
    about = "held-out images; relevant is every other image of their class"
    return Questions(task, task.ids, about, {})
