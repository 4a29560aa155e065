"""The axes of a study that gains depend on, by themselves and two together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from counterpoint.analysis.contrast import CONFIDENCE, strictest, visible_at
from counterpoint.analysis.factors import CellOutcomes, Effect, axes_of, changes_of, effect, shares
from counterpoint.analysis.multiplicity import holm
from counterpoint.analysis.outliers import points
from counterpoint.errors import RunError, counted
from counterpoint.experiments.compare import cells_of, compare_runs
from counterpoint.experiments.compared import TEAM
from counterpoint.reports.seen import Gathered
from counterpoint.reports.text.cells import lengths
from counterpoint.reports.text.falling import fallen
from counterpoint.reports.text.higher import contrasted
from counterpoint.reports.text.statement import Part, Rows, Statement, Verdict, listed, not_run, p_of, with_interval

_MOST = 4
"""Effects that are told in a sentence; the table has all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependence:
    """A main effect on the gain, or an interaction of two axes."""

    found: Effect
    """With an estimate."""
    p_value: float
    """Corrected for all main effects, or for all interactions."""
    family: int
    """The number of these."""

    @property
    def visible(self) -> float:
        """The smallest true effect that is found in 80 % of such studies, after the correction."""
        assert self.found.estimate is not None
        return visible_at(self.found.estimate, strictest(self.family))

    @property
    def is_there(self) -> bool:
        """True if it is not 0 after the correction."""
        return self.p_value <= 1 - CONFIDENCE

    @property
    def axes(self) -> tuple[str, ...]:
        """One axis, or two."""
        return tuple(change.axis for change in self.found.changes)


def dependences(gathered: Gathered) -> list[Dependence]:
    """Every main effect on the gain and every interaction of two axes; empty with one axis, or one seed."""
    return gathered.once("dependences", _dependences)


def _dependences(gathered: Gathered) -> list[Dependence]:
    found = gathered.compared
    if found is None or not found.by:
        return []
    cells = cells_of(gathered.collected, found, "gain")
    several = [cell for cell in cells if len(cell.seeds) > 1]
    if len(several) < 2 or min(cell.values.shape[1] for cell in several) < 2:
        return []
    made = [one for one in _effects(several, found.by) if one.estimate is not None]
    return [one for axes in (1, 2) for one in _corrected([own for own in made if len(own.changes) == axes])]


def _corrected(family: Sequence[Effect]) -> list[Dependence]:
    p_values = holm([one.estimate.p_value for one in family if one.estimate is not None])
    return [
        Dependence(found=one, p_value=p_value, family=len(family))
        for one, p_value in zip(family, p_values, strict=True)
    ]


def _effects(cells: Sequence[CellOutcomes], by: str) -> Iterator[Effect]:
    changes = {axis: changes_of(axis, levels) for axis, levels in axes_of(cells).items()}
    for axis in changes:
        yield from (effect(cells, [change], paired=by) for change in changes[axis])
    for one, other in combinations(changes, 2):
        yield from (effect(cells, [own, its], paired=by) for own in changes[one] for its in changes[other])


def jointly(gathered: Gathered) -> Part:
    """Which axes the gain depends on, by themselves and together."""
    title = "What do gains depend on?"
    found = gathered.compared
    own = dependences(gathered)
    pairs = [one for one in own if len(one.axes) == 2]
    if found is None or not pairs:
        reason = "cells that differ in two axes, each with two finished seeds and the same test tasks"
        return Part(title=title, statements=[not_run(f"it needs {reason}")])
    statements = [_together(pairs, len(pairs))]
    mains = [one for one in own if len(one.axes) == 1]
    there = [one for one in mains if one.is_there]
    statements += [Statement(text=_sentence(one)) for one in _largest(there)]
    statements += [
        Statement(text=f"the effects of {axis} are also those of the length of training: {told} steps")
        for axis, told in lengths(gathered).items()
        if any(axis in one.axes for one in own)
    ]
    left = list(dict.fromkeys(one.axes[0] for one in mains if one.axes[0] not in {one.axes[0] for one in there}))
    if left:
        statements.append(Statement(text=f"of {listed(left)} alone it cannot be told (after Holm over {len(mains)})"))
    statements += list(_shares(gathered))
    return Part(title=title, statements=statements, tables=[_table(own)], figures=("factor-shares",))


