"""The encoder for mteb: what mteb finds with it is what our own scores and measures find."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nestvec.codec.nested import Codec
from nestvec.data.encoder import EncodedBlock, TextKind
from nestvec.errors import UserError
from nestvec.measure.metrics import Measure, Relevance, ranks_of_relevant

pytest.importorskip("mteb")
scipy_stats = pytest.importorskip("scipy.stats")
# the libraries take longer to import than all default tests of this room
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

WORDS = ("river", "bread", "chess", "star", "train", "seed", "lamp", "violin", "glass", "horse")
DIM = 24


class Bags:
    """Random vectors of words, added up; queries and documents in two prompts' words."""

    name, revision, dim, max_tokens = "some/bags", "1", DIM, None

    def __init__(self, metric: Any = "cosine") -> None:
        self.metric = metric
        rng = np.random.default_rng(0)
        self.words = {word: rng.standard_normal(DIM) for word in (*WORDS, "asked")}

    def prepare(self, sample: list[str]) -> None: ...

    def encode(self, texts: list[str], kind: TextKind) -> NDArray[np.float32]:
        found = [sum(self.words[word] for word in text.split()) for text in texts]
        vectors = np.array(found) + (0.3 * self.words["asked"] if kind == "query" else 0)
        if self.metric == "cosine":
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32)

    def encode_block(self, texts: list[str], kind: TextKind) -> EncodedBlock:
        return EncodedBlock(self.encode(texts, kind), None)

    def describe(self) -> dict[str, object]:
        return {}


def sentences(count: int, seed: int) -> list[str]:
    """No two of the same words, so that no two scores tie."""
    rng = np.random.default_rng(seed)
    found: dict[str, str] = {}
    while len(found) < count:
        words = rng.choice(WORDS, 6)
        found.setdefault(" ".join(sorted(words)), " ".join(words))
    return list(found.values())


DOCUMENTS = sentences(300, 0)
QUERIES = [" ".join(text.split()[:5]) for text in DOCUMENTS[:40]]


@pytest.fixture(scope="module")
def mteb() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mteb
    return mteb


