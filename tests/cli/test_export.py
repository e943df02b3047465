import json

import numpy as np
import pytest
from click.testing import CliRunner

from nestvec.cli.main import main
from nestvec.codec.nested import Codec
from nestvec.data.rows import Row
from nestvec.index.creation import create
from nestvec.index.manifest import Manifest

pytest.importorskip("sqlite_vec")


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    vectors = np.random.default_rng(0).standard_normal((80, 16)).astype(np.float16)
    codec = Codec("sign16").fit(vectors.astype(np.float32))
    codes = codec.encode(vectors)
    path = tmp_path_factory.mktemp("export") / "papers.nv"
    create(
        path,
        [Row(f"{i}", f"text {i}") for i in range(80)],
        codes=codes,
        facts=codec.facts(codes, vectors),
        vectors=vectors,
        codec=codec,
        manifest=Manifest(metric="cosine", dim=16, rows=80, spec="sign16", plan="3B:10"),
    )
    return path


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_for_people_and_as_json(papers, tmp_path):
    options = ("--to", "sqlite-vec", "--out", tmp_path / "p.sqlite", "--plan", "sign:40,raw:10")
    done = run("export", papers, *options)
    assert done.exit_code == 0, done.output
    assert "ORDER BY vec_distance_hamming" in done.stdout
    assert "80 rows in" in done.stdout
    assert "plan here 3B:10, there sign:40,raw:10" in done.stdout
    assert "agreement of the first ten with the plan here: " in done.stdout
    found = json.loads(run("export", papers, *options, "--json").stdout)
    assert (found["target"], found["rows"], found["plan"]) == ("sqlite-vec", 80, "sign:40,raw:10")
    assert found["loss"]["agreement"]["n"] == 16
    assert set(found["loss"]["difference"]) == {"value", "low", "high", "n"}


def test_faults_are_sentences(papers, tmp_path):
    for options, words in (
        (("--to", "oracle"), "one of pgvector"),
        (("--to", "sqlite-vec"), "needs --out"),
        (("--to", "sqlite-vec", "--out", tmp_path / "p", "--plan", "3B:10"), "holds stages such"),
        (("--to", "sqlite-vec", "--out", tmp_path), "is a file in a folder"),
    ):
        done = run("export", papers, *options)
        assert done.exit_code == 2
        assert done.stderr.startswith("nestvec: ")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
