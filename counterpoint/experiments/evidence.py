"""Why one arm of a race may be ahead, as far as its runs show it: failure signatures and role gradients."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import TypedDict

from counterpoint.analysis.calibration import Calibration, Entry, read_calibration
from counterpoint.analysis.history import History, history_of
from counterpoint.analysis.signatures import examine
from counterpoint.config import Config
from counterpoint.errors import CounterpointError
from counterpoint.experiments.calibrated import FILE, PUBLISHED
from counterpoint.experiments.collected import RunRecord
from counterpoint.experiments.described import rate_of
from counterpoint.experiments.known_effects import known_after
from counterpoint.experiments.raced import Raced
from counterpoint.experiments.results import COLLECTED
from counterpoint.experiments.study_file import STUDY_FOLDERS
from counterpoint.pins import executed
from counterpoint.run import Run

CALIBRATIONS = (
    *((folder, f"*{PUBLISHED}") for folder in STUDY_FOLDERS),
    (Path("runs"), f"*/{COLLECTED}/{FILE}"),
)
"""Folder and pattern of calibrations: of published studies, those that ship included, and of studies in `runs/`."""
_MOST_RATES = 3
"""Sentences about one arm from one study."""
_LOST = 0.05
"""The least fall of a role's accuracy after the peak that is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A failure signature in the runs of an arm."""

    arm: str
    signature: str
    where: str
    runs: int
    """The number of runs that show it."""
    of: int
    steps: tuple[int, int]
    """Those of the first of these runs."""
    evidence: tuple[str, ...]
    """Those of the first of these runs."""

    @property
    def words(self) -> str:
        """The signature with its evidence."""
        first, last = self.steps
        return (
            f"{self.arm}: {self.signature} of {self.where} in {self.runs} of {self.of} runs (steps {first} to {last}:"
            f" {'; '.join(self.evidence)})"
        )


class Reasons(TypedDict):
    """The fields of an advice about why."""

    signatures: tuple[Seen, ...]
    seen: tuple[str, ...]
    rates: tuple[str, ...]
    measured: tuple[str, ...]


def reasons_of(config: Config, runs: Sequence[Raced]) -> Reasons:
    """All that the finished runs of a race show of the reasons."""
    shown = histories(runs)
    return Reasons(
        signatures=signatures_of(shown),
        seen=(*dynamics_of(shown), *roles_that_fell(runs)),
        rates=recorded_rates(config, shown),
        measured=known_after(config.workflow.name, [one.arm for one in runs if one.fate and one.fate.fell == "fell"]),
    )


def histories(runs: Sequence[Raced]) -> dict[str, list[History]]:
    """Arm -> the histories of its finished runs; a history that cannot be read is left out."""
    found: dict[str, list[History]] = {}
    for one in runs:
        if not one.outcomes:
            continue
        try:
            run = Run.read(one.path)
            run.config = executed(run)
            found.setdefault(one.arm, []).append(history_of(run))
        except (CounterpointError, OSError):
            continue
    return found


def signatures_of(arms: Mapping[str, Sequence[History]]) -> tuple[Seen, ...]:
    """Every failure signature that a run of an arm shows, by arm, the most frequent first."""
    found: list[Seen] = []
    for arm, shown in arms.items():
        counted: dict[tuple[str, str], Seen] = {}
        for history in shown:
            findings = {(one.signature, one.where): one for one in reversed(examine(history).findings)}
            for key, one in reversed(findings.items()):
                known = counted.get(key)
                counted[key] = Seen(
                    arm=arm,
                    signature=one.signature,
                    where=one.where,
                    runs=1 if known is None else known.runs + 1,
                    of=len(shown),
                    steps=one.steps if known is None else known.steps,
                    evidence=one.evidence if known is None else known.evidence,
                )
        found += sorted(counted.values(), key=lambda seen: -seen.runs)
    return tuple(found)


def dynamics_of(arms: Mapping[str, Sequence[History]]) -> tuple[str, ...]:
    """The role gradients of every arm in words: who has most of a shared policy, how alike parallel calls push."""
    return tuple(
        line for arm, shown in arms.items() for line in (*_largest_shares(arm, shown), *_amplified(arm, shown))
    )


def recorded_rates(config: Config, arms: Mapping[str, Sequence[History]]) -> tuple[str, ...]:
    """The recorded rates of falls that the runs of every arm are read against; that there are none, if so.

    They are counts of finished studies, and no forecast; a recipe with another model or task is told apart.
    """
    known = calibrations()
    if not known:
        return ("there are none yet: no study of this package has been read for early warnings",)
    lines: list[str] = []
    for one in known:
        told = list(_rates_of(one, config.workflow.name, arms, _MOST_RATES))
        lines += [*told, _origin(one, config)] if told else []
    return tuple(lines or (f"none for {config.workflow.name}: it is in none of {_listed(known)}",))


def _listed(known: Sequence[Calibration]) -> str:
    """The studies with their workflows."""
    return "; ".join(
        f"{one.study} ({', '.join(sorted({count.workflow for count in one.falls})) or 'no workflow'})" for one in known
    )


def rates_like(config: Config, history: History) -> list[str]:
    """The recorded rates that one run is read against; none where no study has its workflow and sharing.

    Raises ConfigError for a calibration that is damaged.
    """
    workflow, sharing = config.workflow.name, config.policies.sharing
    if not isinstance(sharing, str):
        return []
    lines = []
    for one in calibrations():
        told = list(_rates_of(one, workflow, {sharing: [history]}, _MOST_RATES))
        lines += [*told, _origin(one, config)] if told else []
    return lines


