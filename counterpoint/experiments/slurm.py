"""A study on a cluster with SLURM: job arrays whose tasks each create or resume one job of the study.

`slurm/<group>.cells` is frozen: a task finds its job by the number of its line, so that jobs in the queue stay right
when the study's file changes. Every script does what `counterpoint study STUDY --cell NAME` does.
"""

import re
import shlex
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from counterpoint.errors import ConfigError, RunError, unknown
from counterpoint.experiments.cells import Study
from counterpoint.experiments.states import LOGS
from counterpoint.files import decoded, near, write_whole
from counterpoint.options import explain

SLURM = "slurm"
CONTROLS = "controls"
"""The name of the array of the study's evaluations, which starts when the others have ended."""
_DEFAULT = "default"
_MOST = 1000
"""Tasks of one array; SLURM takes no more unless its administrator has raised `MaxArraySize`."""
T = TypeVar("T", bound=BaseModel)


class Resources(BaseModel):
    """The resources that each job of an array asks for; options that are not given are the cluster's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: str = ""
    account: str = ""
    time: str = ""
    """The limit of one task, as sbatch takes it; a run that needs longer is resumed by submitting the array again."""
    cpus: Annotated[int, Field(ge=1)] = 1
    memory: str = ""
    gpus: Annotated[int, Field(ge=0)] = 0
    parallel: Annotated[int, Field(ge=0)] = 0
    """The tasks that run at the same time; 0 for as many as the cluster has room for."""
    options: tuple[str, ...] = ()
    """More options of sbatch, such as `--constraint=h200`."""
    setup: tuple[str, ...] = ()
    """Lines of the shell before the job, such as `module load cuda`."""


class Group(Resources):
    """The resources of the cells with certain labels."""

    where: dict[str, str]
    """Axis -> label; a cell with all of them belongs to the group."""


@dataclass(frozen=True, slots=True)
class Site:
    """A cluster's file: the resources of a cell, and of those with certain labels."""

    default: Resources
    groups: Mapping[str, Group]


def read_site(path: Path) -> Site:
    """The resources that a TOML file names: `[default]`, and `[groups.NAME]`, which has what `[default]` says.

    Raises ConfigError, which names the wrong key or value and what is allowed.
    """
    if not path.is_file():
        raise ConfigError(f"--slurm {path}: {near(path)}there is no such file")
    try:
        table = tomllib.loads(decoded(path.read_bytes()))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    if wrong := [key for key in table if key not in (_DEFAULT, "groups")]:
        raise ConfigError(f"{path}: " + unknown("key", wrong[0], (_DEFAULT, "groups")))
    default = _table(table, _DEFAULT, path)
    groups = {}
    for name in _table(table, "groups", path):
        own = _table(table["groups"], name, path, "groups.")
        if name in (_DEFAULT, CONTROLS) or not re.fullmatch(r"[\w-]+", name):
            raise ConfigError(f"{path}: groups.{name}: choose another name, of letters, digits, _ and -")
        groups[name] = _read(Group, {**default, **own}, f"groups.{name}", path)
    return Site(_read(Resources, default, _DEFAULT, path), groups)


def _table(table: Mapping[str, Any], name: str, path: Path, above: str = "") -> dict[str, Any]:
    found = table.get(name, {})
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: {above}{name} = {found!r}: a table is expected, [{above}{name}]")
    return found


def _read(kind: type[T], table: Mapping[str, Any], where: str, path: Path) -> T:
    try:
        return kind(**table)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error, kind, where)}") from None


