"""The time before a fall: marks on the steps of each run, diagnostics of runs that fell beside those that held.

A fall begins somewhere between its onset (the first evaluation from which all lie below the peak's interval) and the
evaluation before. What came before it is therefore looked at up to that evaluation.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Literal, NamedTuple

from counterpoint.analysis.aligned import Beside, beside
from counterpoint.analysis.intervals import CONFIDENCE
from counterpoint.analysis.multiplicity import holm
from counterpoint.analysis.signatures.base import Thresholds
from counterpoint.errors import counted
from counterpoint.reports.seen import CellSeen, Gathered, Seen

if TYPE_CHECKING:
    import polars as pl

_LIMITS = Thresholds()
SMOOTH = 5
"""Steps over which a number is averaged before it is compared with its threshold."""
WINDOW = 10
"""Steps up to the last evaluation before a fall over which diagnostics are averaged for the test."""
BEFORE, AFTER = 30, 10
"""Steps before and after an onset that the aligned means show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """A number of a run at a step: the highest (or lowest) of its roles or policies."""

    pattern: str
    """The names of the number in `metrics.jsonl`, as a regular expression of Rust's dialect."""
    lowest: bool = False
    relative: bool = False
    """True if it counts as a multiple of its mean over the first steps."""
    several: bool = False
    """True if only policies of several roles have a meaningful value."""


DIAGNOSTICS: Mapping[str, Diagnostic] = {
    "amplification per call": Diagnostic(pattern=r"^gradient/[^/]+/[^/+]+/coherence$"),
    "persistence": Diagnostic(pattern=r"^gradient/[^/]+/[^/+]+/persistence$"),
    "dominance": Diagnostic(pattern=r"^gradient/([^/]+)/dominance$", several=True),
    "echo": Diagnostic(pattern=r"^role/[^/]+/echo$"),
    "entropy": Diagnostic(pattern=r"^role/([^/]+)/entropy$", lowest=True, relative=True),
    "length": Diagnostic(pattern=r"^role/([^/]+)/tokens$", relative=True),
    "unreadable": Diagnostic(pattern=r"^role/[^/]+/unreadable$"),
}
"""Amplification per call is amplification divided by the number of parallel calls: 1 if all push alike, 1/√n by chance.
"""
MarkKind = Literal["amplification", "persistence", "capture", "warning", "peak", "onset", "stopped", "end"]


class Mark(NamedTuple):
    """Something that happened in a run."""

    kind: MarkKind
    where: str
    """The role or policy, or the name of the warning; empty for the team."""
    step: int
    until: int
    """The last step of a span; `step` for a moment."""


class Difference(NamedTuple):
    """A diagnostic before falls, beside runs that held at the same steps."""

    diagnostic: str
    found: Beside
    p_value: float | None
    """After Holm's correction for the diagnostics."""

    @property
    def verdict(self) -> Literal["higher", "lower", "cannot tell"]:
        """Higher or lower before falls, if the corrected test says so."""
        if self.p_value is None or self.p_value > 1 - CONFIDENCE:
            return "cannot tell"
        return "higher" if self.found.value > 0 else "lower"


def marks_of(run: Seen) -> list[Mark]:
    """The marks of a run, by step.

    Amplification is marked from the first step at which its mean over `SMOOTH` steps is at least 0.8 of the number of
    parallel calls until it no longer is, persistence likewise from 0.5. Capture is the window of its signature.
    """
    found = list(_spans(run, "amplification", "coherence", _LIMITS.coherence))
    found += _spans(run, "persistence", "persistence", _LIMITS.persistence)
    found += [Mark("capture", one.where, *one.steps) for one in run.findings if one.signature == "capture"]
    found += _warnings(run)
    record = run.record
    found += [Mark("peak", "", record.peak_step, record.peak_step)] if record.peak_step is not None else []
    found += [Mark("onset", "", record.onset, record.onset)] if record.onset is not None else []
    if record.steps:
        found.append(Mark("stopped" if record.stopped else "end", "", record.steps, record.steps))
    return sorted(found, key=lambda mark: (mark.step, mark.kind, mark.where))


def marks(gathered: Gathered) -> "pl.DataFrame":
    """cell, run, seed, fell, steps, kind, where, step, until: the marks of every finished run that is no control."""
    return gathered.once("fall marks", _marks)


def _marks(gathered: Gathered) -> "pl.DataFrame":
    import polars as pl

    rows = [
        (cell.name, run.record.run, run.record.seed, run.record.fell, run.record.steps, *mark)
        for cell in _teams(gathered)
        for run in cell.finished
        for mark in marks_of(run)
    ]
    schema = {"cell": str, "run": str, "seed": int, "fell": str, "steps": int}
    return pl.DataFrame(rows, schema={**schema, "kind": str, "where": str, "step": int, "until": int}, orient="row")


