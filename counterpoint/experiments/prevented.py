"""The effects of interventions: falls, peaks and ends of every label of an axis against one, in words and tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from counterpoint.analysis.comparison import MethodComparison, in_points
from counterpoint.analysis.falls import McNemar, Rate
from counterpoint.analysis.outliers import points
from counterpoint.errors import counted
from counterpoint.experiments.compared import Difference

Outcome = Literal[
    "prevents the fall",
    "goes back to the peak",
    "ends higher, trains fewer steps",
    "ends higher, falls cannot be told",
    "ends higher, falls as often",
    "ends higher, peak cannot be told",
    "ends higher, costs the peak",
    "peaks higher, ends alike",
    "alike",
    "cannot tell",
    "costs the peak",
    "ends lower",
]
"""In the order of tables: what can be recommended first, what does harm last."""
ORDER: tuple[Outcome, ...] = get_args(Outcome)
COLUMNS = ("", "at the end, over the base", "p, Holm", "at the peak", "fell", "without", "p, McNemar", "outcome")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prevention:
    """One label against the reference, in one cell or over several."""

    where: str
    """The labels of the cells that they share and others do not; empty if that is nothing."""
    cells: tuple[str, ...]
    """The cells that it is the mean of: those in which both have several finished runs or, if none has, one."""
    label: str
    kept: Difference
    """Terminal accuracy over the base, label minus reference; its verdict is that after Holm's correction."""
    peak: Difference
    falls: Rate
    """With all that follows, over every cell in which both have runs that finished, failed or were interrupted."""
    falls_without: Rate
    pairs: McNemar
    """`first`: pairs in which only the run of the reference fell; `second`: only that of the label."""
    stopped: int
    """The runs of the label that an intervention ended: they end where they were stopped or rolled back to."""
    shorter: int
    """The runs of the label that were to train fewer steps than those of the reference in their cell."""
    runs: int
    """The finished runs of the label."""
    runs_without: int
    """Those of the reference, in the same cells."""
    workflows: tuple[str, ...]
    """Those of `cells`, as are the sharings."""
    sharings: tuple[str, ...]
    signatures: Mapping[str, tuple[int, int]]
    """Failure signature -> the finished runs that show it, with the label and with the reference."""

    @property
    def outcome(self) -> Outcome:
        """The verdict, as `outcome_of` defines it."""
        return outcome_of(self.kept.found, self.peak.found, self.pairs, stopped=self.stopped, shorter=self.shorter)

    @property
    def numbers(self) -> str:
        """Its figures in words: end, peak and falls."""
        return (
            f"{in_figures(self.kept)} at the end, {in_figures(self.peak)} at the peak; without it"
            f" {self.falls_without.interval}, with it {self.falls.interval} (p = {self.pairs.p_value:.2g}, exact"
            " McNemar test)"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return {
            "where": self.where,
            "cells": list(self.cells),
            "label": self.label,
            "outcome": self.outcome,
            "kept": _difference(self.kept),
            "peak": _difference(self.peak),
            "fell": asdict(self.falls),
            "fell_without": asdict(self.falls_without),
            "pairs": asdict(self.pairs),
            "stopped": self.stopped,
            "shorter": self.shorter,
            "runs": self.runs,
            "runs_without": self.runs_without,
            "signatures": {name: list(counts) for name, counts in self.signatures.items()},
        }


def outcome_of(
    kept: MethodComparison, peak: MethodComparison, pairs: McNemar, *, stopped: int, shorter: int = 0
) -> Outcome:
    """The verdict on a label, from its end and its peak (each with its verdict after Holm) and its pairs of runs.

    It ends higher if `kept` is ahead. The peak is not lower if the 95 % intervals of its difference, over seeds and
    over tasks alone, lie above minus the margin. A label that ends higher with a peak that is not lower prevents the
    fall if no run was stopped or `shorter` and, of the pairs in which one run fell, more are those of the reference;
    whose p-value is reported and not required, as five pairs cannot bring it below 0.06. If runs were stopped, their
    ends are those of the weights that they went back to: the fall was cut off and not prevented, as it is where they
    were to train fewer steps. Without a pair of which both fates can be told, falls cannot be told.

    It is alike if its end is, and its peak is too or is ahead by less than the margin.
    """
    if _is_ahead(kept, 1):
        return _higher(peak, pairs, stopped=stopped, shorter=shorter)
    if _is_ahead(kept, -1):
        return "ends lower"
    if _is_ahead(peak, -1):
        return "costs the peak"
    if kept.verdict != "alike" or peak.verdict == "cannot tell":
        return "cannot tell"
    return "alike" if peak.verdict == "alike" or peak.small else "peaks higher, ends alike"


def _higher(peak: MethodComparison, pairs: McNemar, *, stopped: int, shorter: int) -> Outcome:
    """The verdict on a label that ends higher."""
    if _is_ahead(peak, -1):
        return "ends higher, costs the peak"
    if not _is_above(peak):
        return "ends higher, peak cannot be told"
    if shorter:
        return "ends higher, trains fewer steps"
    if stopped:
        return "goes back to the peak"
    if pairs.first > pairs.second:
        return "prevents the fall"
    is_told = pairs.first + pairs.second + pairs.both + pairs.neither > 0
    return "ends higher, falls as often" if is_told else "ends higher, falls cannot be told"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prevented:
    """Every label of an axis against one of them: all that is printed, drawn or written."""

    by: str
    reference: str
    margin: float
    pooled: tuple[Prevention, ...]
    """The primary family: every label over the cells with the same test tasks."""
    cells: tuple[Prevention, ...]
    """Every label in every cell, a family of its own; empty where there is one cell."""
    falls: Mapping[str, Rate]
    """Cell -> the falls of the reference."""
    what: str
    warnings: tuple[str, ...]

    @property
    def preventing(self) -> list[Prevention]:
        """The labels that prevent the fall over the cells, the highest end first."""
        return [one for one in ranked(self.pooled) if one.outcome == "prevents the fall"]

    @property
    def sentences(self) -> list[str]:
        """The result in words, the most important first."""
        return list(_sentences(self))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return {
            "by": self.by,
            "reference": self.reference,
            "margin": self.margin,
            "what": self.what,
            "sentences": self.sentences,
            "pooled": [one.as_dict() for one in self.pooled],
            "cells": [one.as_dict() for one in self.cells],
            "fell_without": {cell: asdict(rate) for cell, rate in self.falls.items()},
            "warnings": list(self.warnings),
        }


def ranked(found: Sequence[Prevention]) -> list[Prevention]:
    """By outcome, then by the difference at the end."""
    return sorted(found, key=lambda one: (ORDER.index(one.outcome), -one.kept.found.shown[0]))


def rows_of(found: Sequence[Prevention]) -> list[tuple[str, ...]]:
    """A row of `COLUMNS` for every label, the best outcome first; differences are in points."""
    return [_row(one, name) for one, name in zip(ranked(found), names_of(ranked(found)), strict=True)]


def names_of(found: Sequence[Prevention]) -> list[str]:
    """The label of each, with its cell before it if there are several."""
    several = len({one.where for one in found}) > 1
    return [f"{one.where}, {one.label}" if several and one.where else one.label for one in found]


def in_figures(one: Difference) -> str:
    """`+8.1 points [2.0, 14.2]`."""
    value, low, high = one.found.shown
    return f"{100 * value:+z.1f} points [{points(low)}, {points(high)}]"


def _row(one: Prevention, name: str) -> tuple[str, ...]:
    ended, peak = (in_figures(part).replace(" points", "") for part in (one.kept, one.peak))
    fell, without = (f"{rate.fell} of {rate.told}" if rate.told else "-" for rate in (one.falls, one.falls_without))
    stopped = f" ({one.stopped} stopped)" if one.stopped else ""
    p_value = "-" if one.kept.p_value is None else f"{one.kept.p_value:.2g}"
    return name, ended, p_value, peak, f"{fell}{stopped}", without, f"{one.pairs.p_value:.2g}", one.outcome


def _sentences(found: Prevented) -> Iterator[str]:
    if not found.pooled:
        yield f"nothing can be said yet: no label of {found.by} has finished runs beside those of {found.reference}"
        return
    fell = [f"{cell}: {rate.short}" if cell else rate.short for cell, rate in found.falls.items()]
    yield f"with {found.reference}, runs fell: {'; '.join(fell)}"
    if not any(rate.fell for rate in found.falls.values()):
        yield "no run of these fell, so that no fall could be prevented here"
    for one in found.preventing:
        yield f"{_place(one)}{one.label} prevents the fall: {one.numbers} ({_base(one)})"
    if not found.preventing:
        yield f"no label of {found.by} is shown to prevent the fall without a lower peak"
    elif len(found.preventing) > 1:
        yield "which of these is the best was not tested: their intervals are against the reference"
    for one in ranked(found.pooled):
        if one.outcome == "goes back to the peak":
            yield (
                f"{_place(one)}{one.label} goes back to the peak: {one.numbers} ({_base(one)}); {one.stopped} of"
                f" {counted(one.runs, 'run')} ended where they went back to, which choosing the checkpoint of the peak"
                f" after a run with {found.reference} would do as well, with all its steps"
            )
        elif one.outcome not in ("prevents the fall", "alike", "cannot tell"):
            yield f"{_place(one)}{one.label}: {one.outcome}: {one.numbers} ({_base(one)})"
    for outcome in ("alike", "cannot tell"):
        if named := [f"{_place(one)}{one.label}" for one in ranked(found.pooled) if one.outcome == outcome]:
            within = f" within {in_points(found.margin)}" if outcome == "alike" else ""
            yield f"{outcome}{within}: {', '.join(named)}"


def _place(one: Prevention) -> str:
    return f"{one.where}, " if one.where else ""


def _base(one: Prevention) -> str:
    over = f" in each of {len(one.cells)} cells" if len(one.cells) > 1 else ""
    return f"{one.kept.found.base}{over}"


def _is_ahead(found: MethodComparison, sign: int) -> bool:
    return found.verdict == "ahead" and sign * found.shown[0] > 0


def _is_above(found: MethodComparison) -> bool:
    """True if the difference is above minus the margin, over seeds and over tasks alone."""
    if found.estimate is None:
        return False
    return min(found.estimate.low, found.tasks_alone.low) > -found.margin


def _difference(one: Difference) -> dict[str, Any]:
    value, low, high = one.found.shown
    return {
        "value": value,
        "low": low,
        "high": high,
        "over_seeds": one.found.over_seeds,
        "seeds": min(one.found.seeds),
        "tasks": one.found.tasks,
        "p_value": one.p_value,
        "comparisons": one.found.comparisons,
        "verdict": one.found.verdict,
        "reasons": list(one.found.reasons),
    }
