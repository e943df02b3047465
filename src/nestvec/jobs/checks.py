"""What can be told before anything heavy is imported: faults of arguments, places and inputs.

The command line calls these before it imports the codec, so that a mistake is told at once.
"""

from __future__ import annotations

import os
from pathlib import Path

from nestvec.data.source import Source, open_demo, open_source
from nestvec.data.tasks import Kind, task_kind
from nestvec.errors import UserError
from nestvec.jobs.encoders import check_encoder, check_image_encoder, width_of
from nestvec.jobs.settings import (
    DEMO_OUT,
    BuildSettings,
    EmbedSettings,
    EvaluateSettings,
    FitSettings,
    ReadSettings,
)

#: the folder that makes a folder a collection
ROWS_FOLDER = "rows.lance"
#: the file that makes a folder a classifier
CLASSIFIER_FILE = "labeller.json"


def is_collection(path: str | os.PathLike[str]) -> bool:
    """Whether a collection stands at path."""
    return (Path(path) / ROWS_FOLDER).is_dir()


def is_classifier(path: str | os.PathLike[str]) -> bool:
    """Whether path is a folder of nestvec classify fit."""
    return (Path(path) / CLASSIFIER_FILE).is_file()


def check_source(src: str | os.PathLike[str] | None, settings: ReadSettings) -> Source:
    """SRC, opened and cheaply checked.

    Raises UserError where there is none, or both a SRC and the demonstration are asked for.
    """
    if settings.demo:
        if src is not None:
            raise UserError(f"give either a SRC or --demo, not both; got {os.fspath(src)}.")
        return open_demo()
    if src is None:
        raise UserError(
            "a SRC is needed, texts, images or vectors; got none. Name a file or folder, or try "
            "--demo."
        )
    return open_source(
        src,
        text_column=settings.text_column,
        vector_column=settings.vector_column,
        split=settings.split,
        queries=settings.queries,
        qrels=settings.qrels,
        kind=settings.kind,
        skip_broken=settings.skip_broken,
    )


def check_settings(settings: EvaluateSettings, kind: str) -> None:
    """Raise UserError for a measure, code or model that cannot be; imports no torch."""
    from nestvec.codec.spec import check_width, parse_spec
    from nestvec.measure.metrics import Measure

    if settings.metric is not None:
        Measure.parse(settings.metric)
    if settings.spec != "auto":
        parse_spec(settings.spec)
    if kind == "images":
        check_image_encoder(settings)
    if kind in ("texts", "images"):
        check_encoder(settings)
        width = width_of(settings)
        if settings.spec != "auto" and width is not None:
            for term in parse_spec(settings.spec):
                check_width(term, width)


def check_task(src: object, settings: EvaluateSettings, wanted: str | None = None) -> Kind:
    """What src is to be measured by: the wanted task, else what its columns say.

    Raises UserError where the task, or an option beside it, does not go with src; imports no torch.
    """
    names = ("queries", "qrels", "text_column", "vector_column")
    given = [name for name in names if getattr(settings, name) is not None]
    given += ["split"] if settings.split != "none" else []
    rows = isinstance(src, (str, os.PathLike)) and not settings.demo and not is_collection(src)
    if not rows or given:
        if wanted not in (None, "retrieval"):
            task_kind("", wanted)
            beside = f"{given[0]} goes" if given else "collections, arrays and the demo go"
            raise UserError(
                f"{beside} with retrieval alone; got the task {wanted}: give a table of graded "
                "pairs or labelled texts, and no such option."
            )
        return "retrieval"
    assert isinstance(src, (str, os.PathLike))
    if not Path(src).exists():
        return "retrieval"
    kind = task_kind(Path(src), wanted)
    if kind == "retrieval":
        return kind
    for name, value in (("metric", settings.metric), ("similarity", settings.similarity)):
        if value not in (None, "cosine"):
            raise UserError(
                f"the task {kind} has its own measures and compares by cosine; got {name} "
                f"{value}: leave it out, or take --task retrieval."
            )
    return kind


