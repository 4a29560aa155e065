"""Files of studies: found, read and checked on their own, before any recipe is looked at."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, create_model

from counterpoint.analysis.tries import TRIES
from counterpoint.errors import ConfigError, unknown
from counterpoint.files import decoded, near
from counterpoint.options import Section, explain

_PACKAGE = Path(__file__).parents[1]
STUDY_FOLDERS = (Path("studies"), _PACKAGE / "studies", _PACKAGE.parent / "studies")
LEAST_EVALUATIONS = 6
"""With fewer the terminal accuracy, a mean over three evaluations, contains the base or the peak."""
Labels = dict[str, str | list[str]]
EVALUATED = ("transfer", "majority", "swap", "ablate", "solo", "taught")
"""The controls that are evaluations."""


class Exclusion(Section):
    """Combinations of labels that a study leaves out."""

    where: Annotated[Labels, Field(min_length=1)]
    """Axis -> a label or a list of labels; all of them must apply."""
    reason: Annotated[str, Field(min_length=1)]
    """The reason, which reports show."""


class Condition(Section):
    """Keys of the recipe for some combinations of labels, over those of the axes."""

    where: Annotated[Labels, Field(min_length=1)]
    """Axis -> a label or a list of labels; all of them must apply."""
    set: Annotated[dict[str, Any], Field(min_length=1)]
    """Keys of the recipe."""


class ControlTable(Section):
    """A control: runs of their own, or evaluations of the study's runs."""

    name: Annotated[str, Field(min_length=1)]
    """A name of your own for kind "train"; transfer, majority, swap, ablate, solo or taught for kind
    "evaluate"."""
    kind: Literal["train", "evaluate"]
    """"train": a single agent is trained. "evaluate": finished runs are evaluated."""
    match: Literal["calls", "none"] = "calls"
    """The size of the groups, of kind "train". "calls": as many times larger as the workflow has calls per episode, so
    that both generate as many tokens. "none": that of the recipe."""
    calls: dict[str, Annotated[int, Field(ge=1)]] = {}
    """Label -> calls per episode, where they are not to be counted: a workflow that varies them is matched at its
    most."""
    set: dict[str, Any] = {}
    """Further keys of the recipe, of kind "train"."""
    of: Literal["peak", "last"] = "peak"
    """The checkpoint, of kind "evaluate"."""
    by: str = ""
    """The control of kind "train" whose policy transfer and majority use; empty if there is but one."""
    roles: list[str] = []
    """The roles of swap and ablate; all of them if it is empty."""
    samples: Annotated[int, Field(ge=1)] | None = None
    """Episodes per task, of kind "evaluate"; as many as `evaluation.final_samples` if it is left out, and 8 of
    taught."""
    tries: Annotated[int, Field(ge=1)] = TRIES
    """The tries of the base by which taught sorts the tasks: never, sometimes or always right."""


class _StudyFile(Section):
    """The file of a study."""

    name: str = ""
    """The folder in `runs/`; the name of the file if it is left out."""
    about: str = ""
    """One sentence about the study."""
    recipe: Annotated[str, Field(min_length=1)]
    """The recipe on which every cell is based: a name, or a file, looked for here and beside the study."""
    compare: str = ""
    """The axis whose labels are compared: sharing, or the only axis, if it is left out."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    """The seeds of every cell."""
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.03
    """Differences in accuracy within this margin count as alike."""
    least_evaluations: Annotated[int, Field(ge=2)] = LEAST_EVALUATIONS
    """Fewer evaluations of a run, the base included, are refused."""
    set: dict[str, Any] = {}
    """Keys of the recipe, for every cell."""
    axes: Annotated[dict[str, dict[str, dict[str, Any]]], Field(min_length=1)]
    """Axis -> label -> keys of the recipe; `recipe` replaces the base recipe."""
    when: list[Condition] = []
    """Keys of the recipe for combinations of labels, such as the rounds of one workflow on one task."""
    controls: list[ControlTable] = []
    """The controls."""


if TYPE_CHECKING:
    StudyFile = _StudyFile
else:  # `except` cannot be written as an attribute
    StudyFile = create_model("StudyFile", __base__=_StudyFile, **{"except": (list[Exclusion], [])})


def read_study(path: Path) -> StudyFile:
    """A study's file, checked on its own. Raises ConfigError, which names the file, the key and what is allowed."""
    try:
        table = tomllib.loads(decoded(path.read_bytes()))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # tomllib's error is one too
        raise ConfigError(f"{path} is not TOML: {error}") from error
    try:
        found = StudyFile.model_validate(table)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error, StudyFile)}") from None
    return found


def exclusions(file: StudyFile) -> list[Exclusion]:
    """The `[[except]]` of a study."""
    found: list[Exclusion] = getattr(file, "except")
    return found


def find_study(name: str) -> Path:
    """The file of a study: a path, or the name of a file in `studies/`. Raises ConfigError, which lists the names."""
    here = Path(name)
    for candidate in (here, *(folder / f"{name}.toml" for folder in STUDY_FOLDERS)):
        if candidate.is_file():
            return candidate
    if here.is_dir():
        held = ", ".join(str(one) for one in sorted(here.glob("*.toml")))
        raise ConfigError(f"{name} is a folder, not the file of a study" + (f"; it has: {held}" if held else ""))
    if here.suffix or here.parent != Path():
        raise ConfigError(f"study {name!r}: there is no such file; {near(here)}".rstrip("; "))
    raise ConfigError(unknown("study", name, studies()) + " (or the path of a TOML file)")


def studies() -> dict[str, Path]:
    """Name -> file of every study that can be used by name; one in the current directory hides others of its name."""
    files = {path.stem: path for folder in reversed(STUDY_FOLDERS) for path in folder.glob("*.toml")}
    return dict(sorted(files.items()))
