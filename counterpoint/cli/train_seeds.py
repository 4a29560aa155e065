"""`counterpoint train RECIPE --seeds 0,1,2`: a study of one cell, summed up over its seeds."""

import json
import re
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from counterpoint.cli.compare import print_compared
from counterpoint.cli.out import Terminal, check_folder
from counterpoint.cli.study import RUNS, Asked, start_all
from counterpoint.config import Config
from counterpoint.errors import ConfigError
from counterpoint.experiments.cells import Study
from counterpoint.experiments.check import check
from counterpoint.experiments.comparing import compare_paths
from counterpoint.experiments.cost import cost_of
from counterpoint.experiments.folder import CELLS, read_cells, refuse_foreign
from counterpoint.experiments.processes import places
from counterpoint.experiments.study import study_of_arms
from counterpoint.files import command
from counterpoint.recipe import load_config
from counterpoint.starting import default_path

_SEED = "run.seed"
_LONGEST = 60
"""Characters of the name of a folder that is given none."""


def train_seeds(
    recipe: str, overrides: Sequence[str], seeds: Sequence[int], out: Path | None, jobs: int | None, *, dry_run: bool
) -> None:
    """A run for every seed, several at the same time, then their summary over seeds; called again, it continues.

    Seeds that its folder already has stay part of it. Exits with 1 if a run failed. Raises ConfigError, before the
    first run starts, for whatever is wrong with the recipe or the seeds, and if memory or disk do not suffice.
    """
    room = places(jobs, ())
    study, folder = seeds_study(recipe, overrides, seeds, out)
    check_folder(folder)
    refuse_foreign(study, folder)
    console = Terminal(goes_on=True)
    checked = check(study)
    checked.refuse_if_missing()
    cost = cost_of(checked, folder, len(room))
    told = ", ".join(map(str, study.seeds))
    console.print(f"{folder}: {len(study.cells)} runs, seeds {told}", markup=False, soft_wrap=True)
    for warning in checked.warnings:
        console.print(f"warning: {warning}", markup=False, soft_wrap=True)
    for line in cost.lines():
        console.print(line, markup=False, soft_wrap=True)
    if dry_run and (reason := cost.problem()):
        console.print(f"cannot start here: {reason}", markup=False, soft_wrap=True)
    if dry_run:
        return
    cost.refuse_if_too_large()
    earlier = _with_earlier(study, folder, recipe, overrides)
    outcome = start_all(console, study, folder, Asked(jobs=jobs), cost.by_run, earlier)
    if outcome.finished:
        print_compared(console, compare_paths([folder]))
        console.print(f"report: {command('report', folder)}", markup=False, soft_wrap=True)
    if outcome.exit_status:
        sys.exit(outcome.exit_status)


def seeds_study(
    recipe: str, overrides: Sequence[str], seeds: Sequence[int], out: Path | None = None
) -> tuple[Study, Path]:
    """The study of one recipe with these seeds, and its folder: `out`, or one in `runs/` named after the recipe.

    Raises ConfigError if the overrides set the seed too, or the recipe cannot be read.
    """
    if any(one.partition("=")[0].strip() == _SEED for one in overrides):
        raise ConfigError(f"{_SEED} and --seeds exclude each other: give the seed to --seeds")
    config = load_config(recipe, overrides)
    study = study_of_arms(_name(config, overrides), recipe, overrides, {}, seeds)
    return study, out or RUNS / study.name


def _name(config: Config, overrides: Sequence[str]) -> str:
    """The name of a run with this recipe, without its seed; a digest takes the place of long overrides."""
    cell = config.cell.removesuffix(f"-s{config.run.seed}")
    shown = default_path(config, overrides).name.removeprefix(config.cell)
    name = f"{cell}{shown}"
    if len(name) > _LONGEST:
        name = f"{cell}-{sha256(json.dumps(sorted(overrides)).encode()).hexdigest()[:6]}"
    return re.sub(r"[^\w.+-]+", "_", name).rstrip(".") + "-seeds"


def _with_earlier(study: Study, folder: Path, recipe: str, overrides: Sequence[str]) -> Study | None:
    """The study with the seeds that its folder already has; None if it has no others."""
    if not (folder / CELLS).is_file():
        return None
    earlier = read_cells(folder).seeds
    if set(earlier) <= set(study.seeds):
        return None
    return study_of_arms(study.name, recipe, overrides, {}, sorted({*earlier, *study.seeds}))
