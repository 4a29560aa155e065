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


def controls_of(run: Path) -> dict[str, dict[str, Any]]:
    """Control -> team or role -> `accuracy`, and `outcomes` (task -> mean), for every `controls/<name>.json` of a run.

    The name of the control is that of its file. Where the file holds the run as it is beside the control, as it does of
    `--swap`, `--ablate` and `--transfer`, that evaluation is `<name>: run`; several controls in one file, as of
    `--solo`, are `<name>: <what it says>`. A file that holds the run alone, without a control, is left
    out. Raises RunError if a file is damaged.
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
    return {part: {"accuracy": fmean(own.values()), "outcomes": own} for part, own in means.items() if own}