def _together(pairs: Sequence[Dependence], family: int) -> Statement:
    there = [one for one in pairs if one.is_there]
    over = f"after Holm over {counted(family, 'interaction')}"
    if there:
        told = "; ".join(_sentence(one) for one in _largest(there))
        axes = list(dict.fromkeys(" and ".join(one.axes) for one in there))
        return Statement(verdict="yes", text=f"the gain depends jointly on {listed(axes)} ({over}): {told}")
    seeds = min(one.found.estimate.seeds for one in pairs if one.found.estimate is not None)
    visible = [one.visible for one in pairs]
    return Statement(
        verdict="cannot tell",
        text=(
            f"no interaction of two axes is there ({over}, at least {counted(seeds, 'seed')} per cell): interactions of"
            f" less than {points(min(visible))} to {points(max(visible))} points would mostly have been missed"
        ),
    )


def _largest(there: Sequence[Dependence]) -> list[Dependence]:
    """The largest, by their value."""
    return sorted(there, key=lambda one: -abs(one.found.estimate.value if one.found.estimate else 0.0))[:_MOST]


def _sentence(one: Dependence) -> str:
    found = one.found.estimate
    assert found is not None
    interval = with_interval(found.value, found.low, found.high)
    return f"{one.found}: {interval} ({counted(found.seeds, 'seed')}, {p_of(one.p_value)})"


def _shares(gathered: Gathered) -> Iterator[Statement]:
    """The share of every axis in the differences between cells."""
    found = gathered.compared
    if found is None:
        return
    try:
        parts = shares(cells_of(gathered.collected, found, "gain"))
    except RunError:
        return
    known = sorted((one for one in parts if one.freedom), key=lambda one: -one.omega_squared)
    told = [f"{' by '.join(one.axes)} {100 * one.omega_squared:.0f} %" for one in known]
    if told:
        yield Statement(
            text=f"the share of each in the differences of gains between cells (omega squared): {', '.join(told)}"
        )


def _table(own: Sequence[Dependence]) -> Rows:
    rows = []
    for one in own:
        found = one.found.estimate
        assert found is not None
        interval = f"{100 * found.value:+z.1f} [{points(found.low)}, {points(found.high)}]"
        rows.append(
            (
                str(one.found),
                interval,
                f"{one.p_value:.2g}",
                "yes" if one.is_there else "cannot tell",
                f"{points(one.visible)}",
                f"{len(one.found.contexts)}",
                f"{found.seeds}",
            )
        )
    return Rows(
        columns=("effect on the gain", "points", "p", "there?", "visible", "contexts", "seeds"),
        rows=rows,
        about=(
            "Gains are peak minus base, in points of accuracy, with 95 % intervals over seeds and tasks; an effect of"
            " two axes is the difference that one makes to the other; p after Holm over the effects of one"
            " axis, and over those of two; visible: the smallest"
            " true effect that is found in 80 % of such studies, where the correction is strictest"
        ),
    )


def between(gathered: Gathered, axis: str, title: str, missing: str) -> Part:
    """The differences between the labels of a further axis, in cells that are equal otherwise."""
    labels = {run.labels[axis] for run in gathered.collected.runs if axis in run.labels and not run.control}
    if len(labels) < 2:
        return Part(title=title, statements=[not_run(missing)])
    try:
        found = compare_runs(gathered.collected, by=axis)
    except RunError as error:
        return Part(title=title, statements=[not_run(str(error))])
    team = [one for one in found.differences if one.who == TEAM]
    decided = [one for one in team if one.found.verdict != "cannot tell"]
    if not team:
        return Part(title=title, statements=[not_run(f"no cell is finished with two labels of {axis}; {missing}")])
    verdict: Verdict = "cannot tell"
    if any(one.found.leader for one in decided):
        verdict = "yes"
    elif len(decided) == len(team):
        verdict = "no"
    sentences = [*found.sentences]
    first = Statement(verdict=verdict, text=sentences[0])
    rest = [*sentences[1:], *(one.found.sentence for one in decided)]
    rest += [one.sentence for one in contrasted(gathered) if one.place.axis == axis]
    rest += [one.sentence for one in fallen(gathered) if one.place.axis == axis]
    return Part(title=title, statements=[first, *(Statement(text=text) for text in rest)])
