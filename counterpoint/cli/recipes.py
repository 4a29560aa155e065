"""`counterpoint recipes`."""

import re
from pathlib import Path

from rich.padding import Padding
from rich.text import Text

from counterpoint.cli.out import Terminal
from counterpoint.errors import CounterpointError
from counterpoint.recipe import load_config, recipes

_SENTENCE = re.compile(r"^(?![#\s`|>-]).+?[.:](?=\s|$)", flags=re.MULTILINE | re.DOTALL)


def print_recipes() -> None:
    """Print every recipe that can be named: its workflow, task and model, and the first sentence of its README."""
    console = Terminal()
    for name, path in recipes().items():
        console.print(Text.assemble((name, "bold"), f"  {_named(path)}"), soft_wrap=True)
        console.print(Padding(Text(_about(path.with_name("README.md"))), (0, 0, 0, 4)))
    console.print("\ntrain one: counterpoint train RECIPE", markup=False)


def _named(path: Path) -> str:
    """Workflow, task and model; the error if the recipe cannot be read."""
    try:
        config = load_config(path)
    except CounterpointError as error:
        return f"cannot be read: {error}"
    return f"{config.workflow.name.rpartition(':')[2]}, {config.task.name}, {config.model.path.rpartition('/')[2]}"


def _about(readme: Path) -> str:
    found = _SENTENCE.search(readme.read_text(encoding="utf-8")) if readme.is_file() else None
    return " ".join(found[0].split()).rstrip(":") if found else ""
