"""No test reaches a network or depends on the time it takes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import settings

# before any test imports a model: these are read once, at import
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

settings.register_profile("nestvec", deadline=None, derandomize=True, database=None)
settings.load_profile("nestvec")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch without threads, which gain nothing on small arrays and wait for one another."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Heard:
    """A listener to progress, and what it was told: (what, total), units, sentences, "end"."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def start(self, what: str, total: int | None) -> None:
        self.told.append((what, total))

    def advance(self, n: int) -> None:
        self.told.append(n)

    def note(self, sentence: str) -> None:
        self.told.append(sentence)

    def finish(self) -> None:
        self.told.append("end")


@pytest.fixture
def listener() -> Heard:
    """One that has heard nothing yet."""
    return Heard()


@pytest.fixture(scope="session")
def save_text_model() -> Callable[..., Path]:
    """save_text_model(folder, words, dim=16, layers=2) is a small random BERT's own folder."""

    def save(folder: Path, words: Sequence[str], dim: int = 16, layers: int = 2) -> Path:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the libraries, as in image_models
            return write_text_model(folder, words, dim, layers)

    return save


def write_text_model(folder: Path, words: Sequence[str], dim: int, layers: int) -> Path:
    """Write it as sentence-transformers does: 32 tokens at most, their mean, of unit length."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=dim,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * dim,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder / "bert")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    modules = [
        Transformer(str(folder / "bert"), max_seq_length=32),
        Pooling(dim, "mean"),
        Normalize(),
    ]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "model"))
    return folder / "model"


@pytest.fixture(scope="session")
def image_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small random models of images of 16 pixels.

    resnet, vit, dinov2; clip and siglip read texts, too.
    """
    folder = tmp_path_factory.mktemp("image_models")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, as they are imported and as they save
        save_image_models(folder)
    return folder


def save_image_models(folder: Path) -> None:
    """Write them; all are 16 wide but clip, which is 12 wide; clip and siglip spell words."""
    import torch
    import transformers

    torch.manual_seed(0)
    layers = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    patches = {"image_size": 16, "patch_size": 8}
    towers = {
        "resnet": transformers.ResNetModel(
            transformers.ResNetConfig(
                embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
            )
        ),
        "vit": transformers.ViTModel(
            transformers.ViTConfig(**layers, **patches, intermediate_size=32)
        ),
        "dinov2": transformers.Dinov2Model(
            transformers.Dinov2Config(**layers, **patches, mlp_ratio=2)
        ),
    }
    for name, tower in towers.items():
        tower.save_pretrained(folder / name)
        processor = transformers.ViTImageProcessorPil(size={"height": 16, "width": 16})
        processor.save_pretrained(folder / name)
    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"{c}</w>" for c in "abcdefghijklmnopqrstuvwxyz")]
    words = {word: i for i, word in enumerate(["<|startoftext|>", "<|endoftext|>", *letters])}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = transformers.CLIPConfig(
        text_config={
            **layers, **ends, "vocab_size": len(words), "intermediate_size": 32,
            "max_position_embeddings": 32,
        },
        vision_config={**layers, **patches, "intermediate_size": 32},
        projection_dim=12,
    )  # fmt: skip
    transformers.CLIPModel(config).save_pretrained(folder / "clip")
    transformers.CLIPProcessor(
        image_processor=transformers.CLIPImageProcessorPil(
            size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
        ),
        tokenizer=transformers.CLIPTokenizer(vocab=words, merges=[], model_max_length=32),
    ).save_pretrained(folder / "clip")
    transformers.SiglipModel(
        transformers.SiglipConfig(
            text_config={
                **layers, "vocab_size": len(words), "intermediate_size": 32,
                "max_position_embeddings": 24, "pad_token_id": 1,
            },
            vision_config={**layers, **patches, "intermediate_size": 32},
        )
    ).save_pretrained(folder / "siglip")  # fmt: skip
    transformers.SiglipProcessor(
        image_processor=transformers.SiglipImageProcessorPil(size={"height": 16, "width": 16}),
        tokenizer=transformers.CLIPTokenizer(
            vocab=words, merges=[], model_max_length=24, model_input_names=["input_ids"]
        ),
    ).save_pretrained(folder / "siglip")
