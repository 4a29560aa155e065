"""The micro base models that ship with the package; `CARD.md` beside this file says what each can do."""

import re
from pathlib import Path

MICRO_MODELS = ("micro-small", "micro-medium", "micro-coder", "lab-small", "lab-medium", "lab-large")
RUNS = "runs"
"""The folder in which runs are made; a name in it is never a name on the hub."""
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w][\w.-]*")
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
