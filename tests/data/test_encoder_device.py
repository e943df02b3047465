from __future__ import annotations

import pytest
import torch

from nestvec.data import encoder_device
from nestvec.data.encoder_device import choose_device, computes_bfloat16
from nestvec.errors import UserError


def test_a_device_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(UserError, match="device 'cuda' is not there: this machine has cpu"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == "cuda"


@pytest.mark.parametrize(("flags", "fast"), [({"avx2"}, False), ({"avx512_bf16"}, True)])
def test_bfloat16_needs_its_instructions(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], fast: bool
) -> None:
    monkeypatch.setattr(encoder_device, "_cpu_flags", lambda: flags)
    assert computes_bfloat16("cpu") is fast
    assert not computes_bfloat16("mps")
