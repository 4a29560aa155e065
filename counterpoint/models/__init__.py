"""The micro base models that ship with the package; `CARD.md` beside this file says what each can do."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path

MICRO_MODELS = ("micro-small", "micro-medium", "micro-coder", "lab-small", "lab-medium")
RUNS = "runs"
"""The folder in which runs are made; a name in it is never a name on the hub."""
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w][\w.-]*")
_DECISIVE = ("*.safetensors", "tokenizer.json", "*.jinja")
_HERE = Path(__file__).parent


def micro_model(name: str) -> Path | None:
    """The folder of a shipped micro model; None if `name` is not one."""
    return _HERE / name if name in MICRO_MODELS else None


def shipped_weights(paths: Iterable[str]) -> dict[str, str]:
    """Shipped model -> the SHA-256 of its weights, tokenizer and template; other models are left out."""
    return {path: _digest(folder) for path in sorted({*paths}) if (folder := micro_model(path)) is not None}


def other_weights(then: Mapping[str, str]) -> str:
    """The first shipped model of which these are not the digests now, with both digests; empty if there is none.

    `then` is a model's name -> its digest, as `shipped_weights` gave it.
    """
    for model, now in shipped_weights(then).items():
        if now != then[model]:
            return f"another {model} than this version ships ({then[model][:8]}, now {now[:8]})"
    return ""


def is_on_hub(path: str) -> bool:
    """True if a model's path is a name on the hub, `ORG/NAME`: nothing that is, or could be, on this machine."""
    place = Path(path).expanduser()
    if not _HUB_NAME.fullmatch(path) or path.endswith(".gguf") or place.exists():
        return False
    return place.parts[0] != RUNS and not place.parent.is_dir()


@cache
def _digest(folder: Path) -> str:
    """The SHA-256 of the files that decide what a model says."""
    kept = sorted(one for pattern in _DECISIVE for one in folder.glob(pattern))
    return sha256(b"".join(sha256(one.read_bytes()).digest() for one in kept)).hexdigest()
