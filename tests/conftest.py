"""No test reaches a network or depends on the time it takes."""

from __future__ import annotations

import os

from hypothesis import settings

# before any test imports a model: these are read once, at import
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

settings.register_profile("nestvec", deadline=None, derandomize=True, database=None)
settings.load_profile("nestvec")
