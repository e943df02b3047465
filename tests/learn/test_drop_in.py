"""The library's own training scripts with our losses in the place of its own."""

import warnings

import pytest
import torch


def load(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(folder), device="cpu")


def train(model, loss, tmp_path, steps=6):
    """As a script would, with the library's own trainer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import Dataset
        from sentence_transformers import (
            SentenceTransformerTrainer,
            SentenceTransformerTrainingArguments,
        )

        rows = [(f"word{i} word{i + 1}", f"word{i} word{i + i % 3}", i % 3) for i in range(24)]
        left, right, score = zip(*rows, strict=True)
        data = Dataset.from_dict(
            {"sentence1": left, "sentence2": right, "score": [float(s) for s in score]}
        )
        arguments = SentenceTransformerTrainingArguments(
            output_dir=str(tmp_path),
            max_steps=steps,
            per_device_train_batch_size=8,
            learning_rate=1e-3,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            logging_steps=1,
        )
        trainer = SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=data, loss=loss
        )
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.slow
def test_cosent_inside_then_the_two_d_one(models, tmp_path):
    # the usage of a blog post on MatryoshkaLoss and Matryoshka2dLoss, the imports changed
    from sentence_transformers.sentence_transformer.losses import CoSENTLoss

    from nestvec.learn.losses.wrapped import NestedLoss
    from nestvec.learn.losses.wrapped_layers import NestedLayersLoss

    model = load(models("mpnet"))
    loss = NestedLoss(model, CoSENTLoss(model), [32, 24, 16, 8, 4])
    losses = train(model, loss, tmp_path, steps=30)
    assert len(losses) == 30
    assert sum(losses[-5:]) < sum(losses[:5])

    loss = NestedLayersLoss(model, CoSENTLoss(model), [32, 24, 16, 8, 4])
    losses = train(model, loss, tmp_path)
    assert len(losses) == 6
    assert int(loss.steps) == 6
    assert {name.partition(":")[0] for name in loss.parts.parts} >= {"layer 3", "alignment"}
    loss.close()
    assert not model[0].auto_model.config.output_hidden_states


@pytest.mark.parametrize("kind", ["two_d", "uniform"])
def test_it_trains_what_the_function_gives(kind, small_model):
    from sentence_transformers.sentence_transformer.losses import CoSENTLoss

    from nestvec.learn.layers import Layers
    from nestvec.learn.losses.ranking import cosent
    from nestvec.learn.losses.two_d import draw, two_d, uniform_layers
    from nestvec.learn.losses.wrapped_layers import NestedLayersLoss

    model = load(small_model)
    texts = [["word1 word2", "word3", "word4 word5"], ["word1", "word3 word9", "word7"]]
    grades = torch.tensor([0.0, 1.0, 2.0])
    wrapped = NestedLayersLoss(model, CoSENTLoss(model), "8,32", kind=kind, seed=3)
    features = [model.preprocess(column) for column in texts]
    found = wrapped([dict(f) for f in features], grades)["total"]
    layers = Layers(model)
    columns = [layers.read(model, f, model(dict(f))) for f in features]
    each = list(zip(*columns, strict=True))
    drawn = draw(3, (8, 32), torch.Generator().manual_seed(3 * 1_000_003))
    loss = lambda a, b: cosent(a, b, grades)  # noqa: E731
    if kind == "two_d":
        wanted = two_d(loss, each, drawn)
    else:
        wanted = uniform_layers(loss, each, drawn.layer, wrapped.nesting)
    torch.testing.assert_close(found, wanted.total)
