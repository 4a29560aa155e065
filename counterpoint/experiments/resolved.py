"""The recipes of a study's cells, and errors of many cells told at once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from counterpoint.config import Config
from counterpoint.errors import CounterpointError, counted
from counterpoint.experiments.cells import Cell
from counterpoint.family import look_in, only_folders_named_within
from counterpoint.pins import own_names
from counterpoint.recipe import find_recipe, load_config

_MOST_NAMED = 3


def resolved(cells: Iterable[Cell]) -> tuple[dict[str, Config], dict[str, str]]:
    """Name without seed -> the recipe of its first cell; and -> the reason, where there is none.

    The cells of a group differ in `run.seed` alone.
    """
    configs: dict[str, Config] = {}
    failed: dict[str, str] = {}
    for cell in cells:
        if cell.group in configs or cell.group in failed:
            continue
        try:
            with only_folders_named_within():
                configs[cell.group] = load_config(cell.recipe, cell.overrides)
        except CounterpointError as error:
            failed[cell.group] = str(error)
    return configs, failed


@contextmanager
def in_its_folder(cell: Cell) -> Iterator[None]:
    """Inside, modules of the user's are those that the run of this cell will have: beside its recipe, or here."""
    with only_folders_named_within():
        look_in(find_recipe(cell.recipe).parent)
        yield


def identity(cell: Cell, config: Config) -> str:
    """Equal for two cells exactly if their recipes are, whatever their seeds.

    Where a recipe names modules of the user's, `module:name`, that of another folder is another recipe.
    """
    seedless = config.model_copy(update={"run": config.run.model_copy(update={"seed": 0})})
    where = str(find_recipe(cell.recipe).parent.resolve()) if own_names(config) else ""
    return f"{seedless.model_dump_json()} {where}"


def told_together(failed: Mapping[str, str], of: int) -> str:
    """All reasons, each once, with the cells that it holds for; `of` is the number of cells without their seeds."""
    cells: dict[str, list[str]] = {}
    for group, reason in failed.items():
        cells.setdefault(reason, []).append(group)
    whose = {reason: "every cell" if len(groups) == of > 1 else some_of(groups) for reason, groups in cells.items()}
    lines = [f"{who}: {reason}" for reason, who in whose.items()]
    if len(lines) == 1:
        return lines[0]
    return f"{len(failed)} of {counted(of, 'cell')} cannot be run:\n" + "\n".join(f"  {line}" for line in lines)


def some_of(groups: Sequence[str]) -> str:
    """A few names of cells, and how many more there are."""
    more = len(groups) - _MOST_NAMED
    return ", ".join(groups[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
