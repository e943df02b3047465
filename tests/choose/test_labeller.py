"""A labeller's labels by numpy: what torch and the cascade say, and what a folder keeps."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from nestvec.choose.cascade import Cascade
from nestvec.choose.labeller import ARRAYS_FILE, CONFIG_FILE, Labeller, has_heads, heads_of_model
from nestvec.choose.thresholds import probabilities
from nestvec.errors import UserError
from nestvec.learn.losses.heads import SeparateHeads, TiedHead
from nestvec.learn.models import save_heads
from nestvec.learn.vector_classifier import VectorClassifier
from nestvec.nesting import Nesting

WIDTHS = (2, 4, 8, 12)


def planted(seed, n=300, dim=12, classes=4):
    """Vectors about a center a class."""
    centers = np.random.default_rng(7).standard_normal((classes, dim))
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    return (centers[y] + 0.9 * rng.standard_normal((n, dim))).astype(np.float32), y


def made(head="separate", policy="keep", **how):
    """A trained classifier, its cascade, and both as a labeller."""
    X, y = planted(0)
    names = np.array(["a", "b", "c", "ä d"])
    classifier = VectorClassifier(WIDTHS, head=head, epochs=30, batch=64).fit(X, names[y])
    held, own = planted(1)
    cascade = Cascade(policy, **how).fit(
        classifier.logits(held), names[own], classes=classifier.classes_
    )
    labeller = Labeller(
        tuple(classifier.classes_.tolist()),
        12,
        classifier.heads(),
        np.ones(3),
        np.ones(4),
        matrix=classifier.map_.stages[0].maps[0].weight,
        tied=head == "tied",
        facts={"rows": 300},
    )
    return classifier, cascade, labeller.widening(cascade)


@pytest.fixture(scope="module", params=["separate", "tied"])
def trained(request):
    return made(request.param, counted="sum", calibrate=True)


def test_logits_are_those_of_torch(trained):
    classifier, _, labeller = trained
    X, _ = planted(2)
    for width, logits in classifier.logits(X).items():
        np.testing.assert_allclose(labeller.logits(X, width), logits, rtol=1e-5, atol=1e-5)


def test_labels_are_those_of_the_cascade(trained):
    classifier, cascade, labeller = trained
    X, _ = planted(2)
    expected = cascade.run(classifier.logits(X))
    found = labeller.label(X)
    assert found.labels.tolist() == expected.labels.tolist()
    assert found.widths.tolist() == expected.widths.tolist()
    np.testing.assert_allclose(found.confidence, expected.confidence, rtol=1e-4)
    assert len(set(found.widths)) > 1
    assert set(found.widths) <= set(cascade.visited_)


def test_one_width_labels_all(trained):
    classifier, cascade, labeller = trained
    X, _ = planted(2)
    for i, width in enumerate(WIDTHS):
        found = labeller.label(X, width)
        logits = classifier.logits(X)[width]
        assert set(found.widths) == {width}
        assert found.labels.tolist() == classifier.classes_[logits.argmax(axis=1)].tolist()
        soft = torch.softmax(torch.from_numpy(logits / cascade.temperatures_[i]), dim=1)
        np.testing.assert_allclose(found.confidence, soft.max(dim=1)[0].numpy(), rtol=1e-4)


def test_a_folder_keeps_all_of_it(trained, tmp_path):
    _, _, labeller = trained
    X, _ = planted(2)
    labeller.save(tmp_path / "c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c"]
    again = Labeller.load(tmp_path / "c")
    assert (again.classes, again.widths, again.tied) == (
        labeller.classes,
        labeller.widths,
        labeller.tied,
    )
    assert again.facts == {"rows": 300}
    before, after = labeller.label(X), again.label(X)
    assert after.labels.tolist() == before.labels.tolist()
    assert after.confidence.tolist() == before.confidence.tolist()
    for width in WIDTHS:
        assert (again.logits(X, width) == labeller.logits(X, width)).all()


def test_a_folder_keeps_what_its_cascade_is_sure_by(tmp_path):
    classifier, cascade, labeller = made(policy="expected", confidence="margin")
    X, _ = planted(2)
    stopped = cascade.run(classifier.logits(X))
    labeller.save(tmp_path / "c")
    found = Labeller.load(tmp_path / "c").label(X)
    assert found.labels.tolist() == stopped.labels.tolist()
    assert found.widths.tolist() == stopped.widths.tolist()
    np.testing.assert_allclose(found.confidence, stopped.confidence, rtol=1e-3, atol=1e-5)
    one = labeller.label(X, 12)
    soft = np.sort(probabilities(labeller.logits(X, 12)), axis=1)
    np.testing.assert_allclose(one.confidence, soft[:, -1] - soft[:, -2], rtol=1e-4, atol=1e-9)

    config = json.loads((tmp_path / "c" / CONFIG_FILE).read_text())
    (tmp_path / "c" / CONFIG_FILE).write_text(json.dumps({**config, "sure_by": "luck"}))
    with pytest.raises(UserError, match="nothing is sure by 'luck'"):
        Labeller.load(tmp_path / "c")
    # folders that were written before there was a choice
    del config["sure_by"]
    (tmp_path / "c" / CONFIG_FILE).write_text(json.dumps(config))
    assert Labeller.load(tmp_path / "c").sure_by == "largest"


def test_labelling_needs_no_torch(trained, tmp_path):
    trained[2].save(tmp_path / "c")
    X, _ = planted(2)
    np.save(tmp_path / "x.npy", X)
    code = (
        "import sys, json, numpy as np\n"
        "from nestvec.choose.labeller import Labeller\n"
        "found = Labeller.load(sys.argv[1] + '/c').label(np.load(sys.argv[1] + '/x.npy'))\n"
        "print(json.dumps([found.labels.tolist(), 'torch' in sys.modules, 'sklearn' in sys.modules]"
        "))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    labels, torch_loaded, sklearn_loaded = json.loads(done.stdout)
    assert labels == trained[2].label(X).labels.tolist()
    assert not torch_loaded
    assert not sklearn_loaded


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_widening_is_reading_one_width_after_another(seed, mapped):
    rng = np.random.default_rng(seed)
    widths, dim, classes = (2, 3, 6), 7, 3
    matrix = rng.standard_normal((dim, 6)).astype(np.float32) if mapped else None
    labeller = Labeller(
        ("x", "y", "z"),
        dim,
        {
            w: tuple(rng.standard_normal(s).astype(np.float32) for s in ((classes, w), classes))
            for w in widths
        },
        rng.choice([0.5, 0.7, 1.0, 0.0], 2),
        rng.uniform(0.5, 2.0, 3),
        matrix=matrix,
    )
    vectors = rng.standard_normal((20, dim)).astype(np.float32)
    found = labeller.label(vectors)
    for row in range(20):
        limits = (*labeller.thresholds, -1.0)
        for width, limit, heat in zip(widths, limits, labeller.temperatures, strict=True):
            if limit >= 1:
                continue
            logits = labeller.logits(vectors[row : row + 1], width)[0].astype(float) / heat
            soft = np.exp(logits) / np.exp(logits).sum()
            if soft.max() > limit:
                break
        assert found.widths[row] == width
        assert found.labels[row] == "xyz"[soft.argmax()]
        assert found.confidence[row] == pytest.approx(soft.max(), rel=1e-4)


@pytest.mark.parametrize("kind", [SeparateHeads, TiedHead])
def test_heads_of_a_model_folder(kind, tmp_path):
    torch.manual_seed(0)
    heads = kind(Nesting((4, 8)), 3)
    assert not has_heads(tmp_path)
    save_heads(heads, ["a", "b", "c"], tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"nestvec": {"widths": [4, 8]}}))
    assert has_heads(tmp_path)
    found, classes, tied = heads_of_model(tmp_path)
    assert (classes, tied) == (("a", "b", "c"), kind is TiedHead)
    vectors = torch.randn(5, 8)
    labeller = Labeller(classes, 8, found, np.ones(1), np.ones(2))
    for width, logits in heads(vectors).items():
        np.testing.assert_allclose(
            labeller.logits(vectors.numpy(), width), logits.detach().numpy(), rtol=1e-5, atol=1e-6
        )
    (tmp_path / "labels.json").write_text('["a"]')
    with pytest.raises(UserError, match="not as many"):
        heads_of_model(tmp_path)


def test_what_cannot_be_read_is_said_in_a_sentence(trained, tmp_path):
    _, _, labeller = trained
    with pytest.raises(UserError, match=r"holds no labeller\.json"):
        Labeller.load(tmp_path)
    labeller.save(tmp_path / "c")
    config = json.loads((tmp_path / "c" / CONFIG_FILE).read_text())

    def saying(**changes):
        (tmp_path / "c" / CONFIG_FILE).write_text(json.dumps({**config, **changes}))
        with pytest.raises(UserError) as told:
            Labeller.load(tmp_path / "c")
        return str(told.value)

    assert "format version 1" in saying(format_version=2)
    assert "threshold is missing" in saying(thresholds=[0.5])
    assert "read whole" in saying(widths=[2, 4, 8, 13])
    assert "read whole" in saying(dim=11)
    (tmp_path / "c" / CONFIG_FILE).write_text("{")
    with pytest.raises(UserError, match="read whole"):
        Labeller.load(tmp_path / "c")
    (tmp_path / "c" / CONFIG_FILE).write_text(json.dumps(config))
    save_file({"other": np.ones(3, np.float32)}, tmp_path / "c" / ARRAYS_FILE)
    with pytest.raises(UserError, match="read whole"):
        Labeller.load(tmp_path / "c")
    (tmp_path / "c" / ARRAYS_FILE).write_bytes(b"cut")
    with pytest.raises(UserError, match="read whole"):
        Labeller.load(tmp_path / "c")


def test_vectors_and_widths_that_do_not_fit(trained):
    _, cascade, labeller = trained
    with pytest.raises(UserError, match=r"vectors are \(n, 12\)"):
        labeller.label(np.ones((3, 5), np.float32))
    with pytest.raises(UserError, match="2, 4, 8, 12; got 3"):
        labeller.label(np.ones((3, 12), np.float32), 3)
    with pytest.raises(ValueError, match="a cascade over"):
        Labeller(labeller.classes, 12, {2: labeller.heads[2]}, np.ones(0), np.ones(1)).widening(
            cascade
        )
