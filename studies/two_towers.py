"""Pictures and captions in one space, cut on both sides: make study NAME=two-towers DATA=folder.

1,000 photographs with five captions each (image_text, of Flickr8k), 700 to train on and 300 to ask
about, by their own split: small, so a check that two towers train and can be cut, not a result to
boast of. No image model can be had from a hub here: the image tower is a small ResNet trained by
this study on Tiny ImageNet's 200 classes at 32 x 32 (tiny_imagenet32, seed 0); captions are read
by all-MiniLM-L6-v2 as it is. Told is recall@10 in both directions at every width, among the 300
pictures and their 1,500 captions.

(a) Linear maps of both into 128 dimensions, by InfoNCE in both directions: nested, plain, a pair
of maps a width (FF), SVD of plain; the image tower trained along; and a small CLIP from nothing.
(b) Image vectors as they are, and captions cut to m dimensions and mapped into their space.
(c) Adapters over the plain two-tower vectors: the towers' maps are trained on one half of the
pictures, adapters on the other. (d) Five temperatures, nested and plain (after Dinu et al., ICLR
2025, openreview szRmEM8Kx5); clusters are those of 2,000 test pictures of cifar10.
Three seeds, but one of the image tower and of the CLIP from nothing. What was measured is kept in
--work; a rerun goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from studies.trained import command_of, machine, parser_of
from studies.two_towers_adapters import ADS, KINDS, adapted, given
from studies.two_towers_adapters import ARMS as ADAPTERS
from studies.two_towers_arms import (
    DIM,
    TEXT_WIDTHS,
    WIDTHS,
    Material,
    by_svd,
    fixed,
    nested,
    replaced_text,
    trained_along,
)
from studies.two_towers_models import (
    SIZE,
    Fit,
    captioned,
    image_vectors,
    text_vectors,
    tower,
    tower_accuracy,
)
from studies.two_towers_new import clip_values
from studies.two_towers_report import as_markdown, picture
from studies.two_towers_temperature import KINDS as VIEWS
from studies.two_towers_temperature import TEMPERATURES, at_temperature, cifar
from studies.two_towers_values import DIRECTIONS, Values, kept, shares, summary

FIT = Fit(WIDTHS)
ALONG, NEW = "tower trained along", "from nothing"
# What takes minutes, by one seed.
SINGLE = (f"towers-{NEW}",)
CUTS = ("prefix", "SVD", "nested", "prefix, ridge")


@dataclass(frozen=True, eq=False)
class Study:
    """What is measured, on what, by how many seeds, and where it is kept."""

    material: Material
    data: Path
    work: Path
    seeds: int

    def over_seeds(self, name: str, make: Callable[[Fit], Values], fit: Fit = FIT) -> list[Values]:
        """Values of each seed, from the work folder where they are."""
        return [
            kept(self.work / f"{name}-{seed}.npz", partial(make, replace(fit, seed=seed)))
            for seed in range(1 if name in SINGLE else self.seeds)
        ]


def main() -> None:
    """Train, measure, and write two_towers.json, two_towers.md and two_towers.svg."""
    parser = parser_of("two_towers", __doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    begun, from_nothing = time.perf_counter(), not options.work.exists()
    photos, folder = captioned(options.data), tower(options.data, options.work)
    everyone = image_vectors(folder, photos.images, SIZE, options.work / "pictures.npy")
    material = Material(photos, everyone, text_vectors(photos.texts, options.work), folder)
    study = Study(material, options.data, options.work, options.seeds)
    result: dict[str, Any] = {
        "command": command_of("two-towers", seeds=options.seeds, parts=options.parts),
        "machine": machine(),
        "seeds": options.seeds,
        "fitted": len(photos.fitted),
        "asked": len(photos.asked),
        "captions": len(material.asked.texts),
        "widths": WIDTHS,
        "text_widths": TEXT_WIDTHS,
        "temperatures": TEMPERATURES,
        "tower": tower_accuracy(folder, options.data, options.work),
        "fit": {key: each for key, each in vars(FIT).items() if key != "seed"},
    }
    for name in options.parts:
        result[name] = PARTS[name](study)
    result["seconds"] = round(time.perf_counter() - begun, 1) if from_nothing else None
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / "two_towers"
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    stem.with_suffix(".md").write_text(as_markdown(result))
    if "towers" in result:
        stem.with_suffix(".svg").write_text(picture(result))
    print(as_markdown(result))


def towers(study: Study) -> dict[str, Any]:
    """(a) {arm: recall by width, beside FF}."""
    material = study.material
    trainings: dict[str, tuple[Callable[[Fit], Values], Fit]] = {
        "nested": (partial(nested, material), FIT),
        "FF": (partial(fixed, material), FIT),
        "plain": (partial(nested, material), replace(FIT, widths=(DIM,))),
        "SVD of plain": (partial(by_svd, material), FIT),
        ALONG: (partial(trained_along, material), FIT),
        NEW: (lambda fit: clip_values(material, study.data, study.work, fit.seed), FIT),
    }
    found = {name: study.over_seeds(f"towers-{name}", *each) for name, each in trainings.items()}
    return {name: summary(each, found["FF"]) for name, each in found.items()}


def replaced_texts(study: Study) -> dict[str, Any]:
    """(b) {cut: recall by width of the text, beside prefixes}."""
    found = {
        cut: study.over_seeds(
            f"text-{cut}",
            lambda fit, cut=cut: replaced_text(study.material, cut, fit.seed, fit),  # type: ignore[misc]
        )
        for cut in CUTS
    }
    return {cut: summary(each, found["prefix"]) for cut, each in found.items()}


def adapters(study: Study) -> dict[str, Any]:
    """(c) {what is learned from: {arm: recall and agreement by width, beside SVD}}.

    Of SMEC also beside itself without ADS.
    """
    vectors = [given(study.material, replace(FIT, seed=seed)) for seed in range(study.seeds)]
    found: dict[str, Any] = {}
    for kind in KINDS:
        of_arm = {
            arm: study.over_seeds(
                f"adapters-{kind}-{arm}",
                lambda fit, kind=kind, arm=arm: adapted(vectors[fit.seed], kind, arm, fit.seed),  # type: ignore[misc]
            )
            for arm in ADAPTERS
        }
        found[kind] = {arm: summary(each, of_arm["SVD"]) for arm, each in of_arm.items()}
        found[kind][ADS] = summary(of_arm["SMEC"], of_arm["SMEC without ADS"])
    return found


def temperatures(study: Study) -> dict[str, Any]:
    """(d) {temperature, nested or not: what is measured of it, and what a cut keeps of full}."""
    others, labels = cifar(study.data, study.material.folder, study.work)
    found: dict[str, Any] = {}
    for tau in TEMPERATURES:
        for widths in ((DIM,), WIDTHS):
            name = f"{tau:g} nested" if widths == WIDTHS else f"{tau:g}"
            of_seeds = study.over_seeds(
                f"temperature-{name}",
                lambda one: at_temperature(study.material, one, others, labels),
                replace(FIT, widths=widths, temperature=tau),
            )
            found[name] = {
                "values": summary(of_seeds),
                "kept": {d: shares(of_seeds, f"{d}@{VIEWS[0]}") for d in DIRECTIONS},
            }
    return found


PARTS: dict[str, Callable[[Study], dict[str, Any]]] = {
    "replaced_text": replaced_texts,
    "adapters": adapters,
    "temperature": temperatures,
    "towers": towers,
}


if __name__ == "__main__":
    main()
