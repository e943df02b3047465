"""The commands end to end on a few vectors, as JSON and for people."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from nestvec.bridge import faiss
from nestvec.choose.axes import leading
from nestvec.choose.baselines import FloatAxes
from nestvec.cli.main import main
from nestvec.index.checksums import recorded
from nestvec.index.collection import Collection
from nestvec.jobs import evaluate
from nestvec.jobs.search import Opened


def run(*arguments, stdin=None):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)
    assert done.exit_code == 0, done.output
    return done


def as_json(*arguments, **options):
    out = run(*arguments, "--json", **options).stdout
    assert len(out.splitlines()) == 1
    return json.loads(out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((9, 16))
    rows = centres[rng.integers(0, 9, 90)] + 0.5 * rng.standard_normal((90, 16))
    np.save(folder / "v.npy", rows.astype(np.float32))
    np.save(folder / "one.npy", rows[4].astype(np.float32))
    done = as_json("build", folder / "v.npy", "--out", folder / "v.nv", "--spec", "8xcb4")
    assert done["items"] == 90
    return folder


def test_search_by_vector(folder):
    found = as_json("search", folder / "v.nv", "--vector", folder / "one.npy", "-k", 3)
    assert [set(hit) for hit in found["hits"]] == [{"id", "score", "text", "title"}] * 3
    assert {"bytes", "scanned", "kept", "ms"} <= set(found["stages"][0])
    raw = as_json("search", folder / "v.nv", "--vector", folder / "one.npy", "--plan", "raw:2")
    assert raw["hits"][0]["id"] == "4"
    shown = run("search", folder / "v.nv", "--vector", folder / "one.npy", "--plan", "raw:2").stdout
    assert "1. 1.000  4" in shown
    assert "read raw:2 of 90 rows" in shown


def test_questions_are_read_line_by_line(folder, monkeypatch):
    class Encoder:
        def encode(self, texts, kind):
            assert kind == "query"
            return np.load(folder / "v.npy")[[int(text) for text in texts]]

    monkeypatch.setattr(Opened, "encoder", Encoder())
    arguments = ("search", folder / "v.nv", "--plan", "raw:1", "--json")
    done = run(*arguments, stdin="3\n\n 7 \n")
    found = [json.loads(line)["hits"][0]["id"] for line in done.stdout.splitlines()]
    assert found == ["3", "7"]


def test_evaluate_a_collection(folder, monkeypatch):
    monkeypatch.setattr(faiss, "available", lambda: False)
    found = as_json("evaluate", folder / "v.nv", "--spec", "8xcb4")
    assert found["metric"] == "R@10"
    assert {"nested", "prefix-float", "int8", "sign"} <= {c["method"] for c in found["cells"]}
    done = run("evaluate", folder / "v.nv", "--spec", "8xcb4")
    assert "prefix-float" in done.stdout
    assert "left out, since faiss is not installed: pq, opq, rq, rabitq" in done.stderr


def test_evaluate_into_the_report(folder, monkeypatch):
    monkeypatch.setattr(faiss, "available", lambda: False)
    monkeypatch.setattr(evaluate, "plain_baselines", lambda: [FloatAxes("late-float", leading)])
    run("build", folder / "v.npy", "--out", folder / "w.nv", "--spec", "4xcb4")
    assert "late-float" not in (folder / "w.nv" / "report.html").read_text()
    run("evaluate", folder / "w.nv", "--spec", "4xcb4", "--report")
    assert "late-float" in (folder / "w.nv" / "report.html").read_text()
    arguments = ["evaluate", folder / "w.nv", "--spec", "4xcb4", "--metric", "RR@5", "--report"]
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 2
    assert "one measurement" in done.stderr


def test_choose(folder):
    found = as_json("choose", folder / "v.npy", "--spec", "int8", "--keep", "0.9")
    assert found["met"] is True
    assert found["spec"] == "int8"
    assert found["plan"] == "16B:10"
    done = run("choose", folder / "v.npy", "--spec", "8xcb4", "--max-bytes", "5", "--keep", "1")
    assert "bytes a vector keep" in done.stdout


def test_info(folder):
    found = as_json("info", folder / "v.nv")
    assert (found["items"], found["dim"], found["model"]) == (90, 16, None)
    assert "none, built from vectors" in run("info", folder / "v.nv").stdout


def test_report_page_and_picture(folder):
    found = as_json("report", folder / "v.nv", "--out", folder / "r.html")
    assert found == {"report": str(folder / "r.html")}
    assert (folder / "r.html").read_text() == (folder / "v.nv" / "report.html").read_text()
    run("report", folder / "v.nv", "--out", folder / "r.svg")
    assert (folder / "r.svg").read_text().startswith("<svg")
    done = CliRunner().invoke(main, ["report", str(folder / "v.nv"), "--out", "r.pdf"])
    assert done.exit_code == 2


def test_fit(folder):
    from nestvec.codec.nested import Codec

    out = folder / "codec.safetensors"
    found = as_json("fit", folder / "v.npy", "--out", out, "--spec", "4xcb4")
    assert (found["bytes"], found["dim"], found["rows"]) == (4, 16, 90)
    assert Codec.load(out).spec == found["spec"]


def test_a_dry_run_writes_nothing(folder):
    before = sorted(path.name for path in folder.iterdir())
    found = as_json("build", folder / "v.npy", "--out", folder / "dry.nv", "--dry-run")
    assert found["dry_run"] is True
    assert (found["items"], found["full_bytes"]) == (90, 90 * 64)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert (
        "90 vectors" in run("build", folder / "v.npy", "--out", folder / "d.nv", "--dry-run").stdout
    )


def test_a_build_for_people(folder):
    done = run("build", folder / "v.npy", "--out", folder / "p.nv", "--spec", "int8")
    assert "bytes a vector keep" in done.stdout
    assert "Report: " in done.stdout
    assert "Traceback" not in done.stderr


def test_rows_are_deleted_and_filtered(folder, tmp_path):
    place = tmp_path / "d.nv"
    shutil.copytree(folder / "v.nv", place)
    one = ("--vector", folder / "one.npy", "--plan", "exact:2")
    first, second = (hit["id"] for hit in as_json("search", place, *one)["hits"])
    assert first == "4"
    only = as_json("search", place, *one, "--where", f"id = '{second}' OR id = '8'")
    assert [hit["id"] for hit in only["hits"]] == [second, "8"]
    assert "90 rows in" in run("search", place, *one).stdout
    assert "100% of the vectors' bytes" in run("search", place, *one).stdout
    assert as_json("delete", place, "4", "8") == {"deleted": 2, "rows": 88}
    assert as_json("search", place, *one)["hits"][0]["id"] == second
    assert run("delete", place, stdin="5\n\n6\n").stdout == "deleted 2 rows; 86 are left\n"
    assert as_json("info", place)["items"] == 86
    assert as_json("evaluate", place, "--spec", "8xcb4")["metric"] == "R@10"
    refused = CliRunner().invoke(main, ["delete", str(place), "4"])
    assert refused.exit_code == 2
    assert "'4' is not" in refused.stderr


def test_rows_are_added_and_replaced(folder, tmp_path):
    place = tmp_path / "a.nv"
    shutil.copytree(folder / "v.nv", place)
    rng = np.random.default_rng(5)
    fresh = rng.standard_normal((3, 16)).astype(np.float32)
    np.savez(tmp_path / "more.npz", vectors=fresh, ids=np.array(["x", "y", "z"]))
    found = as_json("add", place, tmp_path / "more.npz")
    assert (found["added"], found["replaced"], found["rows"]) == (3, 0, 93)
    np.save(tmp_path / "q.npy", fresh[1])
    hits = as_json("search", place, "--vector", tmp_path / "q.npy", "--plan", "exact:1")["hits"]
    assert [hit["id"] for hit in hits] == ["y"]
    again = CliRunner().invoke(main, ["add", str(place), str(tmp_path / "more.npz")])
    assert again.exit_code == 2
    assert "'x' is in it (and 2 more)" in again.stderr
    assert (
        "added 3 rows, 3 of them replaced: 93 in all"
        in run("add", place, tmp_path / "more.npz", "--replace").stdout
    )
    (tmp_path / "t.jsonl").write_text('{"id": "t", "text": "a text"}\n')
    other = CliRunner().invoke(main, ["add", str(place), str(tmp_path / "t.jsonl")])
    assert other.exit_code == 2
    assert "was built from vectors, and" in other.stderr
    assert not (tmp_path / "a.nv.work").exists()


def test_an_older_version_is_searched_by_number_and_name(folder, tmp_path):
    place = tmp_path / "a.nv"
    shutil.copytree(folder / "v.nv", place)
    np.save(tmp_path / "q.npy", Collection.open(place).vectors()[4])
    first = as_json("versions", place)["versions"][-1]
    assert (first["rows"], first["tags"]) == (90, [])
    number = first["number"]
    assert run("tag", place, "whole").stdout == f"whole is version {number}\n"
    assert as_json("delete", place, "4") == {"deleted": 1, "rows": 89}
    ask = ("search", place, "--vector", tmp_path / "q.npy", "--plan", "exact:1")
    for version in ("whole", number):
        assert as_json(*ask, "--version", version)["hits"][0]["id"] == "4"
    assert as_json(*ask)["hits"][0]["id"] != "4"
    assert as_json("info", place)["version"] == number + 1
    named = as_json("tag", place, "less", "--version", number + 1)["versions"]
    assert named[-1]["tags"] == ["less"]
    listed = run("versions", place).stdout.splitlines()
    assert listed[-2].endswith("90 rows  whole")
    assert listed[-1].endswith("89 rows  less")
    assert run("tag", place, "less", "--remove").stdout == "less is no version's name now\n"
    for wrong, says in [
        ((*ask, "--version", "less"), "the tags are whole"),
        (("tag", place, "less", "--remove"), "there is whole"),
        (("tag", place, "7"), "is no number"),
        (("tag", place, "x", "--remove", "--version", number), "needs no --version"),
        (("versions", tmp_path / "none.nv"), "there is nothing"),
    ]:
        refused = CliRunner().invoke(main, [str(each) for each in wrong])
        assert refused.exit_code == 2
        assert says in refused.stderr


def test_a_plan_is_measured_stored_and_used(folder, tmp_path):
    place = tmp_path / "a.nv"
    shutil.copytree(folder / "v.nv", place)
    np.save(tmp_path / "q.npy", Collection.open(place).vectors()[:8])
    before = as_json("info", place)["plan"]
    refused = CliRunner().invoke(
        main, ["search", str(place), "--vector", str(tmp_path / "q.npy"), "--plan", "auto"]
    )
    assert refused.exit_code == 2
    assert "run nestvec plan on it first" in refused.stderr
    seen = as_json("plan", place, "--recall", ".9", "-k", "3", "--dry-run")
    assert (seen["stored"], as_json("info", place)["plan"]) == (False, before)
    assert seen["before"]["plan"].startswith(before.rsplit(":", 1)[0])
    assert seen["met"]
    assert "held-out rows" in seen["about"]
    shown = run("plan", place, "--recall", ".9", "-k", "3", "--queries", tmp_path / "q.npy").stdout
    assert "8 sample queries (queries of q.npy); recall of the best by stored vectors" in shown
    taken = as_json("info", place)["plan"]
    assert f"plan {taken}" in shown
    auto = ("search", place, "--vector", tmp_path / "q.npy", "--plan", "auto")

    def stages():
        first = run(*auto, "--json").stdout.splitlines()[0]
        return ",".join(stage["stage"] for stage in json.loads(first)["stages"])

    assert stages() == taken
    assert run("plan", place, "raw:4").stdout == "plan raw:4\n"
    assert as_json("info", place)["plan"] == "raw:4"
    assert stages() == taken
    refused = CliRunner().invoke(main, ["plan", str(place), "99B:10"])
    assert refused.exit_code == 2
    assert as_json("info", place)["plan"] == "raw:4"


def test_rows_are_sorted_into_lists(folder, tmp_path):
    place = tmp_path / "a.nv"
    shutil.copytree(folder / "v.nv", place)
    np.save(tmp_path / "q.npy", Collection.open(place).vectors()[4])
    found = as_json("lists", place, "--on", "4d", "--count", "6")
    assert (found["lists"], found["on"], found["rows"]) == (6, "4d", 90)
    assert found["shortest"] * 6 <= 90 <= found["longest"] * 6
    ask = ("search", place, "--vector", tmp_path / "q.npy", "--plan", "probe=1;raw:1")
    hit = as_json(*ask)
    assert hit["hits"][0]["id"] == "4"
    assert hit["stages"][0]["scanned"] <= found["longest"]
    assert run("lists", place, "--count", "5").stdout.startswith("90 rows in 5 lists by ")
    refused = CliRunner().invoke(main, ["lists", str(place), "--on", "8x"])
    assert refused.exit_code == 2
    assert "write 8B or 64d" in refused.stderr


def test_rows_are_linked_to_their_neighbours(folder, tmp_path):
    place = tmp_path / "a.nv"
    shutil.copytree(folder / "v.nv", place)
    np.save(tmp_path / "q.npy", Collection.open(place).vectors()[4])
    found = as_json("graph", place, "--on", "4d", "--links", "8")
    assert (found["on"], found["links"], found["rows"]) == ("4d", 8, 90)
    assert found["graph_bytes"] > 90 * 4 * 2
    hit = as_json("search", place, "--vector", tmp_path / "q.npy", "--plan", "graph=20;raw:1")
    assert hit["hits"][0]["id"] == "4"
    assert hit["stages"][0]["scanned"] < 90
    assert run("graph", place, "--on", "4d").stdout.startswith("90 rows linked by 4d, up to 16 ")
    refused = CliRunner().invoke(main, ["graph", str(place), "--links", "0"])
    assert refused.exit_code == 2
    assert "2 to 256 links; got 0" in refused.stderr


def test_what_was_added_is_coded_anew(folder, tmp_path):
    place = tmp_path / "a.nv"
    shutil.copytree(folder / "v.nv", place)
    assert as_json("info", place)["drift"] is None
    far = np.random.default_rng(5).standard_normal((40, 16)).astype(np.float32) ** 5
    np.savez(tmp_path / "more.npz", vectors=far, ids=np.array([f"x{i}" for i in range(40)]))
    run("add", place, tmp_path / "more.npz")
    assert as_json("info", place)["drift"]["added"] == 40
    assert (
        "40 rows were added since the codec was fitted; their error is" in run("info", place).stdout
    )
    assert run("refit", place).stdout.startswith("130 rows coded anew by ")
    assert as_json("info", place)["drift"] is None
    assert as_json("refit", place, "--seed", "3")["rows"] == 130
    assert as_json("verify", place)["whole"]
    refused = CliRunner().invoke(main, ["refit", str(place), "--seed", "-1"])
    assert refused.exit_code == 2


def test_a_damaged_collection_is_told(folder, tmp_path):
    place = tmp_path / "a.nv"
    shutil.copytree(folder / "v.nv", place)
    assert run("verify", place).stdout == "every file is as it was written\n"
    (data,) = (place / "rows.lance" / "data").iterdir()
    known = recorded(place, [])[f"rows.lance/data/{data.name}"]
    at = next(end for end, _, column in known if column == "vector") - 1
    whole = data.read_bytes()
    data.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    done = CliRunner().invoke(main, ["verify", str(place), "--json"])
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert not found["whole"]
    (damage,) = found["damage"]
    assert (damage["fragment"], damage["column"]) == (0, "vector")
    assert damage["path"].endswith(data.name)
    (next((place / "checks").iterdir())).unlink()
    for path in (place / "checks").iterdir():
        path.unlink()
    older = CliRunner().invoke(main, ["verify", str(place)])
    assert older.exit_code == 0
    assert "files have no hash" in older.stderr
