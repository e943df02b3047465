"""An encoder as one ONNX file: tokens in, vectors out; the one file that imports onnxruntime.

Pooling, normalisation, adapter and cut are inside. The file is kept only if onnxruntime gives what
torch gives, on random tokens and, with the tokenizer that is written beside it, on texts.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter
from nestvec.errors import MissingExtra, UserError
from nestvec.progress import Progress, quiet

if TYPE_CHECKING:
    from nestvec.data.encoder import Encoder
    from nestvec.learn.traced import OneGraph

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

FEATURE = "an ONNX file"
MOST_DIFFERENCE = 1e-4
"""Of a coordinate, in ratio to the vectors' length, between onnxruntime and torch."""
MOST_BYTES = 1_900_000_000
"""Of weights; a protobuf file ends at 2 GiB."""

# texts and tokens of the random inputs; the last is as long as the model reads, up to a bound
_SHAPES = ((1, 1), (2, 3), (3, 17), (5, 64))
_LONGEST_CHECKED = 512
_TEXTS = (
    "A short text.",
    "A second one, somewhat longer, with NUMBERS 123, commas, and ümläuts.",
    "?",
    "words and more words " * 400,
)


@dataclass(frozen=True)
class OnnxFile:
    """What was written.

    out: the ONNX file; tokenizer: the folder beside it. width: coordinates of a vector; metric:
    how they are compared. longest: tokens of a text at most, None where unbounded. query_prompt,
    document_prompt: what goes before texts. difference: the largest of a coordinate between
    onnxruntime and torch, in ratio to the vectors' length; inputs: random texts it was taken over.
    bytes: of the file.
    """

    out: str
    tokenizer: str
    model: str
    width: int
    metric: str
    longest: int | None
    query_prompt: str
    document_prompt: str
    adapted: bool
    difference: float
    inputs: int
    bytes: int

    def query(self) -> str:
        """The lines by which a stranger gets a question's vector, without nestvec or torch."""
        prompted = f"{self.query_prompt!r} + text" if self.query_prompt else "text"
        return (
            "import numpy as np\n"
            "import onnxruntime\n"
            "from tokenizers import Tokenizer\n"
            "\n"
            f'tokenizer = Tokenizer.from_file("{self.tokenizer}/tokenizer.json")\n'
            f'session = onnxruntime.InferenceSession("{self.out}")\n'
            'texts = ["a question"]\n'
            f"tokens = tokenizer.encode_batch([{prompted} for text in texts])\n"
            "ids = np.array([each.ids for each in tokens])\n"
            "mask = np.array([each.attention_mask for each in tokens])\n"
            'inputs = {"input_ids": ids, "attention_mask": mask}\n'
            f'vectors = session.run(["vectors"], inputs)[0]  # (texts, {self.width})\n'
        )


def tokenizer_place(out: Path) -> Path:
    """The folder of the tokenizer's files beside an ONNX file."""
    return out.with_suffix(".tokenizer")


def check_onnx(out: Path) -> None:
    """Raise UserError where the places are not free, MissingExtra without the extra 'onnx'."""
    require_onnxruntime()
    if out.suffix != ".onnx":
        raise UserError(f"an ONNX file ends in .onnx; got {out}: write {out.with_suffix('.onnx')}.")
    for place in (out, tokenizer_place(out)):
        if place.exists():
            raise UserError(f"{place} exists already: choose another name, or remove it first.")
    if not out.parent.is_dir():
        raise UserError(f"the folder {out.parent} is not there: make it first, or choose another.")


