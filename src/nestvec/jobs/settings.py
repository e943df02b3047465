"""Every default of every job, in one place; nothing here imports an array library.

The command line reads its defaults, and the Python functions theirs, from these records.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from nestvec.errors import UserError

Similarity = Literal["cosine", "dot", "l2"]

SIMILARITIES: tuple[Similarity, ...] = ("cosine", "dot", "l2")
DEMO_OUT = "demo.nv"


ADAPTERS = (
    "linear",
    "distilled",
    "coded",
    "smec",
    "matryoshka",
    "search",
    "mrl",
    "reflections",
    "per-width",
    "spectemp",
)
"""Methods of adapt, as learn/adapters/methods.py has them."""
NEED_PAIRS = ("coded", "search")

CASCADE_POLICIES = ("keep", "expected", "accuracy", "cost", "greedy")
CONFIDENCES = ("largest", "margin")
"""Policies of classify, as choose/thresholds.py has them."""
HEADS = ("separate", "tied")
COUNTED = ("sum", "last")


def check_seed(seed: int) -> None:
    """Raise UserError for a negative seed."""
    if seed < 0:
        raise UserError(f"a seed is a whole number from 0 up; got {seed}. Try 0.")


@dataclass(frozen=True)
class ReadSettings:
    """What of SRC is read, and how.

    text_column, vector_column: names of columns; None takes the usual ones.
    split: "paragraphs" makes one row a paragraph, "none" one a text.
    queries, qrels: paths; where None, those beside SRC. qrels may also be a split's name.
    demo: read the running Python's documentation strings instead of a SRC.
    kind: "texts", "images" or "vectors", where SRC holds more than one; None finds out.
    skip_broken: leave images out that cannot be read, instead of refusing them all.
    """

    text_column: str | None = None
    vector_column: str | None = None
    split: str = "none"
    queries: str | None = None
    qrels: str | None = None
    demo: bool = False
    kind: str | None = None
    skip_broken: bool = False


@dataclass(frozen=True)
class EmbedSettings(ReadSettings):
    """How texts or images become vectors.

    model: "minilm", a sentence-transformers name or folder, or a name the API knows; images need
    one that reads them, which minilm does not.
    query_prompt, doc_prompt: put before each text; None takes the model's own.
    api: the address of an OpenAI-compatible server; dimensions: what to ask it, or the model, for;
    any_dimensions: fewer than the model was trained for, too. device: "auto", or a torch device.
    """

    model: str = "minilm"
    query_prompt: str | None = None
    doc_prompt: str | None = None
    trust_remote_code: bool = False
    api: str | None = None
    dimensions: int | None = None
    any_dimensions: bool = False
    device: str = "auto"


@dataclass(frozen=True)
class EvaluateSettings(EmbedSettings):
    """What is measured.

    metric: the measure of quality, such as nDCG@10; None takes nDCG@10 for queries with
    judgements or made of titles, captions or classes, and R@10 for agreement with exact search.
    similarity: how vectors compare; None takes the model's own, and cosine for vectors.
    spec: the nested code, or "auto", which is a collection's own where that is fitted as a new one
    would be. sample_queries: most queries made from the texts
    themselves (titles, held-out rows); given queries are all used. seed: of every draw.
    """

    metric: str | None = None
    similarity: Similarity | None = None
    spec: str = "auto"
    sample_queries: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sample_queries < 4:
            raise UserError(
                f"sample_queries must be at least 4; got {self.sample_queries}. Try 1000."
            )
        if self.similarity is not None and self.similarity not in SIMILARITIES:
            raise UserError(
                f"similarity must be one of {', '.join(SIMILARITIES)}; got {self.similarity!r}."
            )
        check_seed(self.seed)


@dataclass(frozen=True)
class ChooseSettings(EvaluateSettings):
    """What is wished for.

    keep: share of the full vectors' quality to keep, in (0, 1].
    max_bytes: most bytes a vector, facts included; None sets no bound.
    """

    keep: float | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep is not None and not 0.0 < self.keep <= 1.0:
            raise UserError(
                f"keep must be a share above 0 and at most 1; got {self.keep:g}. Try 0.99."
            )
        if self.max_bytes is not None and self.max_bytes < 1:
            raise UserError(f"max_bytes must be at least 1; got {self.max_bytes}. Try 48.")


@dataclass(frozen=True)
class BuildSettings(ChooseSettings):
    """How a collection is built.

    store_vectors: keep the float16 vectors beside the codes. adapt: train an adapter and let the
    judge decide: one of ADAPTERS, or "auto"; None for none. pairs: a file of query, document and
    score to train it on, by default the train split beside SRC, else titles, else passages with
    their neighbours where texts are split. force: use the adapter though the judge refuses it.
    """

    store_vectors: bool = True
    adapt: str | None = None
    pairs: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adapt is None and (self.pairs is not None or self.force):
            raise UserError("pairs and force are of use with an adapter alone. Give --adapt auto.")
        if self.adapt not in (None, "auto", *ADAPTERS):
            raise UserError(
                f"an adapter is auto or one of {', '.join(ADAPTERS)}; got {self.adapt!r}."
            )


@dataclass(frozen=True)
class FitSettings:
    """How a codec is fitted on vectors alone. spec: "auto" for the best of a few by measurement."""

    spec: str = "32xcb"
    similarity: Similarity = "cosine"
    beam: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)


@dataclass(frozen=True)
class AdaptSettings:
    """How an adapter is trained on a file of vectors.

    method: one of ADAPTERS. pairs: a file of query id, document id and score; queries: a file of
    the queries' vectors, by default those in the vectors' file. widths: to be good at, by default
    powers of two below the vectors' own. model: the encoder that the vectors are of, to write both
    as one model folder, too. blend: draw the map of linear back towards SVD as far as held-out
    examples rank better by it. force: write it though the judge refuses.
    """

    method: str = "linear"
    pairs: str | None = None
    queries: str | None = None
    widths: tuple[int, ...] | None = None
    model: str | None = None
    epochs: int = 10
    batch: int = 1024
    learning_rate: float = 2e-3
    temperature: float = 0.03
    blend: bool = True
    force: bool = False
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.widths is not None and min(self.widths, default=0) < 1:
            raise UserError(f"widths are at least 1; got {self.widths}. Try 32,64,128.")
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1; got {getattr(self, name)}.")
        for name in ("learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be above 0; got {getattr(self, name)}.")


@dataclass(frozen=True)
class ClassifySettings:
    """How a classifier of every width and its cascade are fitted.

    labels: a file of them, one a line or .npy, for vectors; label_column, text_column,
    vector_column: of a table; None takes the usual ones. model: what makes the vectors of texts; a
    folder with class heads is used with them, and only thresholds are fitted; None is minilm.
    widths, head, epochs: of the heads to train; None takes powers of two from 16 and the vectors'
    own, a head a width, 15 passes and where rows are few as many as make 500 steps. held: share of
    each class that sets thresholds and is told of. policy, target, counted, calibrate, confidence:
    of the cascade, as Cascade has them. skip_broken: leave images out that cannot be read. images:
    the pictures that vectors are of, in their order, for the report's examples.
    """

    labels: str | None = None
    label_column: str | None = None
    text_column: str | None = None
    vector_column: str | None = None
    model: str | None = None
    doc_prompt: str | None = None
    trust_remote_code: bool = False
    api: str | None = None
    device: str = "auto"
    widths: tuple[int, ...] | None = None
    head: str | None = None
    epochs: int | None = None
    held: float = 0.2
    policy: str = "keep"
    target: float | None = None
    counted: str = "sum"
    calibrate: bool = False
    confidence: str = "largest"
    seed: int = 0
    skip_broken: bool = False
    images: str | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if not 0.0 < self.held < 1.0:
            raise UserError(f"a share held out is between 0 and 1; got {self.held:g}. Try 0.2.")
        if self.widths is not None and (len(self.widths) < 2 or min(self.widths) < 1):
            raise UserError(
                f"a cascade takes two widths or more, of at least 1; got {list(self.widths)}. Try "
                "16,64,256."
            )
        if self.epochs is not None and self.epochs < 1:
            raise UserError(f"epochs must be at least 1; got {self.epochs}.")
        for name, known in (
            ("policy", CASCADE_POLICIES),
            ("head", (None, *HEADS)),
            ("counted", COUNTED),
            ("confidence", CONFIDENCES),
        ):
            if getattr(self, name) not in known:
                listed = ", ".join(each for each in known if each)
                raise UserError(f"{name} is one of {listed}; got {getattr(self, name)!r}.")
        self._check_target()

    def _check_target(self) -> None:
        if self.policy == "greedy" and self.target is not None:
            raise UserError(f"greedy thresholds have no target; got {self.target:g}. Leave it out.")
        if self.policy == "cost" and (self.target is None or self.target <= 0):
            raise UserError(f"cost needs a target, in dimensions; got {self.target}. Try 64.")
        if self.policy == "expected" and self.target is not None and not 0 <= self.target < 1:
            raise UserError(
                f"the target of expected is at least 0 and below 1; got {self.target:g}. Try .005."
            )
        share = self.target is not None and not 0.0 < self.target <= 1.0
        if self.policy in ("keep", "accuracy") and share:
            raise UserError(
                f"the target of {self.policy} is above 0 and at most 1; got {self.target:g}."
            )

    @property
    def embedding(self) -> EmbedSettings:
        """How texts become vectors."""
        return EmbedSettings(
            model=self.model or default(EmbedSettings, "model"),
            doc_prompt=self.doc_prompt,
            trust_remote_code=self.trust_remote_code,
            api=self.api,
            device=self.device,
        )


class ReadOptions(TypedDict, total=False):
    """The fields of ReadSettings, as keyword arguments."""

    text_column: str | None
    vector_column: str | None
    split: str
    queries: str | None
    qrels: str | None
    demo: bool
    kind: str | None
    skip_broken: bool


class EmbedOptions(ReadOptions, total=False):
    """The fields of EmbedSettings, as keyword arguments."""

    model: str
    query_prompt: str | None
    doc_prompt: str | None
    trust_remote_code: bool
    api: str | None
    dimensions: int | None
    any_dimensions: bool
    device: str


class EvaluateOptions(EmbedOptions, total=False):
    """The fields of EvaluateSettings, as keyword arguments."""

    metric: str | None
    similarity: Similarity | None
    spec: str
    sample_queries: int
    seed: int


class ChooseOptions(EvaluateOptions, total=False):
    """The fields of ChooseSettings, as keyword arguments."""

    keep: float | None
    max_bytes: int | None


class BuildOptions(ChooseOptions, total=False):
    """The fields of BuildSettings, as keyword arguments."""

    store_vectors: bool
    adapt: str | None
    pairs: str | None
    force: bool


class FitOptions(TypedDict, total=False):
    """The fields of FitSettings, as keyword arguments."""

    spec: str
    similarity: Similarity
    beam: int
    seed: int


class AdaptOptions(TypedDict, total=False):
    """The fields of AdaptSettings, as keyword arguments."""

    method: str
    pairs: str | None
    queries: str | None
    widths: tuple[int, ...] | None
    model: str | None
    epochs: int
    batch: int
    learning_rate: float
    temperature: float
    force: bool
    device: str
    seed: int


class ClassifyOptions(TypedDict, total=False):
    """The fields of ClassifySettings, as keyword arguments."""

    labels: str | None
    label_column: str | None
    text_column: str | None
    vector_column: str | None
    model: str | None
    doc_prompt: str | None
    trust_remote_code: bool
    api: str | None
    device: str
    widths: tuple[int, ...] | None
    head: str | None
    epochs: int | None
    held: float
    policy: str
    target: float | None
    counted: str
    calibrate: bool
    seed: int
    skip_broken: bool
    images: str | None


def default(settings: type, name: str) -> Any:
    """The default of one field of a settings record."""
    for field in dataclasses.fields(settings):
        if field.name == name:
            return field.default
    raise AttributeError(f"{settings.__name__} has no field {name!r}")
