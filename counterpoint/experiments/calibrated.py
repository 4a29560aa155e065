"""The calibration of a study, from its collected results."""

import json
from collections.abc import Iterable

from counterpoint.analysis.calibration import STEPS, Calibration, Case, calibrate, numbers_of
from counterpoint.errors import RunError
from counterpoint.experiments.collected import Collected, RunRecord

_EVALUATED = "eval/test/accuracy"
FILE = "calibration.json"
"""Its name in the folder of a study's collected results."""
PUBLISHED = ".calibration.json"
"""The end of its name beside the file of a study that was published: `NAME.calibration.json`."""


def calibrated(collected: Collected, study: str, steps: Iterable[int] = STEPS) -> Calibration:
    """The rates of falls after these steps, over the finished runs, without those trained as controls.

    Workflow and sharing are those of the record, or else its labels of these axes. Raises RunError if both are missing,
    or a run fell without an onset.
    """
    numbers, evaluated = numbers_of(collected.metrics), _evaluations(collected)
    cases = [
        Case(
            run=record.run,
            cell=json.dumps(dict(record.labels), sort_keys=True),
            workflow=_of(record, "workflow", record.workflow),
            sharing=_of(record, "sharing", record.sharing),
            fell=record.fell,
            onset=record.onset,
            last=record.steps,
            numbers=numbers.get(record.run, {}),
            held_until=_held_until(record, evaluated.get(record.run, [])),
            labels=record.labels,
            model=record.model,
            task=record.task,
            rate=record.rate,
        )
        for record in collected.runs
        if record.state == "finished" and not record.control
    ]
    if unknown := [case.run for case in cases if case.fell == "fell" and case.onset is None]:
        raise RunError(f"{unknown[0]} fell, and its record does not say when")
    return calibrate(study, cases, steps)


def _evaluations(collected: Collected) -> dict[str, list[int]]:
    """Run -> the steps of its evaluations."""
    import polars as pl

    found: dict[str, list[int]] = {}
    for run, step in collected.metrics.filter(pl.col("name") == _EVALUATED).select("run", "step").iter_rows():
        found.setdefault(run, []).append(step)
    return found


def _held_until(record: RunRecord, evaluated: list[int]) -> int | None:
    """The last evaluation before the onset: the fall may have begun just after it. None unless the run fell."""
    before = [step for step in evaluated if record.onset is not None and step < record.onset]
    return max(before, default=None)


def _of(record: RunRecord, axis: str, recorded: str) -> str:
    found = recorded or record.labels.get(axis, "")
    if not found:
        raise RunError(f"{record.run}: neither its record nor its labels say which {axis} it has")
    return found
