from __future__ import annotations

from itertools import islice

import pytest

from nestvec.data.demo import demo_records


@pytest.fixture(scope="module")
def records() -> dict[str, dict[str, object]]:
    return dict(demo_records())


def test_there_are_thousands_with_names_titles_and_texts(
    records: dict[str, dict[str, object]],
) -> None:
    assert len(records) > 4000
    for name, record in records.items():
        assert record["id"] == name
        assert str(record["title"]).startswith(name)
        assert len(str(record["text"])) >= 25
        assert record["kind"] in ("module", "class", "function")
    texts = [record["text"] for record in records.values()]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    "name",
    [
        "builtins.sorted",
        "collections.Counter.most_common",
        "csv.DictReader",
        "csv.reader",
        "itertools.chain",
        "json.dumps",
        "os.listdir",
        "subprocess.run",
        "tempfile.TemporaryDirectory",
    ],
)
def test_well_known_names_are_there(records: dict[str, dict[str, object]], name: str) -> None:
    assert name in records


def test_titles_show_parameters_without_self(records: dict[str, dict[str, object]]) -> None:
    title = records["collections.Counter.most_common"]["title"]
    assert title == "collections.Counter.most_common(n=None)"


def test_private_names_and_tests_are_left_out(records: dict[str, dict[str, object]]) -> None:
    for name in records:
        parts = name.split(".")
        assert parts[0] not in ("test", "idlelib", "lib2to3")
        assert not any(part.startswith("_") for part in parts)


def test_the_order_is_always_the_same(records: dict[str, dict[str, object]]) -> None:
    again = [name for name, _ in islice(demo_records(), 500)]
    assert again == list(records)[:500]