def require_onnxruntime() -> Any:
    """The module onnxruntime. Raises MissingExtra where it or what torch writes with is missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtra(FEATURE, "onnx") from error
    return onnxruntime


def write_onnx(
    encoder: Encoder,
    out: Path,
    *,
    adapter: Adapter | None = None,
    dims: int | None = None,
    progress: Progress | None = None,
) -> OnnxFile:
    """Write an encoder, with a collection's adapter and a cut, as one ONNX file.

    encoder: a loaded sentence-transformers model, on the CPU, in float32. adapter: what its
    vectors go through. dims: leading coordinates that are kept, of the adapter's output where
    there is one, at length 1 again where vectors are compared by cosine; None for all.
    The tokenizer's own files go into a folder beside it, cutting and padding set.
    Memory: the weights three times, and the graph.
    Raises UserError, and leaves nothing, where the model is behind an API, has no form in ONNX or
    over 1.9 GB of weights, gives something else there, or out is taken.
    """
    check_onnx(out)
    listener = progress or quiet()
    said = encoder.describe()
    if said.get("kind") != "sentence-transformers" or said.get("reads") != ["text"]:
        raise UserError(
            f"a sentence-transformers model that reads texts alone becomes ONNX; got "
            f"{encoder.name}: name a model of that kind."
        )
    width = _width(encoder, adapter, dims)
    from nestvec.data.model_files import find_model
    from nestvec.learn.traced import OneGraph, graph_bytes, load_whole

    listener.start(f"Loading {encoder.name}", None)
    files = find_model(encoder.name)
    model = load_whole(files, remote_code=bool(said["trust_remote_code"]))
    own_cut = said["width"] is not None or (adapter is None and width < encoder.dim)
    graph = OneGraph(
        model,
        layer_norm=bool(said["layer_norm"]),
        width=(encoder.dim if adapter is not None else width) if own_cut else None,
        unit=bool(said["layer_norm"]) or (own_cut and encoder.metric == "cosine"),
        adapter=None if adapter is None else adapter.cut(width),
    )
    listener.finish()
    if graph_bytes(graph) > MOST_BYTES:
        raise UserError(
            f"one ONNX file holds {MOST_BYTES / 1e9:g} GB of weights at most; {encoder.name} has "
            f"{graph_bytes(graph) / 1e9:.1f} GB: name a smaller model, or nestvec truncate it."
        )
    facts = {
        "nestvec.model": encoder.name,
        "nestvec.revision": encoder.revision,
        "nestvec.width": str(width),
        "nestvec.metric": "cosine" if adapter is not None else encoder.metric,
        "nestvec.max_tokens": str(encoder.max_tokens or ""),
        "nestvec.query_prompt": str(said["query_prompt"]),
        "nestvec.document_prompt": str(said["document_prompt"]),
        "nestvec.adapter": "" if adapter is None else adapter.method,
    }
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        difference, inputs = _write_checked(
            partial, graph, model, encoder, adapter, facts, listener
        )
        size = (partial / "graph").stat().st_size
        os.replace(partial / "tokenizer", tokenizer_place(out))
        os.replace(partial / "graph", out)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): choose another place.") from (
            error
        )
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return OnnxFile(
        out=str(out),
        tokenizer=str(tokenizer_place(out)),
        model=encoder.name,
        width=width,
        metric=facts["nestvec.metric"],
        longest=encoder.max_tokens,
        query_prompt=facts["nestvec.query_prompt"],
        document_prompt=facts["nestvec.document_prompt"],
        adapted=adapter is not None,
        difference=difference,
        inputs=inputs,
        bytes=size,
    )


def _width(encoder: Encoder, adapter: Adapter | None, dims: int | None) -> int:
    most = encoder.dim if adapter is None else adapter.width
    if adapter is not None and adapter.dim != encoder.dim:
        raise UserError(
            f"an adapter goes behind the model whose vectors it was trained on, of {adapter.dim} "
            f"dimensions; got {encoder.name} of {encoder.dim}: name that model."
        )
    if dims is not None and not 1 <= dims <= most:
        raise UserError(f"a cut keeps 1 to {most} dimensions of these vectors; got {dims}.")
    return most if dims is None else dims


def _write_checked(
    folder: Path,
    graph: OneGraph,
    model: Any,
    encoder: Encoder,
    adapter: Adapter | None,
    facts: dict[str, str],
    progress: Progress,
) -> tuple[float, int]:
    """Write graph and tokenizer into a folder: the largest difference, over so many texts."""
    from nestvec.learn.traced import write_graph

    onnxruntime = require_onnxruntime()
    progress.start("Tracing the model", None)
    write_graph(graph, folder / "graph", encoder.max_tokens, facts)
    progress.finish()
    tokenizer = _write_tokenizer(model.tokenizer, encoder.max_tokens, folder / "tokenizer")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(
        str(folder / "graph"), options, providers=["CPUExecutionProvider"]
    )
    progress.start("Comparing it with torch", None)
    random, inputs = _by_tokens(session, graph, model.tokenizer, encoder.max_tokens)
    texts = _by_texts(session, tokenizer, encoder, adapter, facts)
    progress.finish()
    difference = max(random, texts)
    # nan is no number that is small enough
    if not difference <= MOST_DIFFERENCE:
        where = "random tokens" if not random <= MOST_DIFFERENCE else "texts"
        raise UserError(
            "an ONNX file must give what its model gives, and that of "
            f"{encoder.name} is off by {difference:.2g} of a vector's length for {where}: the "
            "model has steps that a trace does not see; name another model."
        )
    return difference, inputs


def _write_tokenizer(tokenizer: Any, longest: int | None, folder: Path) -> Any:
    """Write the tokenizer's own files; its tokenizer.json cuts and pads. Gives what that reads as.

    Raises UserError where it has no such file.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or tokenizer.pad_token_id is None:
        raise UserError(
            "an ONNX file goes with a tokenizer.json that pads, and "
            f"{type(tokenizer).__name__} writes none: name a model with a fast tokenizer."
        )
    tokenizer.save_pretrained(str(folder))
    own = type(backend).from_str(backend.to_str())
    if longest is not None:
        own.enable_truncation(longest)
    own.enable_padding(
        direction=tokenizer.padding_side,
        pad_id=tokenizer.pad_token_id,
        pad_token=tokenizer.pad_token,
        pad_type_id=tokenizer.pad_token_type_id,
    )
    own.save(str(folder / "tokenizer.json"))
    return type(backend).from_file(str(folder / "tokenizer.json"))


