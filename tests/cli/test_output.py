import json

import numpy as np

from nestvec.cli.output import interval, print_json, print_table


def test_json_is_one_line_of_plain_values(capsys):
    print_json({"a": np.float32(0.5), "b": (1, float("nan")), "c": {"d": "é"}})
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    assert json.loads(out) == {"a": 0.5, "b": [1, None], "c": {"d": "é"}}


def test_interval():
    assert interval(0.6789, 0.64, 1.0) == ".679 [.640, 1.000]"


def test_tables_go_to_standard_output(capsys):
    print_table("title", [("name", False), ("n", True)], [["a", "1"], ["b", "22"]])
    found = capsys.readouterr()
    assert "title" in found.out
    assert "22" in found.out
    assert found.err == ""
