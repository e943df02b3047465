"""What to compute on, and in which numbers it is fast: decided here and nowhere else."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

from nestvec.errors import UserError


def choose_device(wanted: str) -> str:
    """The device to compute on: cuda, else mps, else cpu where wanted is "auto".

    Raises UserError where the wanted one is not there.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return next(name for name, found in there.items() if found)
    if not there[wanted]:
        raise UserError(
            f"device {wanted!r} is not there: this machine has "
            f"{', '.join(name for name, found in there.items() if found)}."
        )
    return wanted


def computes_bfloat16(device: str) -> bool:
    """Whether the device has instructions for bfloat16, so that it is faster than float32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu":
        flags = _cpu_flags()
        return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})
    return False


def _cpu_flags() -> set[str]:
    """The processor's features; on Linux only, where the kernel lists them."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.lower().startswith(("flags", "features")):
                return set(line.split(":", 1)[1].split())
    return set()
