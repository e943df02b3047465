"""A model cut to fewer layers and dimensions."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nestvec.data.model_files import find_model
from nestvec.data.model_nesting import check_cut, read_depth, read_nesting, read_width
from nestvec.errors import UserError
from nestvec.jobs.checks import check_free


@dataclass(frozen=True)
class TruncateResult:
    """layers and dims that were kept; parameters before and after; notes for people."""

    out: str
    layers: int
    dims: int
    parameters: int
    parameters_before: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A flat object."""
        return asdict(self)


def truncate(
    model: str,
    out: str | os.PathLike[str],
    *,
    layers: int | None = None,
    dims: int | None = None,
    force: bool = False,
    trust_remote_code: bool = False,
) -> TruncateResult:
    """Save a model with its first layers and dims alone: an ordinary folder of that size.

    Raises UserError where the model has not so many, or says that it was not trained for them
    (unless force), or out exists.
    """
    place = Path(out)
    if layers is None and dims is None:
        raise UserError("a cut needs a number of layers or dims; got neither; give one.")
    check_free(place)
    files = find_model(model)
    nesting, notes = None, []
    if not files.downloads:
        folder = Path(files.location)
        depth, width = read_depth(folder), read_width(folder)
        for name, asked, most in (("layers", layers, depth), ("dims", dims, width)):
            if asked is not None and (asked < 1 or (most is not None and asked > most)):
                within = f"1 to {most}" if most else "at least 1"
                raise UserError(f"the {name} to keep must be {within}; got {asked}.")
        nesting = read_nesting(folder)
        notes = check_cut(nesting, layers=layers, dims=dims, depth=depth, force=force)

    from nestvec.learn.layers import encoder_of, stack_of
    from nestvec.learn.models import save_model, truncate_model
    from nestvec.learn.sentence_model import load_model, quiet_libraries

    with quiet_libraries():
        loaded = load_model(model, files.location, max_tokens=None, remote_code=trust_remote_code)
    before = sum(parameter.numel() for parameter in loaded.parameters())
    left = truncate_model(loaded, nesting, layers=layers, dims=dims)
    with quiet_libraries():
        save_model(loaded, place, left)
    _, _, stack = stack_of(encoder_of(loaded))
    after = sum(parameter.numel() for parameter in loaded.parameters())
    dim = int(loaded.get_embedding_dimension())
    return TruncateResult(str(place), len(stack), dim, after, before, tuple(notes))
