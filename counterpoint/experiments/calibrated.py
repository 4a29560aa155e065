"""The calibration of a study, from its collected results."""

import json
from collections.abc import Iterable

from counterpoint.analysis.calibration import STEPS, Calibration, Case, calibrate, numbers_of
from counterpoint.errors import RunError
from counterpoint.experiments.collected import Collected, RunRecord

FILE = "calibration.json"
"""Its name in the folder of a study's collected results."""


def calibrated(collected: Collected, study: str, steps: Iterable[int] = STEPS) -> Calibration:
    """The rates of falls after these steps, over the finished runs, without those trained as controls.

    Workflow and sharing are those of the record, or else its labels of these axes. Raises RunError if both are missing,
    or a run fell without an onset.
    """
    numbers = numbers_of(collected.metrics)
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
        )
        for record in collected.runs
        if record.state == "finished" and not record.control
    ]
    if unknown := [case.run for case in cases if case.fell == "fell" and case.onset is None]:
        raise RunError(f"{unknown[0]} fell, and its record does not say when")
    return calibrate(study, cases, steps)


def _of(record: RunRecord, axis: str, recorded: str) -> str:
    found = recorded or record.labels.get(axis, "")
    if not found:
        raise RunError(f"{record.run}: neither its record nor its labels say which {axis} it has")
    return found