def aligned(gathered: Gathered) -> "pl.DataFrame":
    """diagnostic, offset, fell, held, falls, holds: means at each step counted from the onset, beside runs that held.

    Only kinds of runs (one workflow and sharing, with equal labels) of which some fell and some held count, as in
    `differences`. A run that held is read at the same steps as each that fell, and has the mean of these.
    """
    import polars as pl

    kinds, every = gathered.once("diagnostics", _diagnostics)
    rows = []
    for name, values in every.items():
        for offset in range(-BEFORE, AFTER + 1):
            found = _beside(kinds, values, partial(_at, offset))
            if found is not None:
                rows.append((name, offset, found.fell, found.held, found.falls, found.holds))
    schema = {"diagnostic": str, "offset": int, "fell": float, "held": float, "falls": int, "holds": int}
    return pl.DataFrame(rows, schema=schema, orient="row")


def differences(gathered: Gathered) -> list[Difference]:
    """Each diagnostic over the `WINDOW` steps up to the last evaluation before a fall, beside runs that held."""
    return gathered.once("differences before falls", _differences)


def _differences(gathered: Gathered) -> list[Difference]:
    kinds, every = gathered.once("diagnostics", _diagnostics)
    found = {name: one for name, values in every.items() if (one := _beside(kinds, values, _just_before)) is not None}
    p_values = {name: one.p_value for name, one in found.items() if one.p_value is not None}
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return [Difference(name, one, corrected.get(name)) for name, one in found.items()]


def before_falls(gathered: Gathered) -> list[str]:
    """Sentences about the time before falls: the diagnostics that differ, then those of which it cannot be told."""
    runs = [run for cell in _teams(gathered) for run in cell.finished]
    falls = sum(run.record.fell == "fell" for run in runs)
    if not falls:
        unknown = sum(run.record.fell == "cannot tell" for run in runs)
        fallen = f" is known to have fallen (of {unknown} it cannot be told)" if unknown else " fell"
        return [f"none of {counted(len(runs), 'finished run')}{fallen}: nothing is known of what comes before a fall"]
    found = differences(gathered)
    if not found:
        them = "it" if falls == 1 else "them"
        return [
            f"{counted(falls, 'run')} fell, but none of the same workflow, sharing and labels held: there is nothing to"
            f" compare {them} with"
        ]
    told = [_sentence(one) for one in found if one.verdict != "cannot tell"]
    open_ = [one.diagnostic for one in found if one.verdict == "cannot tell"]
    if open_:
        falls, holds = (max(getattr(one.found, name) for one in found) for name in ("falls", "holds"))
        told.append(
            f"before falls, it cannot be told of {_listed(open_)} whether they differ from runs that held"
            f" (up to {counted(falls, 'fall')}, and {counted(holds, 'run')} that held)"
        )
    return told


def _sentence(one: Difference) -> str:
    found = one.found
    assert found.low is not None
    assert found.high is not None
    unit = " times that at the start" if DIAGNOSTICS[one.diagnostic].relative else ""
    return (
        f"before falls, {one.diagnostic} was {one.verdict}: {found.fell:.2f}{unit} against {found.held:.2f} in runs of"
        f" the same workflow, sharing and labels that held, at the same steps; difference {found.value:+z.2f}"
        f" [{found.low:+z.2f}, {found.high:+z.2f}] over runs ({counted(found.falls, 'fall')},"
        f" {counted(found.holds, 'run')} that held, {_p(one.p_value)} after Holm)"
    )


def _p(value: float | None) -> str:
    return "no p" if value is None else f"p = {value:.2g}" if value >= 0.001 else "p < 0.001"


class _Kinds(NamedTuple):
    """The runs of each workflow, sharing and set of labels that fell, and that held."""

    fell: Mapping[tuple[str, ...], Sequence[Seen]]
    held: Mapping[tuple[str, ...], Sequence[Seen]]

    @property
    def runs(self) -> list[Seen]:
        return [run for side in self for runs in side.values() for run in runs]


_Values = Mapping[str, Mapping[int, float]]
"""Run -> step -> the value of a diagnostic."""


def _teams(gathered: Gathered) -> list[CellSeen]:
    return [cell for cell in gathered.cells if not cell.control]


def _kinds(gathered: Gathered) -> _Kinds:
    """Those kinds of which some runs fell and some held; runs that were stopped did not hold."""
    sides: tuple[dict[tuple[str, ...], list[Seen]], ...] = ({}, {})
    for cell in _teams(gathered):
        for run in cell.finished:
            labels = (f"{axis}={label}" for axis, label in run.record.labels.items())
            kind = (run.record.workflow, run.record.sharing, *run.roles, *labels)
            if run.record.fell == "fell" and run.record.onset is not None:
                sides[0].setdefault(kind, []).append(run)
            elif run.record.fell == "held" and not run.record.stopped:
                sides[1].setdefault(kind, []).append(run)
    both = sides[0].keys() & sides[1].keys()
    return _Kinds(*({kind: runs for kind, runs in side.items() if kind in both} for side in sides))


