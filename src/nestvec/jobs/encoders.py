"""The encoder that settings or a collection ask for; checks first, weights only when wanted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nestvec.errors import UserError
from nestvec.jobs.settings import EmbedSettings

if TYPE_CHECKING:
    from nestvec.data.encoder import Encoder
    from nestvec.data.model_nesting import TrainedNesting


IMAGES = "images"
"""What a manifest says was encoded, where that was images."""


def check_encoder(settings: EmbedSettings) -> None:
    """Raise UserError where the model cannot be had; imports no torch."""
    from nestvec.data.encoder import DEVICES

    if settings.device not in DEVICES:
        raise UserError(f"device must be one of {', '.join(DEVICES)}; got {settings.device!r}.")
    if settings.dimensions is not None and settings.dimensions < 1:
        raise UserError(f"dimensions must be at least 1; got {settings.dimensions}.")
    if settings.api is None:
        width_notes(settings)
    else:
        make_encoder(settings)


def check_image_encoder(settings: EmbedSettings) -> None:
    """Raise UserError where the model's files show that it reads no images; imports no torch."""
    from nestvec.data.encoder import no_images
    from nestvec.data.model_files import MINILM, find_model, may_read_images

    if settings.api is not None:
        raise UserError(
            f"a server embeds texts alone; got images and the API {settings.api}: give a model "
            "that reads images with --model, and no --api."
        )
    # minilm is the default for texts, and may not even be installed where images are
    if settings.model == MINILM or not may_read_images(find_model(settings.model)):
        raise no_images(settings.model)


def width_notes(settings: EmbedSettings) -> tuple[str, ...]:
    """What to say of the dimensions that are asked of a model which knows what it was trained for.

    Raises UserError where they are fewer than its narrowest width, or the model cannot be had.
    """
    from nestvec.data.model_nesting import check_cut

    if settings.api is not None:
        return ()
    trained, _ = nesting_of(settings)
    if trained is None or settings.dimensions is None:
        return ()
    return tuple(
        check_cut(
            trained,
            dims=settings.dimensions,
            force=settings.any_dimensions,
            remedy="--any-dimensions",
        )
    )


def trained_widths(settings: EmbedSettings) -> tuple[int, ...]:
    """The widths that the model says it was trained for, rising; none where it says nothing."""
    trained, _ = nesting_of(settings)
    return () if trained is None else trained.widths


def width_of(settings: EmbedSettings) -> int | None:
    """The width of the vectors to come, None where it is known only once the model is loaded."""
    from nestvec.data.model_files import find_model
    from nestvec.data.model_nesting import read_width

    if settings.dimensions is not None or settings.api is not None:
        return settings.dimensions
    files = find_model(settings.model)
    return None if files.downloads else read_width(Path(files.location))


def nesting_of(settings: EmbedSettings) -> tuple[TrainedNesting | None, str]:
    """What the model says it can be cut to, and where it lies; None behind an API or on a hub.

    Raises UserError where the model cannot be had.
    """
    from nestvec.data.model_files import find_model
    from nestvec.data.model_nesting import read_nesting

    if settings.api is not None:
        return None, ""
    files = find_model(settings.model)
    return (None if files.downloads else read_nesting(Path(files.location))), files.location


def make_encoder(settings: EmbedSettings) -> Encoder:
    """The encoder, its weights loaded; raises UserError where it cannot be had."""
    if settings.api is not None:
        from nestvec.data.encoder_api import ApiEncoder

        return ApiEncoder(
            settings.api,
            settings.model,
            dimensions=settings.dimensions,
            query_prompt=settings.query_prompt or "",
            document_prompt=settings.doc_prompt or "",
        )
    from nestvec.data.encoder import load_encoder

    return load_encoder(
        settings.model,
        query_prompt=settings.query_prompt,
        document_prompt=settings.doc_prompt,
        width=settings.dimensions,
        trust_remote_code=settings.trust_remote_code,
        device=settings.device,
    )


def kept_settings(settings: EmbedSettings) -> dict[str, Any]:
    """What a collection keeps of the settings, to make the same encoder again."""
    names = ("model", "query_prompt", "doc_prompt", "trust_remote_code", "api", "dimensions")
    return {name: getattr(settings, name) for name in names}


def kind_of(described: Mapping[str, Any]) -> str:
    """What a collection was built from, by its manifest's encoder: texts, images or vectors."""
    if not described.get("settings"):
        return "vectors"
    return "images" if described.get("documents") == IMAGES else "texts"


def encoder_of(
    kept: Mapping[str, Any], *, trust_remote_code: bool, api: str | None, device: str
) -> Encoder:
    """The encoder a collection was built with.

    Raises UserError where it would run a repository's own code, or send questions and the key to
    a server, and the caller did not allow it: a collection that came from elsewhere must not
    decide that.
    """
    if kept.get("api") and api is None:
        from nestvec.data.encoder_api import shown_address

        address = shown_address(kept["api"])
        raise UserError(
            f"the vectors come from {address}, and questions and your key would go there: "
            f"pass --api {address} if you trust it."
        )
    if kept.get("trust_remote_code") and not trust_remote_code:
        raise UserError(
            f"the model {kept['model']!r} runs code of its own, which a collection may not ask "
            "for by itself: pass --trust-remote-code if you trust it."
        )
    return make_encoder(
        EmbedSettings(**{**kept, "api": api if kept.get("api") else None, "device": device})
    )
