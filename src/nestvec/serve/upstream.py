"""An API that embeds for a server: how long it is waited for, and what is said where it fails."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from nestvec.data.encoder_api import ApiFault
from nestvec.serve.faults import Fault

DEADLINE_S = 20.0
"""Of one request to the API, all tries among them: others wait behind it."""
KEY_VARIABLES = ("OPENAI_API_KEY",)
"""Not NESTVEC_API_KEY, which is the server's own: what its clients bring is theirs alone."""
_OF_A_TEXT = frozenset({400, 413, 422})


def may_be_one_text(error: ApiFault) -> bool:
    """Whether an API may have refused several texts for one of them."""
    return error.status in _OF_A_TEXT


def fault_of(error: ApiFault) -> Fault:
    """What clients hear of an API's fault: nothing of its words, address or key."""
    if error.timed_out:
        return Fault(
            504,
            "texts are embedded by another server here, which did not answer in time: ask again "
            "after a while.",
            code="upstream_timeout",
            retry_after_s=1,
        )
    status = "" if error.status is None else f" (status {error.status})"
    if may_be_one_text(error):
        said = f"refused this text{status}: shorten or mend it, or see the log of nestvec serve."
    else:
        said = f"failed{status}: ask again after a while, or see the log of nestvec serve."
    return Fault(
        502,
        f"texts are embedded by another server here, which {said}",
        code="upstream_failed",
    )


def apportioned(tokens: int, texts: Sequence[str]) -> list[int]:
    """Tokens of several texts together dealt to them by their lengths; they add up.

    >>> apportioned(10, ["a", "bb", "cc"])
    [2, 4, 4]
    """
    ends = list(accumulate((max(1, len(text)) for text in texts), initial=0))
    dealt = [tokens * end // ends[-1] for end in ends]
    return [after - before for before, after in pairwise(dealt)]
