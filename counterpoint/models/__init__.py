"""The micro base models that ship with the package; `CARD.md` beside this file says what each can do."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from counterpoint.errors import ModelError

MICRO_MODELS = ("micro-small", "micro-medium", "micro-coder")
RUNS = "runs"
"""The folder in which runs are made; a name in it is never a name on the hub."""
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w][\w.-]*")
_ALLOWED = f"a shipped model: {', '.join(MICRO_MODELS)}; a folder; a .gguf file; package:NAME/FILE; ORG/NAME on the hub"
_HERE = Path(__file__).parent


def micro_model(name: str) -> Path | None:
    """The folder of a shipped micro model; None if `name` is not one."""
    return _HERE / name if name in MICRO_MODELS else None


def is_on_hub(path: str) -> bool:
    """True if a model's path is a name on the hub, `ORG/NAME`: nothing that is, or could be, on this machine."""
    place = Path(path).expanduser()
    if not _HUB_NAME.fullmatch(path) or path.endswith(".gguf") or place.exists():
        return False
    return place.parts[0] != RUNS and not place.parent.is_dir()


def check_model(path: str, what: str, others: Iterable[str] = ()) -> None:
    """Raises ModelError, which names the nearest model, if `path` cannot be one; no weights and no network are used.

    `what` begins the message; `others` are names of other kinds that it may be a misspelling of.
    """
    if path in MICRO_MODELS or path.startswith("package:") or is_on_hub(path):
        return
    place = Path(path).expanduser()
    if (path and place.is_dir()) or (place.suffix == ".gguf" and place.is_file()):
        return
    near = get_close_matches(path, [*MICRO_MODELS, *others], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    kind = "folder" if path.startswith(("/", ".", "~")) else "model"
    raise ModelError(f"{what}: there is no such {kind}{hint} (allowed: {_ALLOWED})")
