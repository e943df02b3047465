from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nestvec.errors import UserError
from nestvec.index.manifest import Manifest, parse_manifest, read_manifest, write_manifest

MANIFEST = Manifest(
    metric="cosine",
    dim=384,
    rows=12,
    spec="32xcb",
    plan="8B:100,raw:10",
    model="minilm",
    revision="abc",
    prompts={"query": "q: "},
    encoder={"max_tokens": 256},
    nesting="32,64",
    codec_file="c.safetensors",
    machine={"device": "cpu"},
)


def test_a_manifest_reads_back_as_itself(tmp_path: Path) -> None:
    assert read_manifest(tmp_path, write_manifest(MANIFEST, tmp_path)) == MANIFEST


def test_equal_manifests_have_equal_names(tmp_path: Path) -> None:
    name = write_manifest(MANIFEST, tmp_path)
    assert write_manifest(replace(MANIFEST), tmp_path) == name
    assert write_manifest(replace(MANIFEST, rows=13), tmp_path) != name


def test_an_unknown_format_version_names_the_writer() -> None:
    text = json.dumps({"format_version": 9, "created_with": "7.0", "else": 1})
    with pytest.raises(UserError, match=r"says 9\. Install the nestvec that wrote it \(7\.0\)"):
        parse_manifest(text, Path("m.json"))


@pytest.mark.parametrize("text", ["[]", "3", "{}"])
def test_json_that_is_no_manifest_is_told(text: str) -> None:
    with pytest.raises(UserError, match="says None"):
        parse_manifest(text, Path("m.json"))


def test_broken_json_and_missing_fields_are_told() -> None:
    with pytest.raises(UserError, match="is not"):
        parse_manifest("{", Path("m.json"))
    fields = json.loads(MANIFEST.to_json())
    del fields["metric"], fields["dim"]
    with pytest.raises(UserError, match="lacks dim, metric"):
        parse_manifest(json.dumps(fields), Path("m.json"))


def test_a_field_of_a_later_writer_is_passed_over() -> None:
    fields = json.loads(MANIFEST.to_json()) | {"later": 1}
    assert parse_manifest(json.dumps(fields), Path("m.json")) == MANIFEST
