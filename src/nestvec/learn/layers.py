"""The layers of an encoder: their pooled embeddings from one pass, and models cut to fewer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nestvec.errors import UserError
from nestvec.learn.sentence_model import add_matrix
from nestvec.progress import Progress, quiet

_PROBE = "A short text."


def encoder_of(model: Any) -> Any:
    """The Hugging Face encoder inside a sentence-transformers model."""
    first = model[0]
    encoder = getattr(first, "auto_model", None) or getattr(first, "model", None)
    if not isinstance(encoder, nn.Module) or not hasattr(encoder, "config"):
        raise UserError(
            "layers are those of a Hugging Face encoder; got a model whose first part is "
            f"{type(first).__name__}; use one that starts with a Transformer."
        )
    return encoder


def stack_of(encoder: Any) -> tuple[nn.Module, str, nn.ModuleList]:
    """Where the list of layers hangs, by which name, and the list.

    Raises UserError where no list has as many members as the configuration says layers.
    """
    depth = getattr(encoder.config, "num_hidden_layers", None)
    for parent in encoder.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == depth:
                return parent, name, child
    raise UserError(
        f"an encoder's layers must be a list as long as its configuration says; found none of "
        f"{depth} in {type(encoder).__name__}; use another architecture."
    )


class Layers:
    """Reads the pooled embedding of every layer from what one forward pass gives.

    Intermediate states of a pre-norm encoder get its final norm, as they would in a model cut
    there, so what is trained is what is served. Made from a sentence-transformers model, whose
    encoder is told to hand out its hidden states; `close` takes that back.
    """

    def __init__(self, model: Any) -> None:
        self._encoder = encoder_of(model)
        _, _, stack = stack_of(self._encoder)
        self.depth = len(stack)
        self._norm = final_norm(model)
        self._before = bool(getattr(self._encoder.config, "output_hidden_states", False))
        self._encoder.config.output_hidden_states = True

    def close(self) -> None:
        """Hidden states are handed out as before."""
        self._encoder.config.output_hidden_states = self._before

    def read(
        self, model: Any, features: Mapping[str, Any], output: Mapping[str, Any]
    ) -> list[Tensor]:
        """Embeddings (n, d) of layers 1 to depth, the last as the model itself has it.

        features: what the model was given; output: what it gave.
        """
        states = output["all_layer_embeddings"]
        if len(states) != self.depth + 1:
            raise UserError(
                f"an encoder of {self.depth} layers hands out as many states and one; got "
                f"{len(states)}; use another architecture."
            )
        found = [
            pooled(model, features, self._normed(states[layer])) for layer in range(1, self.depth)
        ]
        return [*found, output["sentence_embedding"]]

    def _normed(self, state: Tensor) -> Tensor:
        return state if self._norm is None else self._norm(state)


def encode_layers(
    model: Any,
    layers: Layers,
    texts: Sequence[str],
    wanted: Sequence[int],
    *,
    batch: int = 64,
    progress: Progress | None = None,
) -> dict[int, NDArray[np.float32]]:
    """{layer: embeddings (n, d)} of the texts at the wanted layers, in order, from one pass."""
    listener = progress or quiet()
    listener.start("encoding at every layer", len(texts))
    order = np.argsort([len(text) for text in texts], kind="stable")
    parts: dict[int, list[NDArray[np.float32]]] = {layer: [] for layer in wanted}
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(texts), batch):
            few = [texts[i] for i in order[start : start + batch]]
            features = {
                name: value.to(device) if isinstance(value, Tensor) else value
                for name, value in model.preprocess(few).items()
            }
            read = layers.read(model, features, model(dict(features)))
            for layer, kept in parts.items():
                kept.append(read[layer - 1].float().cpu().numpy())
            listener.advance(len(few))
    model.train(training)
    listener.finish()
    back = np.argsort(order)
    return {layer: np.concatenate(kept)[back] for layer, kept in parts.items()}


def pooled(model: Any, features: Mapping[str, Any], state: Tensor) -> Tensor:
    """The embedding (n, d) that the parts after the encoder make of hidden states (n, t, h)."""
    here: dict[str, Any] = {**features, "token_embeddings": state}
    here.pop("all_layer_embeddings", None)
    for part in list(model)[1:]:
        here = part(here)
    embedding: Tensor = here["sentence_embedding"]
    return embedding


def final_norm(model: Any) -> nn.Module | None:
    """The norm between an encoder's last layer and its output, None where there is none.

    Found by trying: what turns the last layer's output into the encoder's is it. Raises UserError
    where something else stands between the two, since a model cut earlier would lack it.
    """
    encoder = encoder_of(model)
    parent, _, stack = stack_of(encoder)
    raw: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Any) -> None:
        raw.append(output[0] if isinstance(output, tuple) else output)

    training = model.training
    model.eval()
    handle = stack[-1].register_forward_hook(keep)
    try:
        with torch.no_grad():
            features = _probe(model)
            wanted = model[0](features)["token_embeddings"]
            if torch.allclose(raw[0].reshape(wanted.shape), wanted, atol=1e-5):
                return None
            inside = set(stack.modules())
            for holder in dict.fromkeys((parent, encoder)):
                for child in holder.children():
                    if child not in inside and _turns(child, raw[0], wanted):
                        norm: nn.Module = child
                        return norm
    finally:
        handle.remove()
        model.train(training)
    raise UserError(
        f"between the last layer of {type(encoder).__name__} and its output stands more than one "
        "norm, so its earlier layers cannot be read alike; use another architecture."
    )


def keep_layers(model: Any, layers: int) -> None:
    """Cut a sentence-transformers model to its first layers, configuration included, in place.

    Raises UserError where it has fewer.
    """
    encoder = encoder_of(model)
    parent, name, stack = stack_of(encoder)
    depth = len(stack)
    if not 1 <= layers <= depth:
        raise UserError(f"the model has {depth} layers; got {layers}; keep 1 to {depth}.")
    setattr(parent, name, nn.ModuleList(list(stack)[:layers]))
    config = encoder.config
    for key, value in list(config.to_dict().items()):
        # what is said of each layer, such as its kind of attention
        if isinstance(value, (list, tuple)) and len(value) == depth and key != "nestvec":
            setattr(config, key, value[:layers])
    config.num_hidden_layers = layers


def keep_dims(model: Any, dims: int) -> None:
    """Cut a model's embeddings to their first dims, in place, by parts that any library reads.

    A selection of coordinates is put before a final normalization, so that what the model gives
    has unit length where it had it before. Raises UserError where the model is not that wide.
    """
    dim = int(model.get_embedding_dimension())
    if not 1 <= dims <= dim:
        raise UserError(f"the model has {dim} dimensions; got {dims}; keep 1 to {dim}.")
    if dims == dim:
        return
    add_matrix(model, torch.eye(dims, dim))


def _turns(norm: nn.Module, raw: Tensor, wanted: Tensor) -> bool:
    try:
        turned = norm(raw)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
        return False
    if not isinstance(turned, Tensor) or turned.numel() != wanted.numel():
        return False
    return torch.allclose(turned.reshape(wanted.shape), wanted, atol=1e-4)


def _probe(model: Any) -> dict[str, Any]:
    device = next(model.parameters()).device
    features = model.preprocess([_PROBE])
    return {
        name: value.to(device) if isinstance(value, Tensor) else value
        for name, value in features.items()
    }
