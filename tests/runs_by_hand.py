"""Run directories made by hand: finished runs of voting whose evaluations are given, without any training."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.analysis.summary import summarize
from counterpoint.experiments.cells import Cell, Study
from counterpoint.experiments.folder import write_cells
from counterpoint.recipe import config_from
from counterpoint.run import Run

TASKS = 40
STEPS = (0, 2, 4, 6, 8)
ROLES = ("generator", "aggregator")


def outcomes(accuracy, seed, *, tasks=TASKS, samples=1, rows=None):
    """Task -> outcomes, right with probability `accuracy`."""
    chance = np.random.default_rng(seed)
    drawn = (chance.random((tasks, samples)) < accuracy).astype(float)
    return {f"t{place:03d}": list(map(float, row)) for place, row in enumerate(drawn)}


def evaluation(step, split, found, roles=(), **more):
    """A row of `evaluations.jsonl`."""
    means = [sum(values) / len(values) for values in found.values()]
    return {
        "step": step,
        "split": split,
        "accuracy": sum(means) / len(means),
        "outcomes": found,
        "roles": dict(roles),
        "numbers": {"role/generator/tokens": 5.0},
        "controls": {},
        **more,
    }


def run_by_hand(
    path: Path,
    *,
    seed: int = 0,
    course: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.6),
    roles: tuple[str, ...] = ROLES,
    tasks: int = TASKS,
    fingerprint: str = "same",
    finished: bool = True,
    error: str = "",
    stopped: str | None = None,
    samples: int = 1,
    luck: int = 0,
    facts: dict[str, Any] | None = None,
    **table: Any,
) -> Path:
    """A run of `len(course)` evaluations whose accuracies are about those of the course; without `finished` it lacks
    its summary.
    """
    config = config_from({**table, "run": {"seed": seed, "steps": STEPS[-1], **table.get("run", {})}})
    with Run.create(path, config, facts or {}) as run:
        run.pin({"routing": {role: role for role in roles}, "tasks": {"test": fingerprint, "validation": "v"}})
        for step in range(1, STEPS[-1] + 1):
            numbers = {"episode/tasks": 2.0, "role/generator/calls": 3.0, "role/generator/tokens": 5.0}
            run.add_metrics(step, {**numbers, "time/step": 0.5, "episode/score": 0.5})
        for step, accuracy in zip(STEPS, course, strict=True):
            split_seed = [seed, luck, step]
            run.add_evaluation(evaluation(step, "validation", outcomes(accuracy, [*split_seed, 1], tasks=tasks)))
            told = {
                role: outcomes(accuracy, [*split_seed, 3, place], tasks=tasks, samples=samples)
                for place, role in enumerate(roles)
            }
            found = outcomes(accuracy, [*split_seed, 2], tasks=tasks, samples=samples)
            run.add_evaluation(evaluation(step, "test", found, told))
        folder = path / "checkpoints" / f"{STEPS[-1]:06d}"
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({"step": STEPS[-1], "stopped": stopped}), encoding="utf-8")
        if error:
            run.note({"error": error})
        if finished:
            run.write_summary(summarize(run.evaluation_rows()).as_dict())
    return path


def six_by_hand(folder: Path, *, seeds: tuple[int, ...] = (0, 1, 2), gap: float = 0.0, **more: Any) -> list[Path]:
    """One run per sharing and seed; isolated is better at the peak and at the end by `gap`."""
    return [
        run_by_hand(
            folder / f"{sharing}-s{seed}",
            seed=seed,
            course=(0.3, 0.4, 0.5 + gap * own, 0.6 + gap * own, 0.6 + gap * own),
            luck=own,
            policies={"sharing": sharing},
            **more,
        )
        for own, sharing in ((1, "isolated"), (0, "shared"))
        for seed in seeds
    ]


def study_by_hand(
    folder: Path, cells: dict[str, dict[str, Any]], *, compare: str = "sharing", margin: float = 0.03
) -> Path:
    """A study's folder: `cells` has, for each cell's name, its labels, its seed and what `run_by_hand` takes.

    A cell with `absent` has no directory.
    """
    folder.mkdir(parents=True)
    listed = []
    for name, cell in cells.items():
        labels, seed, control = cell.pop("labels"), cell.pop("seed"), cell.pop("control", "")
        if not cell.pop("absent", False):
            run_by_hand(folder / name, seed=seed, **cell)
        overrides = (f"run.seed={seed}",)
        listed.append(
            Cell(name=name, labels=labels, seed=seed, recipe="voting_arithmetic", overrides=overrides, control=control)
        )
    axes = {axis: tuple(dict.fromkeys(cell.labels.get(axis, "-") for cell in listed)) for axis in listed[0].labels}
    seeds = tuple(dict.fromkeys(cell.seed for cell in listed))
    cells_of = {"axes": axes, "seeds": seeds, "cells": tuple(listed)}
    write_cells(Study(name=folder.name, file=None, compare=compare, margin=margin, **cells_of), folder)
    return folder
