"""Amounts for people."""

from __future__ import annotations


def in_bytes(n_bytes: float) -> str:
    """812 bytes, 6.3 MB, 1.54 GB: three digits, powers of 1,000."""
    if n_bytes < 1000:
        return f"{n_bytes:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        n_bytes /= 1000
        if n_bytes < 999.5:
            return f"{n_bytes:.3g} {unit}"
    return f"{n_bytes / 1000:,.3g} TB"


def in_percent(share: float) -> str:
    """99.3 %."""
    return f"{100 * share:.1f} %"
