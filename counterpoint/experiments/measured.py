"""The controls of a run that were played after it: the JSON files that `counterpoint evaluate --out` wrote."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from counterpoint.errors import RunError
from counterpoint.run_files import FAILURE

FOLDER = "controls"
TEAM = "team"
_AS_IT_IS = "run"
_RIGHT = "right"
TAUGHT = "taught"
"""The control that counts how many tries at each task are right, after training and before."""
TRAINED = _AS_IT_IS
"""Its evaluation of the run itself; those of the base are `BEFORE` and `SORTING` of `analysis/tries.py`."""


def controls_of(run: Path) -> dict[str, dict[str, Any]]:
    """Control -> team or role -> `accuracy`, `outcomes` (task -> mean) and `samples` (task -> how many outcomes), for
    every `controls/<name>.json` of a run.

    The name of the control is that of its file. Where the file holds the run as it is beside the control, as it does of
    `--swap`, `--ablate` and `--transfer`, that evaluation is `<name>: run`; several controls in one file, as of
    `--solo`, are `<name>: <what it says>`. A file that holds the run alone, without a control, is left
    out. Outcomes of `--taught` are fractions of tries that are right, and the run alone is kept. Raises RunError if a
    file is damaged.
    """
    found: dict[str, dict[str, Any]] = {}
    for file in sorted((run / FOLDER).glob("*.json")):
        if file.name.endswith(f".{FAILURE}"):
            continue  # it says why an evaluation failed
        try:
            found |= _controls(file.stem, json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{file} is damaged: {type(error).__name__}: {error}") from error
    return found


def _controls(name: str, written: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    if "outcomes" in written:
        return {name: _evaluation(written)}
    if any(_RIGHT in evaluation for evaluation in written.values()):
        return {f"{TAUGHT}: {key}": _tries(evaluation[_RIGHT]) for key, evaluation in written.items()}
    others = [key for key in written if key != _AS_IT_IS]
    if not written:
        raise KeyError("no evaluation")
    if not others:
        return {}  # an evaluation of the run itself is no control
    return {
        name if [key] == others else f"{name}: {key}": _evaluation(evaluation) for key, evaluation in written.items()
    }


def _evaluation(written: Mapping[str, Any]) -> dict[str, Any]:
    parts: dict[str, Any] = {TEAM: written["outcomes"], **written.get("roles", {})}
    means = {
        part: {task: fmean(values) for task, values in sorted(outcomes.items())} for part, outcomes in parts.items()
    }
    return {
        part: {
            "accuracy": fmean(own.values()),
            "outcomes": own,
            "samples": {task: len(parts[part][task]) for task in own},
        }
        for part, own in means.items()
        if own
    }


def _tries(written: Mapping[str, Any]) -> dict[str, Any]:
    """The same of the tries that are right, of all tries, at each task."""
    found = {}
    for part, tasks in {TEAM: written[TEAM], **written["roles"]}.items():
        shares = {task: right / tries for task, (right, tries) in sorted(tasks.items())}
        if shares:
            counts = {task: tasks[task][1] for task in shares}
            found[part] = {"accuracy": fmean(shares.values()), "outcomes": shares, "samples": counts}
    return found
