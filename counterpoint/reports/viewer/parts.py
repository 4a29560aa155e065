"""The parts of the page of a run, as values for their templates."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any

from counterpoint.analysis.alarm import raised
from counterpoint.analysis.signatures import SIGNATURES
from counterpoint.analysis.signatures.base import Finding
from counterpoint.options import Spec
from counterpoint.reports.viewer.links import TRAIN
from counterpoint.reports.viewer.look import log_of
from counterpoint.reports.viewer.scan import check_file
from counterpoint.reports.viewer.texts import DASH
from counterpoint.run import Run
from counterpoint.run_files import CONFIG

EVALUATED = ("test", "validation")
_LINES = 200
"""Lines of the end of a log."""
_BYTES = 1 << 16
_LONGEST = 400
"""Characters of a line of a log."""
_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.")
_ROLE_NUMBERS = (
    ("accuracy", "accuracy"),
    ("tokens", "tokens per call"),
    ("calls", "calls per episode"),
    ("truncated", "cut off"),
    ("unreadable", "unreadable"),
    ("entropy", "entropy"),
    ("gradient_share", "share of gradient"),
)
"""Number of a role -> the head of its column."""
FRACTIONS = frozenset({"accuracy", "truncated", "unreadable", "gradient_share"})


@dataclass(frozen=True, slots=True)
class Told:
    """A signature that was found, with what it means."""

    finding: Finding
    meaning: str
    advice: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """The episodes of a split that are recorded."""

    split: str
    steps: Sequence[int]


def told(findings: Sequence[Finding]) -> list[Told]:
    """The findings with the meaning and the advice of their signatures, as far as these are shipped ones."""
    found = []
    for finding in findings:
        known = SIGNATURES.build(Spec(name=finding.signature)) if finding.signature in SIGNATURES.members else None
        found.append(Told(finding, known.meaning if known else "", known.advice if known else ""))
    return found


def warnings(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[tuple[int, int]], bool]]:
    """Every warning that was raised during training: its name, the steps in ranges, and if it is raised now."""
    steps: dict[str, list[int]] = {}
    for row in rows:
        for one in raised(row):
            steps.setdefault(f"{one.signature} ({one.where})" if one.where else one.signature, []).append(row["step"])
    last = rows[-1]["step"] if rows else 0
    return [(name, _ranges(found), found[-1] == last) for name, found in steps.items()]


def roles(run: Run) -> tuple[list[str], list[tuple[str, str, list[str]]]]:
    """The heads of the columns, and a row per role: its name, its policies and its numbers in the last step."""
    routing = run.facts.get("routing", {})
    rows = run.metric_rows()
    last = rows[-1] if rows else {}
    evaluations = run.evaluation_rows()
    tested: Mapping[str, Any] = next(
        (row["numbers"] for row in reversed(evaluations) if row["split"] == "validation"), {}
    )
    names = [*dict.fromkeys([*routing, *(key.split("/")[1] for key in last if key.startswith("role/"))])]
    shown = [(number, head) for number, head in _ROLE_NUMBERS if any(f"role/{name}/{number}" in last for name in names)]
    heads = ["validation accuracy", *(head for _, head in shown)]
    found = []
    for name in names:
        route = routing.get(name, "")
        policies = route if isinstance(route, str) else ", ".join(dict.fromkeys(map(str, route)))
        values = [percent(tested.get(f"role/{name}/accuracy"))]
        values += [_number(number, last.get(f"role/{name}/{number}")) for number, _ in shown]
        found.append((name, policies, values))
    return heads, found


def recorded(run: Run) -> list[Recorded]:
    """The steps whose episodes are recorded, for each split that has any."""
    found = [Recorded(split, run.steps_with_episodes(split)) for split in EVALUATED]
    return [one for one in [*found, Recorded(TRAIN, run.steps_with_episodes())] if one.steps]


def some(steps: Sequence[int], most: int = 24) -> list[int]:
    """The steps, or evenly many of them with the first and the last."""
    if len(steps) <= most:
        return list(steps)
    return sorted({steps[round(place * (len(steps) - 1) / (most - 1))] for place in range(most)})


def profile(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, float]]:
    """Part of a step, its seconds in the median over the last steps, and the fraction that it takes; largest first."""
    last = [row for row in rows if row.get("step", 0) > 0][-50:]
    names = dict.fromkeys(name for row in last for name in row if name != "step")
    seconds = {name: median(float(row.get(name, 0.0)) for row in last) for name in names}
    whole = sum(seconds.values()) or 1.0
    return sorted(((name, one, one / whole) for name, one in seconds.items() if one > 0), key=lambda row: -row[1])


def log_tail(root: Path, path: Path) -> list[str]:
    """The last lines that the run's process printed, for a run of a study; none if the folder holds no log of it.

    Raises RunError if the log is a link to a place outside the folder that is viewed.
    """
    if path == root:  # its log would lie beside the folder
        return []
    file = check_file(root, log_of(path))
    try:
        with file.open("rb") as opened:
            size = opened.seek(0, 2)
            opened.seek(max(0, size - _BYTES))
            text = opened.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = _TERMINAL.sub("", text).splitlines()[1 if size > _BYTES else 0 :]
    return [line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…" for line in lines[-_LINES:]]


def recipe(run: Run) -> dict[str, Any]:
    """The recipe, how it was started, and the versions it was trained with."""
    facts = run.facts
    words = ["counterpoint train", str(facts.get("recipe", "")), *map(str, facts.get("overrides", []))]
    kept = {
        name: facts[name] for name in ("began", "commit", "versions", "hardware", "tasks", "changes") if name in facts
    }
    return {
        "text": (run.path / CONFIG).read_text(encoding="utf-8"),
        "started": " ".join(words) if facts.get("recipe") else "",
        "facts": json.dumps(kept, indent=2, ensure_ascii=False),
    }


def percent(value: Any) -> str:
    """A fraction as a percentage with one digit; a dash where there is none."""
    return f"{100 * value:.1f} %" if _is_number(value) else DASH


def _number(name: str, value: Any) -> str:
    if name in FRACTIONS:
        return percent(value)
    return f"{value:.3g}" if _is_number(value) else DASH


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def _ranges(steps: Sequence[int]) -> list[tuple[int, int]]:
    """The steps as (first, last) of those that follow each other."""
    found: list[tuple[int, int]] = []
    for step in steps:
        if found and step == found[-1][1] + 1:
            found[-1] = (found[-1][0], step)
        else:
            found.append((step, step))
    return found
