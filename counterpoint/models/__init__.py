"""The micro base models that ship with the package; `CARD.md` beside this file says what each can do."""

from pathlib import Path

MICRO_MODELS = ("micro-small", "micro-medium", "micro-coder")
_HERE = Path(__file__).parent


def micro_model(name: str) -> Path | None:
    """The folder of a shipped micro model; None if `name` is not one."""
    return _HERE / name if name in MICRO_MODELS else None
