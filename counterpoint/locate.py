"""Where a base model is: a shipped one, a folder, a file, or the hub. Nothing is loaded to find it."""

import os
import re
import socket
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import getproxies

from counterpoint.config import ModelConfig
from counterpoint.errors import AbsentModelError, ModelError
from counterpoint.files import near
from counterpoint.models import MICRO_MODELS, is_on_hub, micro_model

ALLOWED = (
    f"a shipped model: {', '.join(MICRO_MODELS)}; a folder; a .gguf file; package:NAME/FILE; a hub name OWNER/NAME,"
    " with network"
)
"""The forms that `model.path` may have."""
_DEVICE = re.compile(r"cpu|cuda(:\d+)?")
_HUB = "https://huggingface.co"


def locate(config: ModelConfig) -> tuple[str, dict[str, Any]]:
    """The arguments for transformers: a folder or hub name, and keyword arguments.

    Raises ModelError if there is no such folder, file or package, and `config.path` is not a name on the hub either.
    """
    shipped = micro_model(config.path)
    if shipped is not None:
        return str(shipped), {"local_files_only": True}
    path = _in_package(config.path) if config.path.startswith("package:") else Path(config.path).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"model.path = {config.path!r}: there is no such file; {near(path)}".rstrip("; "))
        return str(path.parent), {"gguf_file": path.name, "local_files_only": True}
    if path.is_dir():
        return str(path), {"local_files_only": True}
    if path.is_absolute() or config.path.startswith((".", "~")):
        raise ModelError(f"model.path = {config.path!r}: there is no such folder; {near(path)}".rstrip("; "))
    _refuse_unless_on_hub(config.path)
    if not _hub_answers() and not _is_cached(config.path):
        raise AbsentModelError(
            f"model.path = {config.path!r}: the hub cannot be reached from here, and the model is not in its cache;"
            f" allowed: {ALLOWED}"
        )
    return config.path, {"revision": config.revision}


def named(config: ModelConfig) -> str:
    """The model's path, with a word on a model that may have to be downloaded first."""
    is_on_hub = "revision" in locate(config)[1]
    return f"{config.path} (downloaded, unless it is in the hub's cache)" if is_on_hub else config.path


def check_device_name(config: ModelConfig) -> None:
    """Raises ModelError if `model.device` cannot be the name of a device, on whichever machine."""
    if not _DEVICE.fullmatch(config.device):
        raise ModelError(
            f"model.device = {config.device!r} cannot be used: there is no such device; allowed: cpu, cuda, or one GPU"
            " such as cuda:1"
        )


def check_device(config: ModelConfig) -> None:
    """Raises ModelError if this machine has no such device as `model.device`."""
    import torch  # not above: everything else here does without it

    check_device_name(config)
    kind, _, index = config.device.partition(":")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and int(index or 0) >= count:
        there = ", ".join(["cpu", *(f"cuda:{number}" for number in range(count))])
        raise AbsentModelError(
            f"model.device = {config.device!r} cannot be used: torch finds no such device here; there are: {there}"
        )


def _refuse_unless_on_hub(name: str) -> None:
    """Raises ModelError if this is not the name of a model on the hub, but a path or a shipped model misspelt."""
    if is_on_hub(name):
        return
    if Path(name).is_file():
        raise ModelError(f"model.path = {name!r} is a file, but no .gguf file; allowed: {ALLOWED}")
    like = get_close_matches(name, MICRO_MODELS, n=1)
    hint = f"did you mean {like[0]!r}? " if like else near(Path(name))
    raise ModelError(f"model.path = {name!r}: there is no such model; {hint}allowed: {ALLOWED}")


@cache
def _hub_answers() -> bool:
    """False if the hub's address is unknown here. Then nobody asks it, which would take a minute for each file."""
    if any(getproxies().values()):
        return True
    try:
        socket.getaddrinfo(urlparse(os.environ.get("HF_ENDPOINT", _HUB)).hostname, 443)
    except OSError:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when huggingface_hub is imported
        return False
    return True


def _is_cached(name: str) -> bool:
    from huggingface_hub import constants

    return (Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}").is_dir()


def _in_package(name: str) -> Path:
    """The file in an installed package. The package is not imported, because its own dependencies may be missing."""
    package, _, inner = name.removeprefix("package:").partition("/")
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise AbsentModelError(f"model.path = {name!r}: no package {package!r} is installed")
    return Path(spec.submodule_search_locations[0]) / inner
