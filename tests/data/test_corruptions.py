"""Corruptions: by hand where they can be, and worse with every severity."""

import numpy as np
import pytest

from nestvec.data.corruptions import KINDS, SEVERITIES, corrupted
from nestvec.errors import UserError


@pytest.fixture(scope="module")
def pixels():
    rows = np.linspace(0, 6.28, 20)
    waves = 127 + 100 * np.sin(rows)[None, :, None, None] * np.cos(rows)[None, None, :, None]
    return np.repeat(np.repeat(waves, 3, axis=3), 2, axis=0).astype(np.uint8)


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_severity_is_farther_from_the_picture(kind, pixels):
    kept = pixels.copy()
    away = [
        float(np.abs(corrupted(pixels, kind, severity).astype(int) - pixels).mean())
        for severity in SEVERITIES
    ]
    assert np.array_equal(pixels, kept)
    assert away == sorted(away)
    assert away[0] > 0
    found = corrupted(pixels, kind, 3)
    assert found.shape == pixels.shape
    assert found.dtype == np.uint8
    assert np.array_equal(found, corrupted(pixels, kind, 3))


def test_contrast_and_occlusion_by_hand():
    two = np.zeros((1, 2, 2, 3), np.uint8)
    two[0, 0] = 200
    found = corrupted(two, "contrast", 2)
    assert found[0, :, 0, 0].tolist() == [150, 50]
    grey = corrupted(np.zeros((1, 10, 10, 3), np.uint8), "occlusion", 4)
    assert int((grey == 128).all(axis=3).sum()) == 25


def test_noise_has_the_deviation_it_says():
    flat = np.full((1, 100, 100, 3), 128, np.uint8)
    assert corrupted(flat, "noise", 3).std() == pytest.approx(25.5, rel=0.05)


def test_others_are_refused(pixels):
    with pytest.raises(UserError, match="one of noise, blur"):
        corrupted(pixels, "fog", 1)
    with pytest.raises(UserError, match="1 to 5; got 6"):
        corrupted(pixels, "blur", 6)
