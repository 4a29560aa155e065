"""The arguments that commands share, and what completes them in a shell."""

from pathlib import Path
from typing import Annotated

import typer

from counterpoint.config import Config
from counterpoint.options import dotted_keys
from counterpoint.recipe import recipes


def recipe_names(incomplete: str) -> list[str]:
    """The recipes that complete a word, for the shell."""
    return [name for name in recipes() if name.startswith(incomplete)]


def keys(incomplete: str) -> list[str]:
    """The keys of a recipe that complete a word, for the shell."""
    return [f"{key}=" for key in dotted_keys(Config) if key.startswith(incomplete)]


def names(incomplete: str) -> list[str]:
    """The keys and sections of a recipe that complete a word, for the shell."""
    every = dotted_keys(Config)
    sections = [key.rpartition(".")[0] for key in every if "." in key]
    return [name for name in dict.fromkeys([*sections, *every]) if name.startswith(incomplete)]


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Override keys of the recipe, such as run.seed=1; `counterpoint explain` lists them.",
        autocompletion=keys,
    ),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
RunPaths = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")]
Checkpoint = Annotated[
    str | None,
    typer.Option(metavar="STEP", help="Which checkpoint: its step, peak, best (the same) or last (the default)."),
]
Into = Annotated[Path, typer.Option(metavar="DIR", help="Where the files go; created if needed.")]
RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A name that `counterpoint recipes` lists, a folder, or a TOML file.",
        autocompletion=recipe_names,
    ),
]