@pytest.fixture(scope="module")
def tasks(mteb: ModuleType) -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2]))
        from studies import mteb_tasks

        yield mteb_tasks
    for name in [name for name in sys.modules if name.split(".")[0] == "studies"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def bridge(mteb: ModuleType) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nestvec.bridge import mteb as found
    return found


@pytest.fixture(scope="module")
def retrieval(tasks: ModuleType) -> Any:
    return tasks.retrieval(
        "Words",
        [{"id": f"d{i}", "title": "", "text": text} for i, text in enumerate(DOCUMENTS)],
        [{"id": f"q{i}", "text": text} for i, text in enumerate(QUERIES)],
        {f"q{i}": {f"d{i}": 1} for i in range(len(QUERIES))},
    )


@pytest.fixture(scope="module")
def similarity(tasks: ModuleType) -> Any:
    one, other = sentences(200, 1), sentences(200, 2)
    shared = [len(set(a.split()) & set(b.split())) for a, b in zip(one, other, strict=True)]
    return tasks.similarity("Pairs", list(zip(one, other, map(float, shared), strict=True)))


@pytest.fixture(scope="module")
def classification(tasks: ModuleType) -> Any:
    def labelled(seed: int) -> list[tuple[str, int]]:
        return [
            (f"{3 * (WORDS[i % 5] + ' ')}{t}", i % 5) for i, t in enumerate(sentences(150, seed))
        ]

    return tasks.classification("Classes", labelled(3), labelled(4))


def value(mteb: ModuleType, encoder: Any, task: Any) -> float:
    result = mteb.evaluate(encoder, task, cache=None, show_progress_bar=False)
    return float(result.task_results[0].get_score())


def ndcg(scores: NDArray[Any]) -> float:
    relevance = Relevance.from_gains([{i: 1.0} for i in range(len(scores))])
    measure = Measure.parse("nDCG@10")
    return float(measure.values(ranks_of_relevant(scores, relevance), relevance).mean())


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_retrieval_is_what_our_own_scores_find(
    mteb: ModuleType, bridge: ModuleType, retrieval: Any, metric: Any
) -> None:
    bags = Bags(metric)
    base = bridge.NestvecEncoder(bags, spec="8xcb16")
    documents, queries = bags.encode(DOCUMENTS, "document"), bags.encode(QUERIES, "query")
    plain = queries @ documents.T
    if metric == "l2":
        plain = -((queries[:, None] - documents) ** 2).sum(axis=2)
    full = value(mteb, base, retrieval)
    assert full == pytest.approx(ndcg(plain), abs=2e-4)
    codec = Codec("8xcb16", metric=metric).fit(documents)
    codes = codec.encode(documents)
    facts = codec.facts(codes, documents)
    found = []
    for n in (2, 8):
        own = ndcg(codec.score(queries, codes[:, :n], n, facts if metric != "cosine" else None))
        found.append(value(mteb, base.at(n_bytes=n), retrieval))
        # norms are exact here, and in a byte there
        assert found[-1] == pytest.approx(own, abs=2e-3 if metric == "cosine" else 2e-2)
    assert found[0] < found[1] + 0.02


def test_widths_are_prefixes(mteb: ModuleType, bridge: ModuleType, retrieval: Any) -> None:
    bags = Bags()
    narrow = bridge.NestvecEncoder(bags, dims=6)
    documents = bags.encode(DOCUMENTS, "document")[:, :6]
    queries = bags.encode(QUERIES, "query")[:, :6]
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    assert value(mteb, narrow, retrieval) == pytest.approx(ndcg(queries @ documents.T), abs=2e-4)
    assert narrow.at(dims=DIM).mteb_model_meta.embed_dim == DIM


def test_both_sides_of_pairs_are_decoded(
    mteb: ModuleType, bridge: ModuleType, similarity: Any
) -> None:
    bags = Bags()
    base = bridge.NestvecEncoder(bags, spec="6xcb16")
    rows = similarity.dataset["test"]
    one, other = (bags.encode(list(rows[name]), "document") for name in ("sentence1", "sentence2"))
    codec = Codec("6xcb16").fit(one)

    def decoded(vectors: NDArray[Any], n: int) -> NDArray[Any]:
        found = codec.decode(codec.encode(vectors), n)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    wanted = scipy_stats.spearmanr((decoded(one, 4) * decoded(other, 4)).sum(axis=1), rows["score"])
    assert value(mteb, base.at(n_bytes=4), similarity) == pytest.approx(wanted[0], abs=1e-4)
    plain = scipy_stats.spearmanr((one * other).sum(axis=1), rows["score"])
    assert value(mteb, base, similarity) == pytest.approx(plain[0], abs=1e-4)


def test_classes_are_told_from_codes(
    mteb: ModuleType, bridge: ModuleType, classification: Any
) -> None:
    base = bridge.NestvecEncoder(Bags(), spec="8xcb16")
    full, eight, one = (
        value(mteb, each, classification) for each in (base, base.at(n_bytes=8), base.at(n_bytes=1))
    )
    assert full > 0.5
    assert one < eight <= full + 0.1
    # a codec fitted elsewhere may be given; float16 loses nothing
    fitted = Codec("float16").fit(Bags().encode(DOCUMENTS, "document"))
    same = bridge.NestvecEncoder(Bags(), codec=fitted, n_bytes=fitted.bytes)
    assert value(mteb, same, classification) == pytest.approx(full, abs=0.02)


def test_each_cut_has_results_of_its_own(
    mteb: ModuleType, bridge: ModuleType, similarity: Any, tmp_path: Path
) -> None:
    cache = mteb.ResultCache(cache_path=tmp_path)
    base = bridge.NestvecEncoder(Bags(), spec="6xcb16")
    cuts = (base, base.at(dims=6), base.at(n_bytes=2), base.at(n_bytes=4))
    for encoder in cuts:
        mteb.evaluate(encoder, similarity, cache=cache, show_progress_bar=False)
    assert len(list(tmp_path.rglob("Pairs.json"))) == 4
    told = cuts[2].mteb_model_meta
    assert (told.name, told.revision, told.embed_dim) == ("some/bags", "1", DIM)
    assert told.experiment_kwargs["n_bytes"] == 2
    assert told.experiment_kwargs["fitted_on"] == "each task's own texts"


def test_a_model_by_name_cut_to_its_first_layer(
    mteb: ModuleType,
    bridge: ModuleType,
    retrieval: Any,
    tmp_path: Path,
    save_text_model: Callable[..., Path],
) -> None:
    from nestvec.jobs.truncate import truncate

    model = save_text_model(tmp_path, WORDS)
    truncate(str(model), tmp_path / "first", layers=1)
    first = bridge.NestvecEncoder(str(tmp_path / "first"), device="cpu")
    cut = bridge.NestvecEncoder(str(model), layers=1, device="cpu", dims=8)
    assert cut.mteb_model_meta.experiment_kwargs == {"dims": 8, "layers": 1}
    assert cut.mteb_model_meta.name == "nestvec/model"
    np.testing.assert_allclose(
        cut.at().model.encode(WORDS[:3], "document"),
        first.model.encode(WORDS[:3], "document"),
        atol=1e-6,
    )
    assert value(mteb, cut.at(n_bytes=4), retrieval) > 0


def test_what_cannot_be_is_refused(bridge: ModuleType) -> None:
    with pytest.raises(UserError, match="dims must be 1 to 24"):
        bridge.NestvecEncoder(Bags(), dims=25)
    with pytest.raises(UserError, match="at least 1"):
        bridge.NestvecEncoder(Bags(), n_bytes=0)
    with pytest.raises(UserError, match="by its name"):
        bridge.NestvecEncoder(Bags(), layers=1)
    fitted = Codec("float16").fit(Bags().encode(DOCUMENTS, "document"))
    with pytest.raises(UserError, match="takes 24 dims"):
        bridge.NestvecEncoder(Bags(), codec=fitted, dims=6)
