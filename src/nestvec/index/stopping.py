"""When a last stage may stop: what is not yet read is unlikely to be among the best.

Rows come in the order of the stage before. Of those that the last stage has read, both scores are
known; a straight line through them says what a score of the stage before promises, and how far
rows stray from it. Reading stops when the next row, the most promising that is left, would have to
stray by more than `sure` standard errors to be among the best. Like RaBitQ's bound (Gao and Long
2024, arXiv:2405.12497) this holds with a probability, not for certain: for certainty there is the
plan `exact`. Unlike it nothing is stored, every metric and kind of stage will do, and the error is
that of this very query.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nestvec.index.scan import Shortlist, narrowed

# A line through fewer rows says little of how far others stray.
_FIRST_ROWS = 64


def until_sure(
    shortlist: Shortlist, keep: int, sure: float, rescored: Callable[[Shortlist], Shortlist]
) -> tuple[Shortlist, int]:
    """The best `keep` of a shortlist by another score, and how many rows were read for it.

    shortlist: best first by the scores of the stage before. rescored: gives the rows of a part of
    it, all of them in any order, by the last stage's scores. Reads twice as many rows each time.
    """
    count = len(shortlist.rows)
    read = min(count, max(_FIRST_ROWS, 2 * keep))
    found = rescored(_part(shortlist, 0, read))
    while read < count and not _out_of_reach(shortlist, found, read, keep, sure):
        further = min(count, 2 * read)
        found = _joined(found, rescored(_part(shortlist, read, further)))
        read = further
    return narrowed(found, keep), read


def _out_of_reach(
    shortlist: Shortlist, found: Shortlist, read: int, keep: int, sure: float
) -> bool:
    """Whether no row from `read` on is likely to be among the best `keep`."""
    promised = shortlist.scores[:read][np.argsort(shortlist.rows[:read])].astype(np.float64)
    kept = found.scores[np.argsort(found.rows)].astype(np.float64)
    centred = promised - promised.mean()
    spread = float(centred @ centred)
    # A line that falls would promise more of later rows: it is noise.
    slope = max(0.0, float(centred @ kept) / spread) if spread > 0 else 0.0
    strays = kept - kept.mean() - slope * centred
    error = float(np.sqrt(strays @ strays / (read - 2)))
    next_one = kept.mean() + slope * (float(shortlist.scores[read]) - promised.mean())
    last_kept = float(np.partition(kept, read - keep)[read - keep])
    return bool(next_one + sure * error < last_kept)


def _part(shortlist: Shortlist, start: int, stop: int) -> Shortlist:
    part = slice(start, stop)
    return Shortlist(
        shortlist.rows[part], shortlist.seqs[part], shortlist.sums[part], shortlist.scores[part]
    )


def _joined(one: Shortlist, other: Shortlist) -> Shortlist:
    return Shortlist(
        np.concatenate([one.rows, other.rows]),
        np.concatenate([one.seqs, other.seqs]),
        np.concatenate([one.sums, other.sums]),
        np.concatenate([one.scores, other.scores]),
    )
