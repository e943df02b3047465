"""A classifier whose every prefix classifies and retrieves: python examples/classes.py.

Ten sentences of four classes train an encoder with a head for each width; two new sentences are
then classified, and their nearest neighbours found, at every width. Takes under a minute.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import nestvec as nv

CLASSES = ("very positive", "somewhat positive", "somewhat negative", "very negative")
TRAINING = [
    ("I loved this film from the first scene to the last.", 0),
    ("The soup was cold and the waiter rude; never again.", 3),
    ("The lamp does what it should, nothing more.", 1),
    ("Support answered within minutes and solved it all.", 0),
    ("I gave up on the novel halfway, bored to tears.", 3),
    ("What a concert, the whole hall was dancing!", 0),
    ("A useful article, clear enough for beginners.", 1),
    ("The room was smaller than in the pictures, the bed was fine.", 2),
    ("The program crashes every hour and eats my work.", 3),
    ("The hike is long, and the view at the end made up for some of it.", 2),
]
QUESTIONS = ("Better than I dared to hope.", "The service was slow, but friendly.")
WIDTHS = (8, 16, 32, 64, 128, 256, 384)


def main() -> None:
    """Train, classify, retrieve."""
    texts = [text for text, _ in TRAINING]
    labels = [CLASSES[number] for _, number in TRAINING]
    classifier = nv.NestedClassifier(widths=WIDTHS, epochs=12, batch=5, learning_rate=1e-4)
    classifier.fit(texts, labels)
    print("accuracy on the ten, by width:", classifier.score_by_width(texts, labels))

    with tempfile.TemporaryDirectory() as folder:
        vectors, place = Path(folder) / "ten.npz", Path(folder) / "ten.nv"
        nv.save_vectors(vectors, classifier.transform(texts), texts)
        nv.build(vectors, place, spec="int8")
        collection = nv.open(place)
        for question in QUESTIONS:
            print(f"\n{question}")
            for width, chances in classifier.predict_proba_by_width([question]).items():
                best = int(chances[0].argmax())
                label = classifier.classes_[best]
                print(f"  {width:>3} dimensions: {label} ({chances[0, best]:.2f})")
            vector = classifier.transform([question])[0]
            for width in WIDTHS:
                hits = collection.search_vectors(vector, plan=f"{width}d:3")[0].hits
                shown = "; ".join(f"{distance(hit.score):.3f} {hit.id[:32]}" for hit in hits)
                print(f"  nearest at {width}: {shown}")


def distance(cosine: float) -> float:
    """Between two points of the unit sphere."""
    return math.sqrt(max(0.0, 2 - 2 * cosine))


if __name__ == "__main__":
    main()
