"""Five temperatures on two towers: recall, what a cut keeps, clusters and geometry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.temperature import signs
from studies.trained import F32
from studies.two_towers_arms import DIM, Material, frozen_space
from studies.two_towers_models import SIZE, Fit, image_vectors
from studies.two_towers_values import Values, recall

from nestvec.data.images import open_images
from nestvec.measure.clusters import v_measure
from nestvec.measure.geometry import alignment, intrinsic_dimension, uniformity
from nestvec.measure.probes import cluster
from nestvec.vectors import prefix

TEMPERATURES = (0.02, 0.05, 0.1, 0.2, 0.4)
CLUSTERED = 2_000
QUARTER = DIM // 4
KINDS = ("full", "quarter", "random quarter", "signs", "signs of quarter")


def cifar(data: Path, folder: Path, work: Path) -> tuple[F32, NDArray[Any]]:
    """Vectors by the image tower, and labels, of test pictures of ten classes new to it."""
    pictures = open_images(data / "cifar10" / "test.parquet")
    rows = np.random.default_rng(0).permutation(len(pictures))[:CLUSTERED]
    some = pictures.take(rows)
    assert some.labels is not None
    return image_vectors(folder, some, SIZE, work / "cifar10.npy"), some.labels


def at_temperature(material: Material, fit: Fit, others: F32, labels: NDArray[Any]) -> Values:
    """Of a space trained with a temperature, nested or not as fit has it."""
    space, asked = frozen_space(material.fitted, fit), material.asked
    images, texts = space.images(asked.images), space.texts(asked.texts)
    clustered = space.images(others)
    found: Values = {}
    for kind, (x, y, z) in zip(
        KINDS, zip(views(images), views(texts), views(clustered), strict=True), strict=True
    ):
        for direction, each in recall(x, y, asked.owner).items():
            found[f"{direction}@{kind}"] = each
        if not kind.startswith("random"):
            told = cluster(z, len(set(labels.tolist())), fit.seed)
            found[f"V-measure@{kind}"] = np.array([v_measure(labels, told)])
    everyone = space.images(material.images)
    found["intrinsic dimension, pictures"] = np.array([float(intrinsic_dimension(everyone))])
    every_text = space.texts(material.texts)
    found["intrinsic dimension, captions"] = np.array([float(intrinsic_dimension(every_text))])
    found["alignment"] = np.array([alignment(texts, images[asked.owner])])
    found["uniformity, pictures"] = np.array([uniformity(everyone)])
    return found


def views(vectors: F32) -> list[F32]:
    """Vectors (n, d) as each of KINDS has them, at length 1."""
    some = np.sort(np.random.default_rng(0).permutation(vectors.shape[1])[:QUARTER])
    leading = prefix(vectors, QUARTER)
    scale = np.float32(vectors.shape[1] ** -0.5)
    return [
        vectors,
        leading,
        prefix(np.ascontiguousarray(vectors[:, some]), QUARTER),
        signs(vectors) * scale,
        signs(leading) * np.float32(QUARTER**-0.5),
    ]
