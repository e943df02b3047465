"""A small CLIP trained from nothing by `nestvec train`, as recipes/captions.toml has it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from studies.trained import trained
from studies.two_towers_arms import WIDTHS, Material
from studies.two_towers_models import SIZE, loaded, text_part
from studies.two_towers_values import Values, at_widths
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

TOKENS = 32
WORDS = 2_000
ENDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}


def clip_values(material: Material, data: Path, work: Path, seed: int) -> Values:
    """Recall of a model of both towers that knew neither pictures nor words before."""
    photos = material.photos
    fitted_texts, _ = text_part(photos.image_of, photos.fitted)
    begin = new_clip(work / f"clip-{seed}", [photos.texts[i] for i in fitted_texts], seed)
    model = loaded(trained("clip", clip_recipe(begin, data, seed), work))
    texts, owner = text_part(photos.image_of, photos.asked)
    pictures = [photos.images.picture(int(i)) for i in photos.asked]
    seen = model.encode(pictures, show_progress_bar=False)
    read = model.encode([photos.texts[i] for i in texts], show_progress_bar=False)
    return at_widths(np.asarray(seen), np.asarray(read), owner, WIDTHS)


def clip_recipe(model: Path, data: Path, seed: int) -> dict[str, Any]:
    """The recipe of captions, at sizes that two cores train in a minute or two."""
    return {
        "model": {"name": str(model)},
        "data": {"train": str(data / "image_text" / "pairs.parquet")},
        "nesting": {"widths": list(WIDTHS)},
        "loss": {"kind": "info_nce", "temperature": 0.05, "both_directions": True},
        "images": {"size": SIZE, "crop": 2, "flip": True},
        "train": {
            "batch": 128,
            "epochs": 12,
            "learning_rate": 1e-3,
            "weight_decay": 0.1,
            "seed": seed,
            "save_every": 200,
            "log_every": 10**6,
        },
    }


def new_clip(folder: Path, texts: Iterable[str], seed: int) -> Path:
    """A folder with a CLIP of random weights: 64 wide, two layers a tower, 2,000 word parts."""
    if folder.is_dir():
        return folder
    torch.manual_seed(seed)
    tokenizer = word_parts(texts)
    layers = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    config = CLIPConfig(
        text_config={
            **layers,
            **ENDS,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": TOKENS,
        },
        vision_config={**layers, "image_size": SIZE, "patch_size": 8},
        projection_dim=WIDTHS[-1],
    )
    partial = folder.with_name(f"{folder.name}.partial")
    CLIPModel(config).save_pretrained(partial)
    CLIPProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
        ),
        tokenizer=tokenizer,
    ).save_pretrained(partial)
    partial.rename(folder)
    return folder


def word_parts(texts: Iterable[str]) -> Any:
    """CLIP's tokenizer with parts of words learned from texts (byte pairs)."""
    learned = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learned.normalizer = normalizers.Lowercase()
    learned.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    letters = [chr(c) for c in range(33, 127)]
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, end_of_word_suffix="</w>", initial_alphabet=letters, show_progress=False
    )
    learned.train_from_iterator(texts, trainer)
    told = json.loads(learned.to_str())["model"]
    pieces = ["<|startoftext|>", "<|endoftext|>", *told["vocab"]]
    pieces += [f"{letter}</w>" for letter in letters]
    return CLIPTokenizer(
        vocab={piece: i for i, piece in enumerate(dict.fromkeys(pieces))},
        merges=[tuple(each) for each in told["merges"]],
        model_max_length=TOKENS,
    )
