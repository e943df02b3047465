import errno
import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from nestvec.cli import main as cli
from nestvec.errors import UserError

HEAVY = ("torch", "numpy", "lance", "pyarrow", "numba", "faiss", "pandas", "sklearn", "scipy")


def loaded_after(*arguments):
    """Run the command in a fresh Python; give (exit code, stderr, heavy modules loaded)."""
    code = (
        "import sys, json\n"
        "from nestvec.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n    code = end.code\n"
        f"print('\\n' + json.dumps([code, [m for m in {HEAVY!r} if m in sys.modules]]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    exit_code, heavy = json.loads(done.stdout.splitlines()[-1])
    return exit_code or 0, done.stderr, heavy


@pytest.mark.parametrize("arguments", [["--help"], ["build", "--help"], ["search", "--help"]])
def test_help_loads_nothing_heavy(arguments):
    code, _, heavy = loaded_after(*arguments)
    assert (code, heavy) == (0, [])


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "no/such/place", "--out", "x.nv"],
        ["build", "--out", "x.nv"],
        ["build", ".", "--out", "x.nv", "--keep", "1.5"],
        ["search", "no/such/place", "a question"],
    ],
)
def test_a_mistake_is_told_in_one_line_before_torch_is_loaded(arguments):
    code, stderr, heavy = loaded_after(*arguments)
    assert code == 2
    assert stderr.startswith("nestvec: ")
    assert len(stderr.strip().splitlines()) == 1
    assert "torch" not in heavy


def test_importing_nestvec_loads_nothing_heavy():
    code = f"import sys, nestvec; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_command_is_listed_and_has_help():
    listing = CliRunner().invoke(cli.main, ["--help"]).stdout
    for name in cli.COMMANDS:
        assert name in listing
        found = CliRunner().invoke(cli.main, [name, "--help"])
        assert found.exit_code == 0
        assert "Usage: " in found.stdout


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UserError("a rule; got 3. Try 4."), 2, "a rule; got 3. Try 4."),
        (KeyboardInterrupt(), 130, "a rerun goes on where this one stopped"),
        (OSError(errno.ENOSPC, "No space left", "big.npy"), 1, "the disk is full for big.npy"),
        (PermissionError(errno.EACCES, "Permission denied", "x.nv"), 2, "denied for x.nv: check"),
        (click.UsageError("no."), 2, "no."),
    ],
)
def test_errors_become_one_sentence_and_a_code(monkeypatch, error, code, words):
    @click.command()
    def failing():
        raise error

    monkeypatch.setattr(type(cli.main), "get_command", lambda *_: failing)
    done = CliRunner().invoke(cli.main, ["build"])
    assert done.exit_code == code
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_other_faults_keep_their_traceback(monkeypatch):
    @click.command()
    def failing():
        raise RuntimeError("ours")

    monkeypatch.setattr(type(cli.main), "get_command", lambda *_: failing)
    done = CliRunner().invoke(cli.main, ["build"])
    assert isinstance(done.exception, RuntimeError)


def test_unknown_commands_and_options_are_refused():
    for arguments in (["no-such-command"], ["build", "--no-such-option"]):
        done = CliRunner().invoke(cli.main, arguments)
        assert done.exit_code == 2
        assert len(done.stderr.strip().splitlines()) == 1