def counts_like(runs: Sequence[RunRecord]) -> list[str]:
    """The falls that studies, other than that of these runs, recorded of the same workflows and sharings, in lines.

    Raises ConfigError for a calibration that is damaged.
    """
    lines = []
    kinds = dict.fromkeys((run.workflow, run.sharing) for run in runs)
    own = {Path(run.path).parent.name for run in runs}
    for one in calibrations():
        told = [
            f"{workflow}, {sharing}: {falls}"
            for workflow, sharing in (() if one.study in own else kinds)
            if (falls := one.falls_of(workflow, sharing))
        ]
        unlike = dict.fromkeys(one.unlike(run.model, run.task, run.rate) for run in runs)
        lines += [*told, "; ".join(["counts, and no forecast, of " + one.about, *filter(None, unlike)])] if told else []
    return lines


def _origin(calibration: Calibration, config: Config) -> str:
    """The runs that were counted, and that they are not the user's."""
    unlike = calibration.unlike(config.model.path, config.task.name, rate_of(config))
    return f"counts, and no forecast, of {calibration.about}" + (f"; {unlike}" if unlike else "")


def calibrations() -> list[Calibration]:
    """Every calibration that can be found, one for each study: the one of most runs."""
    found: dict[str, Calibration] = {}
    for folder, pattern in CALIBRATIONS:
        for path in sorted(folder.glob(pattern)):
            one = read_calibration(path)
            if one.study not in found or one.runs > found[one.study].runs:
                found[one.study] = one
    return list(found.values())


def _rates_of(
    calibration: Calibration, workflow: str, arms: Mapping[str, Sequence[History]], most: int
) -> Iterator[str]:
    """The sentences about every arm from one study; none about a workflow or a sharing that it does not have."""
    for arm, shown in arms.items():
        falls = calibration.falls_of(workflow, arm)
        if not falls:
            continue
        yield f"{arm}, {workflow} in the study {calibration.study}: {falls}"
        readings = [calibration.read_against(workflow, arm, numbers_in(history)) for history in shown]
        told: dict[Entry, dict[bool, list[float]]] = {}
        for entry, value in (pair for reading in readings for pair in reading.found):
            told.setdefault(entry, {}).setdefault(value >= entry.threshold, []).append(value)
        sides = [(entry, values) for entry, found in told.items() for values in found.values()]
        for entry, values in sorted(sides, key=lambda side: -len(side[1]))[:most]:
            yield f"{arm}, {len(values)} of {len(shown)} runs: {entry.sentence(*values)}"
        if not told and readings:
            yield f"{arm}: {readings[0].reason}"


def roles_that_fell(runs: Sequence[Raced]) -> tuple[str, ...]:
    """The roles whose accuracy fell after the peak by 5 points or more, on average over the runs of an arm.

    Runs whose peak is their last evaluation, after which nothing can fall, are left out.
    """
    falls: dict[tuple[str, str], list[float]] = {}
    for one in runs:
        summary = Run.read(one.path).summary if one.outcomes else None
        if summary is None or summary.peak_step == summary.terminal_steps[-1]:
            continue
        for role, course in summary.roles.items():
            if course.drop is not None:
                falls.setdefault((one.arm, role), []).append(course.drop.value)
    return tuple(
        f"{arm}: the accuracy of {role} fell by {100 * fmean(drops):.1f} points after the peak, on average over"
        f" {len(drops)} runs"
        for (arm, role), drops in falls.items()
        if fmean(drops) >= _LOST
    )


def _largest_shares(arm: str, shown: Sequence[History]) -> Iterator[str]:
    policies = shown[0].policies if shown else []
    for policy in policies:
        roles = shown[0].roles_of(policy)
        shares = {role: _mean(shown, f"gradient/{policy}/{role}/share") for role in roles}
        known = {role: share for role, share in shares.items() if share is not None}
        if len(roles) < 2 or not known:
            continue
        largest = max(known, key=lambda role: known[role])
        alignment = _mean(shown, f"gradient/{policy}/{largest}/alignment")
        aligned = "" if alignment is None else f" and alignment {alignment:.2f} with it"
        yield f"{arm}: {largest} has {100 * known[largest]:.0f} % of the gradient of policy {policy}{aligned}"


def _amplified(arm: str, shown: Sequence[History]) -> Iterator[str]:
    for policy in shown[0].policies if shown else []:
        for role in shown[0].roles_of(policy):
            amplification = _mean(shown, f"gradient/{policy}/{role}/amplification")
            chance = _mean(shown, f"gradient/{policy}/{role}/amplification_by_chance")
            if amplification is not None and chance is not None:
                yield f"{arm}: amplification of {role} {amplification:.2f}, by chance it would be {chance:.2f}"


def numbers_in(history: History) -> dict[str, dict[int, float]]:
    """Number -> step -> its value, for the numbers of roles and gradients."""
    found: dict[str, dict[int, float]] = {}
    for row in history.metrics:
        for name, value in row.items():
            if name.startswith(("gradient/", "role/")) and value is not None and isfinite(value):
                found.setdefault(name, {})[row["step"]] = value
    return found


def _mean(shown: Sequence[History], name: str) -> float | None:
    """The mean over steps and runs; None if no run has the number."""
    values = [value for history in shown if (value := history.series(name).mean()) is not None]
    return fmean(values) if values else None
