"""What is served: a collection with the model it was built with, or a model alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nestvec.errors import UserError
from nestvec.jobs.checks import is_collection
from nestvec.jobs.encoders import encoder_of, kind_of, make_encoder, nesting_of
from nestvec.jobs.settings import EmbedSettings
from nestvec.serve.model import Model
from nestvec.serve.searching import Searched
from nestvec.serve.settings import ServeSettings
from nestvec.serve.upstream import DEADLINE_S, KEY_VARIABLES

if TYPE_CHECKING:
    from nestvec.data.encoder import Encoder


@dataclass(frozen=True)
class Served:
    """name: what people call it. model: None where a collection was built from vectors, or from
    images by a model without a tower for texts. searched: None where a model is served alone.
    """

    name: str
    model: Model | None
    searched: Searched | None

    def warm_up(self) -> None:
        """Encode and search once."""
        if self.model is not None:
            self.model.warm_up()
        if self.searched is not None:
            self.searched.warm_up()


def open_served(
    target: str,
    settings: ServeSettings,
    *,
    trust_remote_code: bool = False,
    api: str | None = None,
    device: str = "auto",
    note: Callable[[str], None] = lambda sentence: None,
) -> Served:
    """The collection or model of that name, loaded.

    api: the server that questions may be sent to, where the collection's vectors came from one.
    Raises UserError where there is neither, and as opening a collection or a model does.
    """
    if is_collection(target):
        return _collection(Path(target), settings, trust_remote_code, api, device, note)
    embedding = EmbedSettings(model=target, trust_remote_code=trust_remote_code, device=device)
    trained, _ = nesting_of(embedding)
    model = Model(_reading_texts(make_encoder(embedding)), trained, settings.any_dimensions)
    return Served(model.name, model, None)


def _collection(
    path: Path,
    settings: ServeSettings,
    trust_remote_code: bool,
    api: str | None,
    device: str,
    note: Callable[[str], None],
) -> Served:
    searched = Searched(path, settings.any_dimensions, settings.limits.hits, note)
    for each in searched.snapshot.notes:
        note(each)
    described = searched.snapshot.manifest.encoder
    kept = described.get("settings") or {}
    if kind_of(described) == "vectors":
        return Served(path.resolve().name, None, searched)
    encoder = encoder_of(kept, trust_remote_code=trust_remote_code, api=api, device=device)
    from nestvec.data.encoder import reads_texts
    from nestvec.data.encoder_api import ApiEncoder

    if not reads_texts(encoder):
        return Served(path.resolve().name, None, searched)
    if isinstance(encoder, ApiEncoder):
        encoder = encoder.hurried(DEADLINE_S, KEY_VARIABLES)
    trained, _ = nesting_of(EmbedSettings(**kept))
    searched.widths = trained.widths if trained is not None else ()
    model = Model(encoder, trained, settings.any_dimensions, note)
    return Served(path.resolve().name, model, searched)


def _reading_texts(encoder: Encoder) -> Encoder:
    from nestvec.data.encoder import reads_texts

    if not reads_texts(encoder):
        raise UserError(
            f"a server embeds texts, and {encoder.name} reads images alone: name a model that "
            "reads texts, or a collection, which can be searched by vectors."
        )
    return encoder