def _diagnostics(gathered: Gathered) -> tuple[_Kinds, dict[str, _Values]]:
    """The runs that can be compared; diagnostic -> run -> step -> value."""
    kinds = _kinds(gathered)
    runs = kinds.runs
    return kinds, {name: values_of(runs, diagnostic) for name, diagnostic in DIAGNOSTICS.items()} if runs else {}


def _beside(kinds: _Kinds, values: _Values, span_of: Callable[[Seen], tuple[int, int]]) -> Beside | None:
    """The means over a span that depends on the run that fell."""
    fell: dict[tuple[str, ...], list[float]] = {}
    held: dict[tuple[str, ...], list[float]] = {}
    for kind, runs in kinds.fell.items():
        spans = [span_of(run) for run in runs]
        own = [_mean(values[run.record.run], *span) for run, span in zip(runs, spans, strict=True)]
        fell[kind] = [value for value in own if value is not None]
        spans = [span for span, value in zip(spans, own, strict=True) if value is not None]
        for run in kinds.held[kind]:
            there = [value for span in spans if (value := _mean(values[run.record.run], *span)) is not None]
            if there:
                held.setdefault(kind, []).append(fmean(there))
    return beside(fell, held)


def _at(offset: int, run: Seen) -> tuple[int, int]:
    """The span of one step that lies so many after the onset."""
    step = (run.record.onset or 0) + offset
    return step, step


def _just_before(run: Seen) -> tuple[int, int]:
    """The span up to the last evaluation before the onset."""
    before = _evaluated_before(run)
    return before - WINDOW + 1, before


def _mean(values: Mapping[int, float], first: int, last: int) -> float | None:
    found = [values[step] for step in range(first, last + 1) if step in values]
    return fmean(found) if found else None


def _evaluated_before(run: Seen) -> int:
    """The last step before the onset with a test evaluation."""
    import polars as pl

    steps = run.metrics.filter(pl.col("name") == "eval/test/accuracy")["step"]
    return max((step for step in steps if step < (run.record.onset or 0)), default=0)


def values_of(runs: Sequence[Seen], diagnostic: Diagnostic) -> _Values:
    """Run -> step -> the value of a diagnostic, of the role or policy with the highest (or lowest) one."""
    import polars as pl

    parts = [run.metrics.select(pl.lit(run.record.run).alias("run"), "step", "name", "value") for run in runs]
    every = pl.concat(parts)
    names = every.select(pl.col("name").unique()).filter(pl.col("name").str.contains(diagnostic.pattern))
    found = every.join(names, on="name", how="semi").filter(pl.col("value").is_finite())
    if diagnostic.several:
        several = [(run.record.run, policy) for run in runs for policy in _of_several_roles(run)]
        allowed = pl.DataFrame(several, schema={"run": str, "policy": str}, orient="row")
        found = found.with_columns(pl.col("name").str.extract(diagnostic.pattern).alias("policy"))
        found = found.join(allowed, on=["run", "policy"], how="semi")
    if diagnostic.relative:
        first = found.filter(pl.col("step") <= _LIMITS.start)
        start = first.group_by("run", "name").agg(start=pl.col("value").mean())
        found = found.join(start.filter(pl.col("start") > 0), on=["run", "name"])
        found = found.with_columns(value=pl.col("value") / pl.col("start"))
    of_roles = pl.col("value").min() if diagnostic.lowest else pl.col("value").max()
    values: dict[str, dict[int, float]] = {run.record.run: {} for run in runs}
    for run, step, value in found.group_by("run", "step").agg(of_roles).sort("run", "step").iter_rows():
        values[run][step] = value
    return values


def _of_several_roles(run: Seen) -> list[str]:
    return [policy for policy in run.policies if sum(policy in route for route in run.routing.values()) > 1]


def _spans(run: Seen, kind: MarkKind, number: str, threshold: float) -> Iterator[Mark]:
    """The spans in which the mean over `SMOOTH` steps of a role's number reaches the threshold."""
    import polars as pl

    pattern = rf"^gradient/[^/]+/([^/+]+)/{number}$"
    found = run.metrics.filter(pl.col("name").str.contains(pattern) & pl.col("value").is_finite()).sort("step")
    for name, part in found.group_by("name", maintain_order=True):
        role = str(name[0]).split("/")[2]
        means = part["value"].rolling_mean(SMOOTH)
        first = last = None
        for step, mean in zip(part["step"], means, strict=True):
            if mean is not None and mean >= threshold:
                first, last = step if first is None else first, step
            elif first is not None and last is not None:
                yield Mark(kind, role, first, last)
                first = last = None
        if first is not None and last is not None:
            yield Mark(kind, role, first, last)


def _warnings(run: Seen) -> Iterator[Mark]:
    """The first step of each warning."""
    import polars as pl

    found = run.metrics.filter(pl.col("name").str.starts_with("warning/") & (pl.col("value") > 0))
    for name, step in found.group_by("name").agg(pl.col("step").min()).sort("name").iter_rows():
        yield Mark("warning", name.removeprefix("warning/"), step, step)


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