def check_measured(
    src: str | os.PathLike[str] | None, settings: EvaluateSettings, task: str | None = None
) -> None:
    """Raise UserError for a source or collection that cannot be measured with these settings."""
    if check_task(src, settings, task) != "retrieval":
        check_settings(settings, "texts")
        return
    if src is not None and not settings.demo and is_collection(src):
        check_settings(settings, "collection")
        return
    check_settings(settings, check_source(src, settings).kind)


def check_embed(
    src: str | os.PathLike[str] | None, out: str | os.PathLike[str], settings: EmbedSettings
) -> tuple[Path, Source]:
    """The file to write and the source of texts; raises UserError for either."""
    from nestvec.vectors import SUFFIXES

    place = Path(out)
    if place.suffix not in SUFFIXES:
        raise UserError(
            f"a vector file ends in {', '.join(SUFFIXES)}; got {place.name}. Choose one of these."
        )
    check_free(place)
    source = check_source(src, settings)
    if source.kind == "vectors":
        raise UserError(f"{source.path} holds vectors already: there is nothing to embed.")
    if source.kind == "images":
        check_image_encoder(settings)
    check_encoder(settings)
    return place, source


def check_fit(
    vectors: str | os.PathLike[str], out: str | os.PathLike[str], settings: FitSettings
) -> Path:
    """The file to write; raises UserError where it, the vectors' file or the spec cannot be."""
    from nestvec.codec.spec import parse_spec
    from nestvec.vectors import load_vectors

    place = Path(out)
    if place.suffix != ".safetensors":
        raise UserError(f"a codec is a .safetensors file; got {place.name}. Choose such a name.")
    check_free(place)
    if settings.spec != "auto":
        parse_spec(settings.spec)
    load_vectors(vectors)
    return place


def check_collection(path: str | os.PathLike[str]) -> None:
    """Raise UserError where no collection stands at path."""
    if is_collection(path):
        return
    state = "there is nothing" if not Path(path).exists() else f"it has no {ROWS_FOLDER}"
    raise UserError(
        f"{os.fspath(path)} is not a collection ({state}): build one with "
        f"nestvec build SRC --out {os.fspath(path)}."
    )


def check_build(
    src: str | os.PathLike[str] | None,
    out: str | os.PathLike[str] | None,
    settings: BuildSettings,
) -> tuple[Path, Source]:
    """Where the collection goes and its source, everything cheap checked.

    Raises UserError; imports no torch.
    """
    source = check_source(src, settings)
    if out is None:
        if not settings.demo:
            raise UserError("a place for the collection is needed: name it with --out DIR.")
        out = DEMO_OUT
    place = Path(out)
    check_free(place)
    check_settings(settings, source.kind)
    if settings.adapt is not None:
        _check_adapted(settings)
    return place, source


def _check_adapted(settings: BuildSettings) -> None:
    """Raise UserError where an adapter could not be used, or its pairs are not there."""
    from nestvec.choose.specs import is_ladder

    if settings.spec != "auto" and not is_ladder(settings.spec):
        raise UserError(
            f"adapters go before codebooks or sign planes; got {settings.spec}. Take --spec auto, "
            "or leave out --adapt."
        )
    if settings.pairs is not None and not Path(settings.pairs).is_file():
        raise UserError(f"{settings.pairs} is not there: name a file of query, document and score.")


def check_free(place: Path) -> None:
    """Raise UserError where something stands at the place, or its folder does not exist."""
    folder = place.absolute().parent
    if not os.fspath(place).strip(" ."):
        raise UserError("a place to write to is needed; got an empty name. Name one.")
    if place.exists():
        raise UserError(f"{place} exists already: choose another name, or remove it first.")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, so {place} cannot be in it: choose another place.")
    if not folder.is_dir():
        raise UserError(f"the folder of {place} does not exist: create {folder} first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{folder} cannot be written to: choose another place, or its rights.")
