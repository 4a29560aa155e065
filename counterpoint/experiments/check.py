"""Everything that can be wrong with a study before its first run starts: all errors at once, each with its cells."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from counterpoint.analysis.milestones import LAST
from counterpoint.config import Config
from counterpoint.errors import ConfigError, counted
from counterpoint.experiments.cells import Cell, Study, group_of
from counterpoint.experiments.resolved import identity, resolved, some_of, told_together

SECONDS = 1800.0
"""The longest that planning all cells may take: a data set may have to be read."""
_PLANNER = "counterpoint.plan.cells"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPlan:
    """The plan of a cell, whatever its seed."""

    config: Config
    steps: int
    evaluations: int
    """The number of evaluations of each split, the base included."""
    calls: int
    """Per episode, at most."""
    calls_per_step: int
    evaluated: int
    """Episodes of one evaluation, of both splits."""
    finally_evaluated: int
    """Episodes of the evaluations with which a run ends, `evaluation.final_samples`."""
    memory: int | None
    """Bytes at the peak, beside those of Python and its libraries; None if the model is not on this machine."""
    step_seconds: float | None
    """A floor on this machine; None if it is unknown."""
    evaluation_seconds: float | None
    """A floor, as above, for one evaluation of both splits."""
    disk: int
    """Bytes of the finished run, if every reply has all its tokens."""
    test_tasks: str
    """A fingerprint of the test split; empty if its data is not on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A study that can be run, as far as can be told on this machine."""

    study: Study
    plans: Mapping[str, CellPlan]
    """Cell without seed -> its plan."""
    warnings: tuple[str, ...]
    """Reasons why results may say little, one line each."""
    missing: tuple[str, ...]
    """The models, data sets and devices that are not on this machine, one line each: it was checked without them."""

    def refuse_if_missing(self) -> None:
        """Raises ConfigError if something is not on this machine: a study that cannot run is not started."""
        if self.missing:
            raise ConfigError("\n  ".join(["the study cannot run on this machine:", *self.missing]))


def check(study: Study) -> Checked:
    """The study with the plan of every cell. Raises ConfigError, which lists every cell that cannot be run, and why.

    Recipes are resolved here; then one process, the only one that imports an engine, plans all cells. Cells that differ
    in their seeds alone are planned once. What is not on this machine (a model, a data set, a device) is listed in the
    result, and the rest is checked without it.
    """
    cells: dict[str, Cell] = {}
    for cell in study.cells:
        cells.setdefault(cell.group, cell)
    configs, failed = resolved(cells.values())
    failed |= _wrong_in_a_study(study, configs)
    twice = _planned_twice(cells, configs)
    found = _planned([cell for group, cell in cells.items() if group not in failed])
    rows = {group: found[cell.name] for group, cell in cells.items() if cell.name in found}
    failed |= {group: row["error"] for group, row in rows.items() if "error" in row}
    failed |= {group: reason for group, reason in twice.items() if group not in failed}
    if failed:
        raise ConfigError(told_together(failed, len(cells)))
    return Checked(
        study=study,
        plans={group: _plan(configs[group], row) for group, row in rows.items()},
        warnings=(*_told(rows, "warnings"), *_unpaired(study, rows)),
        missing=tuple(_told(rows, "missing")),
    )


def evaluations_in(steps: int, every: int) -> int:
    """Evaluations of each split in a run: the base, every so many steps, and the last step."""
    return 1 + steps // every + (1 if steps % every else 0)


def _wrong_in_a_study(study: Study, configs: Mapping[str, Config]) -> dict[str, str]:
    """Cell -> what is allowed in a recipe and not in a study."""
    failed = {}
    peaks = {group_of(one.cell) for one in study.measures if "peak" in one.arguments}
    threads = sorted({config.run.threads for config in configs.values()})
    for group, config in configs.items():
        steps, every, save = config.run.steps, config.evaluation.every, config.run.save_every
        made = evaluations_in(steps, every)
        if config.run.threads == 0:
            failed[group] = (
                "run.threads = 0 lets every run choose its threads, and their number changes the results: set it for"
                ' every cell, such as "run.threads" = 1 in [set]'
            )
        elif len(threads) > 1:
            failed[group] = (
                f"run.threads = {config.run.threads}: the number of threads changes the results, so it must be one for"
                f" the whole study, which has {', '.join(map(str, threads))}"
            )
        elif made < study.least_evaluations:
            failed[group] = (
                f"run.steps = {steps} and evaluation.every = {every} make {counted(made, 'evaluation')}, the base"
                f" included, and the terminal accuracy is the mean of the last three: at least"
                f" {study.least_evaluations}; least_evaluations in the study allows fewer"
            )
        elif group in peaks and every % save:
            failed[group] = (
                f"run.save_every = {save} does not divide evaluation.every = {every}: a control is evaluated at the"
                " peak, which may then have no checkpoint"
            )
    return failed


def _planned_twice(cells: Mapping[str, Cell], configs: Mapping[str, Config]) -> dict[str, str]:
    """Cell -> the other one with an equal recipe: labels that change nothing would be compared with each other."""
    first: dict[str, str] = {}
    failed = {}
    for group, config in configs.items():
        same = first.setdefault(identity(cells[group], config), group)
        if same != group and cells[same].seed == cells[group].seed:
            failed[group] = f"its recipe is that of {same}: their labels change nothing"
    return failed


def _planned(cells: Sequence[Cell]) -> dict[str, dict[str, Any]]:
    """Cell -> its plan or its error, from one process. Raises ConfigError if that process dies."""
    if not cells:
        return {}
    asked = [{"name": cell.name, "recipe": cell.recipe, "overrides": list(cell.overrides)} for cell in cells]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", _PLANNER],
            input=json.dumps({"cells": asked}),
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=SECONDS,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"the cells have not been planned after {SECONDS / 60:g} minutes") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ConfigError(f"the process that plans the cells died: {last}")
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)["cells"]
    return found


def _plan(config: Config, row: Mapping[str, Any]) -> CellPlan:
    tasks, made = row["tasks"], evaluations_in(config.run.steps, config.evaluation.every)
    return CellPlan(
        config=config,
        steps=config.run.steps,
        evaluations=made,
        calls=row["calls"],
        calls_per_step=row["calls_per_step"],
        evaluated=(tasks["validation"] + tasks["test"]) * config.evaluation.samples,
        finally_evaluated=min(LAST + 2, made) * tasks["test"] * config.evaluation.final_samples,
        memory=row["memory"],
        step_seconds=row["step_seconds"],
        evaluation_seconds=row["evaluation_seconds"],
        disk=row["disk"],
        test_tasks=row["test_tasks"],
    )


def _told(rows: Mapping[str, Mapping[str, Any]], key: str) -> list[str]:
    """The lines that plans have under `key`, each once, with the cells that it holds for unless these are all."""
    found: dict[str, list[str]] = {}
    for group, row in rows.items():
        for line in row[key]:
            found.setdefault(line, []).append(group)
    return [line if len(groups) == len(rows) else f"{line} ({some_of(groups)})" for line, groups in found.items()]


def _unpaired(study: Study, rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each comparison whose cells do not have the same test tasks."""
    tasks: dict[str, set[str]] = {}
    for cell in study.cells:
        if not cell.control and study.compare:
            others = ", ".join(f"{axis} = {label}" for axis, label in cell.labels.items() if axis != study.compare)
            tasks.setdefault(others, set()).add(rows[cell.group]["test_tasks"])
    differing = [where for where, prints in tasks.items() if len(prints) > 1]
    line = f"the test tasks differ along {study.compare}, so that it cannot be compared task by task"
    return [f"{line}: {where}" if where else line for where in differing]
