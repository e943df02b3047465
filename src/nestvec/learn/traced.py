"""A sentence encoder as one function of tokens, and its graph in ONNX."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nestvec.adapters.adapter import Adapter
from nestvec.data.model_files import ModelFiles
from nestvec.errors import UserError
from nestvec.learn.adapters.export import affine_layers
from nestvec.learn.sentence_model import load_model, quiet_libraries

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "vectors"

_TRACED = (2, 7)  # texts and tokens of the example; neither 0 nor 1, which a trace takes for fixed


class OneGraph(nn.Module):
    """Tokens (n, m) int64 and their mask (n, m) int64 to vectors (n, w) float32.

    A sentence-transformers model, whose weights are shared, then what an encoder and a collection
    do behind it, in this order: a layer norm without weights, the cut to `width` coordinates,
    length 1, the adapter (which is for vectors of length 1, and gives such). Token types are 0.
    """

    def __init__(
        self,
        model: Any,
        *,
        layer_norm: bool,
        width: int | None,
        unit: bool,
        adapter: Adapter | None,
    ) -> None:
        super().__init__()
        self.steps = nn.ModuleList(model.children())
        self.typed = "token_type_ids" in model.tokenizer.model_input_names
        self.layer_norm = layer_norm
        self.width = width
        self.unit = unit or adapter is not None
        layers: list[nn.Module] = []
        if adapter is not None:
            for weight, bias in affine_layers(adapter.stages[0].maps, adapter.dim):
                layers += [_linear(weight, bias), nn.ReLU()]
            layers.pop()
        self.adapter = nn.Sequential(*layers)
        self.float().eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The vectors; see the class."""
        state = dict(zip(INPUTS, (input_ids, attention_mask), strict=True))
        if self.typed:
            state["token_type_ids"] = torch.zeros_like(input_ids)
        for step in self.steps:
            state = step(state)
        vectors = state["sentence_embedding"]
        if self.layer_norm:
            vectors = functional.layer_norm(vectors, vectors.shape[-1:])
        if self.width is not None:
            vectors = vectors[:, : self.width]
        if self.unit:
            vectors = functional.normalize(vectors, dim=1)
        if len(self.adapter):
            vectors = functional.normalize(self.adapter(vectors), dim=1)
        return vectors


def load_whole(files: ModelFiles, *, remote_code: bool) -> Any:
    """The sentence-transformers model of found files. Raises UserError where it cannot be had."""
    with quiet_libraries():
        return load_model(files.name, files.location, max_tokens=None, remote_code=remote_code)


def run_tokens(graph: OneGraph, ids: I64, mask: I64) -> F32:
    """What torch makes of tokens (n, m): (n, w) float32."""
    with torch.inference_mode():
        found: F32 = graph(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    return found


def write_graph(graph: OneGraph, out: Path, longest: int | None, facts: dict[str, str]) -> None:
    """Trace the function and write it as one ONNX file, for any number of texts and tokens.

    longest: tokens of a text at most, None where unbounded. facts: kept in the file's metadata.
    Raises UserError where the model does things that have no form in ONNX.
    """
    texts, tokens = _TRACED
    tokens = tokens if longest is None else min(tokens, longest)
    ids = torch.ones((texts, tokens), dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, tokens // 2 + 1 :] = 0
    shape = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens", max=longest)}
    with _quiet_tracing(), torch.no_grad():
        try:
            program = torch.onnx.export(
                graph,
                (ids, mask),
                input_names=list(INPUTS),
                output_names=[OUTPUT],
                dynamic_shapes=dict.fromkeys(INPUTS, shape),
                dynamo=True,
                verbose=False,
            )
            assert program is not None
            program.model.metadata_props.update(facts)
            program.save(str(out), external_data=False)
        # what a trace stumbles over comes as almost anything
        except Exception as error:
            said = " ".join(str(error.__cause__ or error).split())
            raise UserError(
                "a model becomes ONNX where its steps can be traced, and this one's cannot "
                f"({type(error.__cause__ or error).__name__}: {said[:200]}): serve it with "
                "nestvec serve, or name another model."
            ) from None


def graph_bytes(graph: OneGraph) -> int:
    """Bytes of all weights."""
    return sum(each.numel() * each.element_size() for each in graph.parameters())


def _linear(weight: NDArray[np.float64], bias: NDArray[np.float64]) -> nn.Linear:
    wide, narrow = weight.shape
    layer = nn.Linear(wide, narrow)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.T))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


@contextmanager
def _quiet_tracing() -> Iterator[None]:
    """Keeps the tracer's remarks off the terminal; errors still come through."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(), quiet_libraries():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
