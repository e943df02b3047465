import json
import shutil

import pytest

import nestvec as nv


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_texts_are_added_as_the_collection_encodes_them(corpus_nv, corpus, tmp_path):
    place = shutil.copytree(corpus_nv[0], tmp_path / "c.nv")
    whole = [json.loads(line) for line in (corpus / "corpus.jsonl").read_text().splitlines()]
    again = {"id": "again", "title": whole[3]["title"], "text": whole[3]["text"]}
    cheese = {"id": "cheese", "text": "how milk is turned into a hard yellow cheese"}
    source = write_rows(tmp_path / "more.jsonl", [again, cheese])
    found = nv.add(place, source)
    assert (found.added, found.replaced, found.rows) == (2, 0, 50)
    opened = nv.open(place)
    assert opened.search("making cheese from milk", k=1, plan="exact").hits[0].id == "cheese"
    # the same title and text has the same vector, to what another batch rounds
    vectors = opened.collection.vectors()
    assert vectors[48] @ vectors[3] == pytest.approx(1, abs=2e-2)
    assert not (tmp_path / "c.nv.work").exists()
    with pytest.raises(nv.UserError, match="'again' is in it"):
        nv.add(place, source)
    write_rows(source, [{"id": "cheese", "text": "a train that arrives late"}])
    assert nv.add(place, source, replace=True).replaced == 1
    assert nv.open(place).search("a late train", k=1, plan="exact").hits[0].id == "cheese"
    assert nv.delete(place, ["cheese", "again"]).rows == 48
    assert nv.compact(place, keep_days=0).rows == 48
    assert nv.verify(place).whole
    with pytest.raises(nv.UserError, match="0 days or more; got -1"):
        nv.compact(place, keep_days=-1)
