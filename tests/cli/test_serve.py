"""What nestvec serve refuses before it listens."""

import socket

import pytest
from click.testing import CliRunner

from nestvec.cli.main import main

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")


@pytest.fixture
def refused(monkeypatch):
    """refused(arguments...) is the sentence that the command ends with."""
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # set by the command otherwise, and left behind
    monkeypatch.delenv("NESTVEC_API_KEY", raising=False)

    def ask(*arguments, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        done = CliRunner().invoke(main, ["serve", *arguments])
        assert done.exit_code == 2, done.output
        return done.stderr

    return ask


def test_listening_beyond_this_machine_needs_a_key(refused):
    assert "set NESTVEC_API_KEY" in refused("minilm", "--host", "0.0.0.0")
    assert "8 characters or more" in refused("minilm", NESTVEC_API_KEY="short")
    assert "8 characters or more" in refused("minilm", "--api-key", "a key")


def test_limits_are_checked(refused):
    assert "batch_texts must be at least 1" in refused("minilm", "--batch", "0")
    assert "body_bytes must be at least 1" in refused("minilm", "--max-body-mb", "-3")
    assert "port" in refused("minilm", "--port", "70000")


def test_what_is_not_there_is_told(refused, tmp_path):
    assert "does not exist" in refused(str(tmp_path / "nothing"))
    assert "modules.json" in refused(str(tmp_path))


def test_a_port_that_is_taken_is_told(refused, monkeypatch):
    from nestvec.serve import opening
    from nestvec.serve.opening import Served

    monkeypatch.setattr(opening, "open_served", lambda *_, **__: Served("none", None, None))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"cannot listen at 127.0.0.1, port {port}" in refused("minilm", "--port", port)
