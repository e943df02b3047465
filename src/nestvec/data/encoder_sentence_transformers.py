"""Vectors from a sentence-transformers model: the one file that imports it, torch with it."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.data.agreement import TOP, compare_rankings
from nestvec.data.encoder import EncodedBlock, Metric, TextKind, no_images
from nestvec.data.model_files import ModelFiles
from nestvec.data.tokens import batches_of, pad, tokenize
from nestvec.errors import MissingExtra, UserError

try:
    import sentence_transformers
    import torch
    import transformers

    from nestvec.data.encoder_device import choose_device, computes_bfloat16
except ImportError:
    raise MissingExtra("encoding texts with a model", "text") from None

# Tokens of one batch, padding included. More fall out of a core's cache: on one core all-MiniLM in
# bfloat16 takes 7 % more time for long texts and 13 % for short ones at twice as many, 24 % and
# 97 % at eight times as many. A GPU wants to be filled.
_CPU_BATCH_TOKENS = 2048  # for each thread
_GPU_BATCH_TOKENS = 65536
# Images of one batch. A ViT-B/16 at 224 pixels makes 197 tokens of each.
_CPU_BATCH_IMAGES = 16
_GPU_BATCH_IMAGES = 256

# What bfloat16 must keep on a sample of the user's own texts.
SAMPLE_ROWS = 200
LEAST_COSINE = 0.999
LEAST_AGREEMENT = 0.95

_METRICS: dict[str, Metric] = {"cosine": "cosine", "dot": "dot", "euclidean": "l2"}
# Families whose cards put a layer norm without weights before the cut to fewer dimensions.
_LAYER_NORM_FIRST = ("nomic-embed-text-v1.5", "nomic-embed-vision-v1.5")
_LAYER_NORM_EPS = 1e-5
# Families whose texts are always padded to the longest (Zhai et al. 2023, arXiv:2303.15343, and
# their cards): padded less, a text's vector would depend on its neighbours in a batch.
_PADDED_FAMILIES = ("siglip", "siglip2")
_PROBE_PIXELS = 64
_LONGEST = 10**9
_PROBES = ["A short text.", "A second one, somewhat longer, with NUMBERS 123 and, commas."]


def load_sentence_transformer(
    files: ModelFiles,
    *,
    query_prompt: str | None,
    document_prompt: str | None,
    width: int | None,
    layer_norm: bool | None,
    trust_remote_code: bool,
    device: str,
) -> SentenceTransformerEncoder:
    """Loads a found model; arguments as in load_encoder.

    Raises UserError where its files cannot be loaded or it compares vectors in a way we have not.
    """
    where = choose_device(device)
    model = _load(files, where, trust_remote_code)
    own = dict(model.prompts or {})
    fallback = own.get(model.default_prompt_name or "", "")
    if query_prompt is None:
        query_prompt = own.get("query") or fallback
    if document_prompt is None:
        document_prompt = own.get("document") or own.get("passage") or fallback
    if layer_norm is None:
        layer_norm = any(family in files.name for family in _LAYER_NORM_FIRST)
    return SentenceTransformerEncoder(
        model,
        files,
        where,
        {"query": query_prompt, "document": document_prompt},
        width if width is not None else model.truncate_dim,
        layer_norm,
        trust_remote_code,
    )


class SentenceTransformerEncoder:
    """One model with its prompts, device and number format; see Encoder for the methods.

    Made by load_sentence_transformer. Memory: the weights (twice while they are read again, if
    bfloat16 is given up), the tokens of the texts of one call, and the activations of one batch of
    at most _CPU_BATCH_TOKENS tokens a thread (or one longer text).
    """

    def __init__(
        self,
        model: Any,
        files: ModelFiles,
        device: str,
        prompts: dict[TextKind, str],
        width: int | None,
        layer_norm: bool,
        trust_remote_code: bool,
    ) -> None:
        self._model = model
        self._files = files
        self._device = device
        self._prompts = prompts
        self._layer_norm = layer_norm
        self._trust_remote_code = trust_remote_code
        self._half = False
        self._settled: dict[str, object] | None = None
        self._metric = _metric_of(model)
        self._reads = tuple(getattr(model, "modalities", ("text",)))
        if "text" not in self._reads and "image" not in self._reads:
            raise UserError(
                f"the model {files.name} reads {', '.join(map(str, self._reads))}, and texts or "
                "images are wanted: name another one."
            )
        model.truncate_dim = None  # the cut is ours, after the layer norm
        full = _full_width(model, self.reads_texts)
        if width is not None and width > full:
            raise UserError(
                f"the model gives {full} dimensions at most; got {width}: ask for fewer."
            )
        self._width = None if width == full else width
        self._dim = self._width or full
        plain = self._reads == ("text",) and _has_plain_tokenizer(model)
        self._own_loop = plain and self._loop_agrees()

    @property
    def name(self) -> str:
        """The name or path that the model was asked for by."""
        return self._files.name

    @property
    def revision(self) -> str:
        """Commit of the hub, or hash of the weights."""
        return self._files.revision

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self._dim

    @property
    def metric(self) -> Metric:
        """The model's own similarity function."""
        return self._metric

    @property
    def max_tokens(self) -> int | None:
        """The model's longest sequence, special tokens included."""
        longest = self._model.max_seq_length
        # tokenizers that were saved without a length say 10^30
        return None if longest is None or longest > _LONGEST else int(longest)

    @property
    def reads_texts(self) -> bool:
        """Whether the model has a text tower."""
        return "text" in self._reads

    @property
    def reads_images(self) -> bool:
        """Whether the model has an image tower."""
        return "image" in self._reads

    def prepare(self, sample: list[str]) -> None:
        """Settles on bfloat16 where the machine computes it and it ranks the sample alike.

        sample: documents; up to SAMPLE_ROWS are used. Alike: every cosine to the float32 vector at
        least LEAST_COSINE, and LEAST_AGREEMENT of the ten nearest within the sample the same.
        Fewer than 20 texts prove nothing and leave float32. The findings go into describe(). Costs
        one encoding of the sample in each format.
        """
        if self._settled is not None:
            return
        texts = sample[:SAMPLE_ROWS]
        usable = computes_bfloat16(self._device) and self._own_loop and len(texts) >= 2 * TOP
        if not usable:
            self._settled = {"number_format": "float32"}
            return
        exact = self.encode(texts, "document")
        self._model[0].to(torch.bfloat16)
        self._half = True
        cosine, agreement = compare_rankings(exact, self.encode(texts, "document"))
        self._settled = {
            "number_format": "bfloat16",
            "sample": len(texts),
            "least_cosine": round(cosine, 5),
            "top10_agreement": round(agreement, 4),
        }
        if cosine < LEAST_COSINE or agreement < LEAST_AGREEMENT:
            # the weights have lost their low bits, so they are read again
            self._half = False
            self._model = _load(self._files, self._device, self._trust_remote_code)
            self._model.truncate_dim = None
            self._settled["number_format"] = "float32"

    def encode(self, texts: list[str], kind: TextKind) -> NDArray[np.float32]:
        """(n, d) float32 vectors in the order of the texts."""
        return self.encode_block(texts, kind).vectors

    def encode_block(self, texts: list[str], kind: TextKind) -> EncodedBlock:
        """As encode; truncated counts the texts that were longer than max_tokens.

        Raises UserError where the model reads images alone.
        """
        if not self.reads_texts:
            raise UserError(
                f"the model {self.name} reads images alone, and has no tower for texts: ask it by "
                "images, or take a model that reads both."
            )
        if not texts:
            return EncodedBlock(np.empty((0, self._dim), np.float32), 0)
        with _quiet_libraries(), torch.inference_mode():
            if self._own_loop:
                found, truncated = self._encode_sorted(texts, self._prompts[kind])
            else:
                found, truncated = self._encode_plain(texts, kind), None
        found = self._shape(found)
        broken = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(broken):
            raise UserError(
                f"the model {self.name} gave a vector that is not finite for the text "
                f"{texts[broken[0]][:60]!r}: use another model, or mend the text."
            )
        return EncodedBlock(found, truncated)

    def encode_images(self, pictures: Sequence[Any]) -> NDArray[np.float32]:
        """(n, d) float32 vectors of pictures in RGB, in their order, without a prompt.

        Raises UserError where the model reads texts alone, and for vectors that are not finite.
        """
        if not self.reads_images:
            raise no_images(self.name)
        if not pictures:
            return np.empty((0, self._dim), np.float32)
        size = _CPU_BATCH_IMAGES if self._device == "cpu" else _GPU_BATCH_IMAGES
        with _quiet_libraries(), torch.inference_mode():
            found = self._model.encode(
                list(pictures), prompt="", batch_size=size, show_progress_bar=False
            )
        vectors = self._shape(np.asarray(found, np.float32))
        if not np.isfinite(vectors).all():
            raise UserError(
                f"the model {self.name} gave a vector that is not finite for an image: use another "
                "model."
            )
        return vectors

    def count_tokens(self, texts: list[str], kind: TextKind) -> list[int]:
        """Tokens that the model reads of each text, prompt and special ones among them."""
        prompted = [self._prompts[kind] + text for text in texts]
        return [
            len(each.ids) for each in tokenize(self._model.tokenizer, prompted, self.max_tokens)
        ]

    def describe(self) -> dict[str, object]:
        """Name, revision, width, metric, prompts, number format and versions, as JSON values."""
        return {
            "kind": "sentence-transformers",
            "name": self.name,
            "revision": self.revision,
            "dim": self._dim,
            "metric": self._metric,
            "max_tokens": self.max_tokens,
            "query_prompt": self._prompts["query"],
            "document_prompt": self._prompts["document"],
            "width": self._width,
            "layer_norm": self._layer_norm,
            "trust_remote_code": self._trust_remote_code,
            "reads": [str(each) for each in self._reads],
            "device": self._device,
            **(self._settled or {"number_format": "float32"}),
            "versions": {
                "sentence-transformers": sentence_transformers.__version__,
                "transformers": transformers.__version__,
                "torch": str(torch.__version__),
            },
        }

    def _encode_plain(self, texts: list[str], kind: TextKind) -> NDArray[np.float32]:
        """By the library's own loop: for models whose first step is no plain transformer."""
        options = {"prompt": self._prompts[kind], "show_progress_bar": False}
        method = self._model.encode_query if kind == "query" else self._model.encode_document
        return np.asarray(method(texts, **options), dtype=np.float32)

    def _encode_sorted(self, texts: list[str], prompt: str) -> tuple[NDArray[np.float32], int]:
        """By our own loop: every text tokenized once, longest first, batches of equal work."""
        tokenizer = self._model.tokenizer
        prompted = [prompt + text for text in texts] if prompt else texts
        tokenized = tokenize(tokenizer, prompted, self.max_tokens)
        lengths = np.array([len(tokens.ids) for tokens in tokenized])
        order = np.argsort(-lengths, kind="stable")
        on_cpu = self._device == "cpu"
        budget = _CPU_BATCH_TOKENS * torch.get_num_threads() if on_cpu else _GPU_BATCH_TOKENS
        out: NDArray[np.float32] | None = None
        for chosen in batches_of(order, lengths, budget):
            features = pad(tokenizer, [tokenized[row] for row in chosen])
            vectors = self._forward(features)
            if out is None:
                out = np.empty((len(texts), vectors.shape[1]), np.float32)
            out[chosen] = vectors
        assert out is not None
        return out, sum(tokens.cut for tokens in tokenized)

    def _forward(self, features: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        state = {
            name: torch.from_numpy(values).to(self._device) for name, values in features.items()
        }
        steps = list(self._model)
        state = steps[0](state)
        # pooling and normalizing in bfloat16 would cost three digits for no speed
        for name, values in state.items():
            if isinstance(values, torch.Tensor) and values.dtype == torch.bfloat16:
                state[name] = values.float()
        for step in steps[1:]:
            state = step(state)
        vectors: NDArray[np.float32] = state["sentence_embedding"].float().cpu().numpy()
        return vectors

    def _shape(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Layer norm, cut and length 1, in this order, as far as asked for."""
        if self._layer_norm:
            mean = vectors.mean(axis=1, keepdims=True)
            spread = np.sqrt(vectors.var(axis=1, keepdims=True) + _LAYER_NORM_EPS)
            vectors = (vectors - mean) / spread
        if self._width is not None:
            vectors = vectors[:, : self._width]
        if self._layer_norm or (self._width is not None and self._metric == "cosine"):
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
        return np.ascontiguousarray(vectors, dtype=np.float32)

    def _loop_agrees(self) -> bool:
        """Whether our loop gives what the library's gives, prompts included, on two texts."""
        with _quiet_libraries(), torch.inference_mode():
            for kind in ("query", "document"):
                ours, _ = self._encode_sorted(_PROBES, self._prompts[kind])
                theirs = self._encode_plain(_PROBES, kind)
                if ours.shape != theirs.shape or not np.allclose(ours, theirs, atol=1e-4):
                    return False
        return True


def _load(files: ModelFiles, device: str, trust_remote_code: bool) -> Any:
    options: dict[str, Any] = {"device": device, "trust_remote_code": trust_remote_code}
    if files.downloads:
        options["revision"] = files.revision or None
    else:
        options["local_files_only"] = True
    with _quiet_libraries():
        try:
            model = sentence_transformers.SentenceTransformer(
                files.location, model_kwargs={"dtype": torch.float32}, **options
            )
        # the libraries below raise whatever they met: OSError, KeyError, RuntimeError and more
        except Exception as error:
            lines = str(error).strip().splitlines()
            reason = lines[0].rstrip(".") if lines else type(error).__name__
            remedy = "check that its files are whole and its kind is known to sentence-transformers"
            if "trust_remote_code" in str(error):
                remedy = "it brings its own code, which runs only with --trust-remote-code"
            raise UserError(
                f"model {files.name!r} cannot be loaded ({reason}): {remedy}."
            ) from None
    model.eval()
    _bound_texts(model)
    return model


def _bound_texts(model: Any) -> None:
    """Cut texts where the model's places end, if its tokenizer was saved without a length.

    And pad them to there where the model was trained so, and takes its vector from the last place.
    """
    config = getattr(getattr(model[0], "auto_model", None), "config", None)
    places = getattr(getattr(config, "text_config", config), "max_position_embeddings", None)
    longest = model.max_seq_length
    if longest is not None and longest > _LONGEST and isinstance(places, int):
        model.max_seq_length = places
    if getattr(config, "model_type", "") in _PADDED_FAMILIES and model.max_seq_length:
        own = getattr(model[0], "processing_kwargs", None)
        if own is not None and "padding" not in own.get("text", {}):
            padded = {"padding": "max_length", "max_length": int(model.max_seq_length)}
            own["text"] = {**padded, **own.get("text", {})}


def _full_width(model: Any, of_text: bool) -> int:
    """The width of an uncut vector; measured, since not every model knows its own."""
    probe: list[Any] = _PROBES[:1]
    if not of_text:
        # an array of bytes, height by width by colours, is an image to every processor
        probe = [np.zeros((_PROBE_PIXELS, _PROBE_PIXELS, 3), np.uint8)]
    with _quiet_libraries():
        return int(np.asarray(model.encode(probe, show_progress_bar=False)).shape[1])


def _metric_of(model: Any) -> Metric:
    named = str(model.similarity_fn_name or "cosine")
    if named not in _METRICS:
        raise UserError(
            f"the model compares vectors by {named}, which is not supported: "
            f"use one that compares by {', '.join(_METRICS)}."
        )
    return _METRICS[named]


def _has_plain_tokenizer(model: Any) -> bool:
    tokenizer = getattr(model, "tokenizer", None)
    names = set(getattr(tokenizer, "model_input_names", ()))
    return (
        isinstance(tokenizer, transformers.PreTrainedTokenizerFast)
        and tokenizer.pad_token_id is not None
        and names <= {"input_ids", "attention_mask", "token_type_ids"}
        and type(model[0]).__name__ == "Transformer"
    )


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keeps the libraries' own remarks off the user's terminal; errors still come through.

    The hub's progress bars over downloads stay, those of transformers over loading do not.
    """
    names = ("sentence_transformers", "transformers", "huggingface_hub")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    bars = transformers.utils.logging.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        # the switch of transformers turns those of the hub with it, so only its own flag is set
        transformers.utils.logging._tqdm_active = False
        try:
            yield
        finally:
            transformers.utils.logging._tqdm_active = bars
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
