"""The staged query of an export to faiss, as a Python file of its own."""

from __future__ import annotations

from nestvec.bridge.exported import Source
from nestvec.bridge.staged import ADAPTED, CUT_OF_QUERY, asked_cut
from nestvec.index.plan import Plan, Stage

_HEAD = '''\
"""nestvec's plan {plan} over the indexes of this folder; takes faiss and numpy alone.

{told}
"""

from pathlib import Path

import faiss
import numpy as np

HERE = Path(__file__).parent
{indexes}

'''
_MEASURES = {
    "cosine": '''
def measured(rows, query):
    """Cosines of rows (m, w) and a query (w,), but for the query's length."""
    lengths = np.linalg.norm(rows, axis=1)
    return rows @ query / np.where(lengths > 0, lengths, 1)

''',
    "dot": '''
def measured(rows, query):
    """Inner products of rows (m, w) and a query (w,)."""
    return rows @ query

''',
    "l2": '''
def measured(rows, query):
    """Negated squared distances of rows (m, w) and a query (w,)."""
    return -((rows - query) ** 2).sum(axis=1)

''',
}
_SEARCH = '''
def search(query, k={k}):
    """The seqs (k,) of the best rows of a query (d,) float32, best first, and their scores."""
'''


def query_text(source: Source, plan: Plan, length: float) -> str:
    """The plan in Python: search(query, k) over the files beside it.

    length: of the query in a first stage of bytes.
    """
    stages = plan.stages
    metric = source.metric
    indexes = [_loaded(stage) for stage in stages]
    if stages[0].kind == "sign" and source.signs.axes is not None:
        indexes.append('axes = np.load(HERE / "axes.npy")')
    text = _HEAD.format(plan=plan, told=_told(source), indexes="\n".join(indexes))
    if len(stages) > 1:
        text += _MEASURES[metric]
    if metric != "cosine" and any(stage.kind == "dims" for stage in stages):
        text += f"\n{CUT_OF_QUERY}\n"
    lines = []
    if metric == "cosine":
        lines.append("query = query / np.linalg.norm(query)")
    lines += _first(source, stages[0], length, "k" if len(stages) == 1 else str(stages[0].keep))
    lines.append("near, scores = near[0][near[0] >= 0], scores[0][near[0] >= 0]")
    for stage in stages[1:]:
        keep = "k" if stage is stages[-1] else str(stage.keep)
        lines.append(f"rows = {_variable(stage)}.reconstruct_batch(near)")
        lines.append(f"scores = measured(rows, {_asked(stage, metric)})")
        lines.append(f"best = np.lexsort((near, -scores))[:{keep}]")
        lines.append("near, scores = near[best], scores[best]")
    lines.append("return near, scores")
    return text + _SEARCH.format(k=plan.k) + "".join(f"    {line}\n" for line in lines)


def _told(source: Source) -> str:
    lines = ["rows.jsonl has a row's seq, id, title, text and columns a line."]
    if source.opened.adapter is not None:
        lines.append(ADAPTED)
    return "\n".join(lines)


def _variable(stage: Stage) -> str:
    kinds = {"sign": "signs", "bytes": f"codes_{stage.amount}", "dims": f"cut_{stage.amount}"}
    return kinds.get(stage.kind, "vectors")


def _loaded(stage: Stage) -> str:
    read = "read_index_binary" if stage.kind == "sign" else "read_index"
    return f'{_variable(stage)} = faiss.{read}(str(HERE / "{stage.name}.faiss"))'


def _first(source: Source, stage: Stage, length: float, keep: str) -> list[str]:
    name = _variable(stage)
    if stage.kind == "sign":
        positive = "axes @ query >= 0" if source.signs.axes is not None else "query > 0"
        bits = f"bits = np.packbits({positive})[None]"
        return [bits, f"scores, near = {name}.search(bits, {keep})", "scores = -scores"]
    if stage.kind == "bytes":
        return [
            "# faiss ranks by |q - x|^2; of a query of this length, nearly as by the cosine",
            f"asked = np.float32({length!r}) * query[None]",
            f"scores, near = {name}.search(asked, {keep})",
            "scores = -scores",
        ]
    negated = ["scores = -scores"] if source.metric == "l2" else []
    return [
        f"asked = {_asked(stage, source.metric)}[None]",
        f"scores, near = {name}.search(asked, {keep})",
        *negated,
    ]


def _asked(stage: Stage, metric: str) -> str:
    return asked_cut(stage.amount, metric) if stage.kind == "dims" else "query"
