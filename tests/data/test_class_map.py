"""Class maps of JSON and tables, and their faults."""

import pytest

from nestvec.data.class_map import mapped, read_class_map
from nestvec.errors import UserError


def test_maps_of_json_and_tables_are_alike(tmp_path):
    wanted = {"n01": "fish", "7": "bird"}
    (tmp_path / "a.json").write_text('{"n01": "fish", "7": "bird"}')
    (tmp_path / "a.csv").write_text("class,group\nn01,fish\n7,bird\n")
    for name in ("a.json", "a.csv"):
        assert read_class_map(tmp_path / name) == wanted
    assert mapped(["7", "n01", "7"], wanted, "a.json") == ["bird", "fish", "bird"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "[1]", "is something else"),
        ("a.json", "{", "cannot be read as JSON"),
        ("a.csv", "class,group\nn01,\n", "has two columns"),
        ("a.dat", "x", "a class map is a .json"),
        ("none.json", None, "is not. Name one"),
    ],
)
def test_faults_are_named(tmp_path, name, text, words):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=words):
        read_class_map(tmp_path / name)
    with pytest.raises(UserError, match=r"has none for 'c' \(1 classes\)"):
        mapped(["a", "c"], {"a": "b"}, "m.json")
