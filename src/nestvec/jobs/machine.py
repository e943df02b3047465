"""What this process and machine are, for results and reports."""

from __future__ import annotations

import os
import platform
import sys


def peak_rss_mb() -> float:
    """The most memory this process has held so far, in MB of 1,000,000 bytes; 0 where unknown."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # kilobytes (1,024) on Linux, bytes on macOS
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6, 1)


def describe_machine() -> dict[str, object]:
    """System, processor and cores, as JSON values."""
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count() or 0,
        "python": platform.python_version(),
    }
