"""Embeddings that can be cut: nested codes, measured on your own data.

    import nestvec as nv

    nv.build("notes/", out="notes.nv", keep=0.99)
    for hit in nv.open("notes.nv").search("a question", k=3).hits:
        print(hit.score, hit.text)

Importing this module imports nothing heavy: each name is looked up when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from nestvec.errors import MissingExtra, UserError

if TYPE_CHECKING:
    from nestvec.adapters.adapter import Adapter
    from nestvec.choose.cascade import Cascade
    from nestvec.choose.evidence import Evidence
    from nestvec.choose.labeller import Labeller
    from nestvec.choose.router import Router
    from nestvec.codec.nested import Codec
    from nestvec.index.collection import Collection
    from nestvec.index.plan import Plan
    from nestvec.index.snapshot import Hit
    from nestvec.jobs.adapt import AdaptResult, adapt, load_adapter
    from nestvec.jobs.add import Added, add
    from nestvec.jobs.build import BuildResult, build
    from nestvec.jobs.build_on_ray import build_on_ray
    from nestvec.jobs.choose import choose
    from nestvec.jobs.classify import ClassifyResult, classify_fit
    from nestvec.jobs.classify_predict import Predicted, classify_predict
    from nestvec.jobs.compact import Compacted, compact
    from nestvec.jobs.delete import Deleted, delete
    from nestvec.jobs.embed import embed
    from nestvec.jobs.evaluate import evaluate
    from nestvec.jobs.evaluation import Evaluation
    from nestvec.jobs.export import ExportResult, export
    from nestvec.jobs.fit import fit
    from nestvec.jobs.graph import Linked, graph
    from nestvec.jobs.info import Info, info
    from nestvec.jobs.lists import Listed, lists
    from nestvec.jobs.plan import PlanResult, plan
    from nestvec.jobs.refit import Refitted, refit
    from nestvec.jobs.search import Answer, Opened
    from nestvec.jobs.search import open_collection as open
    from nestvec.jobs.train import TrainResult, train
    from nestvec.jobs.truncate import truncate
    from nestvec.jobs.verify import Verified, verify
    from nestvec.jobs.versions import Versions, tag, untag, versions
    from nestvec.learn.adapters.estimator import VectorAdapter
    from nestvec.learn.classifier import NestedClassifier
    from nestvec.learn.early_classifier import EarlyClassifier
    from nestvec.learn.vector_classifier import VectorClassifier
    from nestvec.nesting import Nesting
    from nestvec.vectors import load_vectors, prefix, save_vectors

__version__ = "0.1.0"

__all__ = [
    "AdaptResult",
    "Adapter",
    "Added",
    "Answer",
    "BuildResult",
    "Cascade",
    "ClassifyResult",
    "Codec",
    "Collection",
    "Compacted",
    "Deleted",
    "EarlyClassifier",
    "Evaluation",
    "Evidence",
    "ExportResult",
    "Hit",
    "Info",
    "Labeller",
    "Linked",
    "Listed",
    "MissingExtra",
    "NestedClassifier",
    "Nesting",
    "Opened",
    "Plan",
    "PlanResult",
    "Predicted",
    "Refitted",
    "Router",
    "TrainResult",
    "UserError",
    "VectorAdapter",
    "VectorClassifier",
    "Verified",
    "Versions",
    "adapt",
    "add",
    "build",
    "build_on_ray",
    "choose",
    "classify_fit",
    "classify_predict",
    "compact",
    "delete",
    "embed",
    "evaluate",
    "export",
    "fit",
    "graph",
    "info",
    "lists",
    "load_adapter",
    "load_vectors",
    "open",
    "plan",
    "prefix",
    "refit",
    "save_vectors",
    "tag",
    "train",
    "truncate",
    "untag",
    "verify",
    "versions",
]

#: public name -> module and the name there
_HOMES = {
    "AdaptResult": ("nestvec.jobs.adapt", "AdaptResult"),
    "Adapter": ("nestvec.adapters.adapter", "Adapter"),
    "Added": ("nestvec.jobs.add", "Added"),
    "Answer": ("nestvec.jobs.search", "Answer"),
    "BuildResult": ("nestvec.jobs.build", "BuildResult"),
    "Cascade": ("nestvec.choose.cascade", "Cascade"),
    "ClassifyResult": ("nestvec.jobs.classify", "ClassifyResult"),
    "Codec": ("nestvec.codec.nested", "Codec"),
    "Collection": ("nestvec.index.collection", "Collection"),
    "Compacted": ("nestvec.jobs.compact", "Compacted"),
    "Deleted": ("nestvec.jobs.delete", "Deleted"),
    "EarlyClassifier": ("nestvec.learn.early_classifier", "EarlyClassifier"),
    "Evaluation": ("nestvec.jobs.evaluation", "Evaluation"),
    "Evidence": ("nestvec.choose.evidence", "Evidence"),
    "ExportResult": ("nestvec.jobs.export", "ExportResult"),
    "Hit": ("nestvec.index.snapshot", "Hit"),
    "Info": ("nestvec.jobs.info", "Info"),
    "Labeller": ("nestvec.choose.labeller", "Labeller"),
    "Linked": ("nestvec.jobs.graph", "Linked"),
    "Listed": ("nestvec.jobs.lists", "Listed"),
    "NestedClassifier": ("nestvec.learn.classifier", "NestedClassifier"),
    "Nesting": ("nestvec.nesting", "Nesting"),
    "Opened": ("nestvec.jobs.search", "Opened"),
    "Plan": ("nestvec.index.plan", "Plan"),
    "PlanResult": ("nestvec.jobs.plan", "PlanResult"),
    "Predicted": ("nestvec.jobs.classify_predict", "Predicted"),
    "Refitted": ("nestvec.jobs.refit", "Refitted"),
    "Router": ("nestvec.choose.router", "Router"),
    "TrainResult": ("nestvec.jobs.train", "TrainResult"),
    "Verified": ("nestvec.jobs.verify", "Verified"),
    "Versions": ("nestvec.jobs.versions", "Versions"),
    "VectorAdapter": ("nestvec.learn.adapters.estimator", "VectorAdapter"),
    "VectorClassifier": ("nestvec.learn.vector_classifier", "VectorClassifier"),
    "adapt": ("nestvec.jobs.adapt", "adapt"),
    "add": ("nestvec.jobs.add", "add"),
    "build": ("nestvec.jobs.build", "build"),
    "build_on_ray": ("nestvec.jobs.build_on_ray", "build_on_ray"),
    "classify_fit": ("nestvec.jobs.classify", "classify_fit"),
    "classify_predict": ("nestvec.jobs.classify_predict", "classify_predict"),
    "compact": ("nestvec.jobs.compact", "compact"),
    "delete": ("nestvec.jobs.delete", "delete"),
    "embed": ("nestvec.jobs.embed", "embed"),
    "evaluate": ("nestvec.jobs.evaluate", "evaluate"),
    "export": ("nestvec.jobs.export", "export"),
    "fit": ("nestvec.jobs.fit", "fit"),
    "graph": ("nestvec.jobs.graph", "graph"),
    "info": ("nestvec.jobs.info", "info"),
    "lists": ("nestvec.jobs.lists", "lists"),
    "load_adapter": ("nestvec.jobs.adapt", "load_adapter"),
    "load_vectors": ("nestvec.vectors", "load_vectors"),
    "open": ("nestvec.jobs.search", "open_collection"),
    "plan": ("nestvec.jobs.plan", "plan"),
    "prefix": ("nestvec.vectors", "prefix"),
    "refit": ("nestvec.jobs.refit", "refit"),
    "save_vectors": ("nestvec.vectors", "save_vectors"),
    "tag": ("nestvec.jobs.versions", "tag"),
    "train": ("nestvec.jobs.train", "train"),
    "truncate": ("nestvec.jobs.truncate", "truncate"),
    "untag": ("nestvec.jobs.versions", "untag"),
    "verify": ("nestvec.jobs.verify", "verify"),
    "versions": ("nestvec.jobs.versions", "versions"),
}


class _Choose(ModuleType):
    """The room nestvec.choose, which is also the function nv.choose.

    Python binds a loaded subpackage to its parent's attribute, so one name must serve both.
    """

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Say the cheapest code and plan that keep a wish; see nestvec.jobs.choose.choose."""
        return importlib.import_module("nestvec.jobs.choose").choose(*args, **options)


class _Nestvec(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        if name == "choose" and type(value) is ModuleType:
            value.__class__ = _Choose
            value.__doc__ = _Choose.__call__.__doc__
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Nestvec


def __getattr__(name: str) -> Any:
    if name == "choose":
        return importlib.import_module("nestvec.choose")
    if name not in _HOMES:
        raise AttributeError(f"module 'nestvec' has no attribute {name!r}")
    module, there = _HOMES[name]
    value = getattr(importlib.import_module(module), there)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