def _by_tokens(
    session: Any, graph: OneGraph, tokenizer: Any, longest: int | None
) -> tuple[float, int]:
    """The largest difference over random tokens of several shapes, and how many texts they are."""
    from nestvec.learn.traced import run_tokens

    rng = np.random.default_rng(0)
    most = min(longest or _LONGEST_CHECKED, _LONGEST_CHECKED)
    shapes = [shape for shape in _SHAPES if shape[1] < most] + [(2, most)]
    known = np.setdiff1d(np.arange(len(tokenizer)), [tokenizer.pad_token_id])
    left = tokenizer.padding_side == "left"
    worst = 0.0
    for texts, tokens in shapes:
        ids = rng.choice(known, (texts, tokens)).astype(np.int64)
        kept = np.arange(tokens) < rng.integers(1, tokens + 1, texts)[:, None]
        kept[0] = True
        mask = (kept[:, ::-1] if left else kept).astype(np.int64)
        ids[mask == 0] = tokenizer.pad_token_id
        worst = max(worst, _apart(run_tokens(graph, ids, mask), _run(session, ids, mask)))
    return worst, sum(texts for texts, _ in shapes)


def _by_texts(
    session: Any, tokenizer: Any, encoder: Encoder, adapter: Adapter | None, facts: dict[str, str]
) -> float:
    """The largest difference from what the encoder makes of a few texts."""
    prompt = facts["nestvec.document_prompt"]
    tokens = tokenizer.encode_batch([prompt + text for text in _TEXTS])
    ids = np.array([each.ids for each in tokens], np.int64)
    mask = np.array([each.attention_mask for each in tokens], np.int64)
    wanted = encoder.encode(list(_TEXTS), "document")
    width = int(facts["nestvec.width"])
    if adapter is not None:
        wanted = adapter.transform(wanted, width)
    elif width < encoder.dim:
        wanted = wanted[:, :width]
        if encoder.metric == "cosine":
            wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    return _apart(wanted, _run(session, ids, mask))


def _run(session: Any, ids: I64, mask: I64) -> F32:
    found: F32 = session.run(["vectors"], {"input_ids": ids, "attention_mask": mask})[0]
    return found


def _apart(wanted: F32, found: F32) -> float:
    """The largest difference of a coordinate, in ratio to the vectors' mean length."""
    if wanted.shape != found.shape:
        return float("inf")
    return float(np.abs(wanted - found).max() / np.linalg.norm(wanted, axis=1).mean())
