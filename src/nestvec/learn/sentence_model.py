"""Sentence-transformers models as this room needs them: loaded to be trained, and given parts."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from nestvec.errors import MissingExtra, UserError

try:
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense as Dense
    from sentence_transformers.sentence_transformer.modules import Normalize as Normalize
except ImportError:
    raise MissingExtra("training a model", "train") from None

LOAD_ERRORS = (
    OSError, ValueError, KeyError, AttributeError, TypeError, RuntimeError, ImportError,
    SafetensorError,
)  # fmt: skip
"""What loading a model's files raises where they are damaged or of another kind."""


def load_model(name: str, location: str, *, max_tokens: int | None, remote_code: bool) -> Any:
    """A sentence-transformers model with its weights, to be trained.

    name: what the user called it; max_tokens: where texts are cut, None for the model's own.
    Raises UserError where it cannot be loaded.
    """
    try:
        model = SentenceTransformer(location, trust_remote_code=remote_code)
    except LOAD_ERRORS as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise UserError(
            f"the model {name!r} cannot be loaded: {reason}; get its files anew, or name another."
        ) from None
    if max_tokens is not None:
        model.max_seq_length = max_tokens
    return model


def set_dropout(model: Any, share: float) -> None:
    """Every dropout of a model at this share, that of attention too, in place."""
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = share
        if isinstance(getattr(part, "attention_dropout", None), float):
            part.attention_dropout = share


def add_matrix(model: Any, matrix: Tensor) -> None:
    """Multiply a model's embeddings by matrix (out, in), in place, as a part that is saved with it.

    It comes before a final normalization, so unit lengths stay unit lengths.
    """
    out, dim = matrix.shape
    part = Dense(dim, out, bias=False, activation_function=nn.Identity())
    with torch.no_grad():
        part.linear.weight.copy_(matrix)
    part.to(next(model.parameters()).device)
    last = len(model) - 1
    if isinstance(model[last], Normalize):
        unit = model._modules.pop(list(model._modules)[last])
        model.append(part)
        model.append(unit)
    else:
        model.append(part)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps remarks and bars of the libraries off the terminal; errors still come through."""
    datasets = sys.modules.get("datasets")
    if datasets is not None:
        datasets.disable_progress_bars()
    names = ("sentence_transformers", "transformers", "accelerate", "datasets")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging._tqdm_active = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            if datasets is not None:
                datasets.enable_progress_bars()
            transformers.utils.logging._tqdm_active = bars
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