def write_arrays(study: Study, folder: Path, site: Site, named: str, done: Path | None = None) -> list[str]:
    """`slurm/` in the study's folder has a script and a list per group. Returns the lines that submit them.

    A group of more than a thousand jobs is several arrays, and one without jobs none. `named` is the study as the
    command line names it; `done` is the folder whose runs are left out of it, which the tasks name too. Raises
    ConfigError for a label that the study does not have, and RunError if a list is there already and says something
    else.
    """
    arrays = {
        group if len(names) <= _MOST else f"{group}.{number + 1}": (group, names[number * _MOST : (number + 1) * _MOST])
        for group, names in _lists(study, site).items()
        for number in range(-(-len(names) // _MOST))
    }
    place = folder.resolve() / SLURM
    place.mkdir(parents=True, exist_ok=True)
    (folder / LOGS).mkdir(exist_ok=True)
    command = _command(study, folder, named, done)
    _refuse_changed({place / f"{array}.cells": names for array, (_, names) in arrays.items()})
    for array, (group, names) in arrays.items():
        write_whole(place / f"{array}.cells", _lines(names))
        resources = site.groups.get(group, site.default)
        write_whole(place / f"{array}.sbatch", _script(study, array, len(names), resources, folder, command))
    controls = [array for array, (group, _) in arrays.items() if group == CONTROLS]
    return _submitted([array for array in arrays if array not in controls], controls, place)


def _lists(study: Study, site: Site) -> dict[str, list[str]]:
    """Group -> the names of its jobs; groups without any are left out, as those of a part of a study may have none."""
    lists: dict[str, list[str]] = {}
    for cell in study.cells:
        group = next((name for name, one in site.groups.items() if one.where.items() <= cell.labels.items()), _DEFAULT)
        lists.setdefault(group, []).append(cell.name)
    for name, one in site.groups.items():
        if name not in lists and not _has(study, one.where):
            raise ConfigError(f"groups.{name}.where: no cell of {study.name} has {_shown(one.where)}")
    if study.measures:
        lists[CONTROLS] = [f"{one.cell}/{one.name}" for one in study.measures]
    return lists


def _has(study: Study, where: Mapping[str, str]) -> bool:
    """True if the study has these labels, whether or not the part of it that is left has a cell with them."""
    return all(label in study.axes.get(axis, ()) for axis, label in where.items())


def _refuse_changed(lists: Mapping[Path, Sequence[str]]) -> None:
    """Raises RunError, before anything is written, if a list is there already and says something else."""
    for path, names in lists.items():
        if path.is_file() and path.read_text(encoding="utf-8") != _lines(names):
            raise RunError(
                f"{path} lists other cells than the study has now, and jobs in the queue count its lines: remove"
                f" {path.parent} when none of them is left"
            )


def _lines(names: Sequence[str]) -> str:
    return "".join(f"{name}\n" for name in names)


def _script(study: Study, array: str, count: int, resources: Resources, folder: Path, command: str) -> str:
    limit = f"%{resources.parallel}" if resources.parallel else ""
    options = {
        "job-name": f"{study.name}-{array}",
        "array": f"1-{count}{limit}",
        "output": str(folder.resolve() / LOGS).replace("%", "%%") + "/slurm-%A_%a.out",
        "open-mode": "append",
        "signal": "B:TERM@120",
        "cpus-per-task": resources.cpus,
        "partition": resources.partition,
        "account": resources.account,
        "time": resources.time,
        "mem": resources.memory,
        "gres": f"gpu:{resources.gpus}" if resources.gpus else "",
    }
    lines = [f"#SBATCH --{name}={_quoted(value)}" for name, value in options.items() if value]
    lines += ["#SBATCH --requeue", *(f"#SBATCH {option}" for option in resources.options)]
    listed = shlex.quote(str(folder.resolve() / SLURM / f"{array}.cells"))
    return "\n".join(
        [
            "#!/bin/bash",
            *lines,
            "set -e",
            f"cd {shlex.quote(str(Path.cwd()))}",
            *resources.setup,
            "set -u  # after the lines above: modules and environments read variables that are not set",
            f'cell=$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {listed})',
            "# exec: the signal two minutes before the limit reaches the command, which saves its last step",
            f'exec {command} --cell "$cell"',
            "",
        ]
    )


def _command(study: Study, folder: Path, named: str, done: Path | None) -> str:
    """The command of every task, to which it adds the name of its cell."""
    words = ["study", _absolute(named), "--seeds", ",".join(map(str, study.seeds)), "--out", str(folder.resolve())]
    more = [] if done is None else ["--done", str(done.resolve())]
    return shlex.join([sys.executable, "-m", "counterpoint", *words, *more])


def _submitted(trained: Sequence[str], controls: Sequence[str], place: Path) -> list[str]:
    scripts = {array: shlex.quote(str(place / f"{array}.sbatch")) for array in [*trained, *controls]}
    if not controls:
        return [f"sbatch {scripts[array]}" for array in trained]
    lines = [f"job{number}=$(sbatch --parsable {scripts[array]})" for number, array in enumerate(trained, start=1)]
    after = ":".join(f"$job{number}" for number in range(1, len(trained) + 1))
    return [*lines, *(f"sbatch --dependency=afterany:{after} {scripts[array]}" for array in controls)]


def _quoted(value: Any) -> str:
    text = str(value)
    return f'"{text}"' if any(sign.isspace() for sign in text) else text


def _absolute(named: str) -> str:
    return str(Path(named).resolve()) if Path(named).is_file() else named


def _shown(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{axis} = {label}" for axis, label in labels.items())
