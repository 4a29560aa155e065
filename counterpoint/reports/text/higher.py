"""Two methods compared over a study: at the peak, and in what is left at the end."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from counterpoint.analysis.comparison import in_points
from counterpoint.analysis.contrast import strictest, visible_at
from counterpoint.analysis.factors import CellOutcomes, Change, Effect, effect, seeds_for
from counterpoint.analysis.multiplicity import holm
from counterpoint.analysis.outliers import points
from counterpoint.errors import RunError, counted
from counterpoint.experiments.compare import cells_of
from counterpoint.experiments.compared import PRIMARY, Compared, Difference
from counterpoint.experiments.matrices import Amount
from counterpoint.reports.seen import Gathered
from counterpoint.reports.text.statement import (
    Part,
    Rows,
    Statement,
    Verdict,
    is_higher,
    listed,
    not_run,
    p_of,
    why,
    with_interval,
)

WORDS: Mapping[str, str] = {"peak": "at the peak", "kept": "at the end, over the base", "gain": "in the gain"}
_TITLES = {
    "peak": "Does {one} peak higher than {other}?",
    "kept": "Does {one} end higher above its base than {other}?",
}
_LARGEST = {"peak": "Which {by} peaks highest?", "kept": "Which {by} ends highest above its base?"}


class Place(NamedTuple):
    """Where an effect is looked at: in the cells with one label of an axis; in all cells if both are empty."""

    axis: str
    label: str


EVERYWHERE = Place("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrasted:
    """The effect of the compared axis on an amount, in all cells or in those with one label."""

    amount: Amount
    place: Place
    found: Effect
    """With an estimate."""
    p_value: float
    """Corrected for all effects of its family: those in all cells, or those by label."""
    family: int
    verdict: Verdict
    margin: float
    seeds: int | None
    """The seeds per cell that would probably find a difference of the margin; None if unknown, or decided."""

    @property
    def visible(self) -> float:
        """The smallest true difference that is found in 80 % of such studies, after the correction."""
        assert self.found.estimate is not None
        return visible_at(self.found.estimate, strictest(self.family))

    @property
    def is_blind(self) -> bool:
        """True if the largest difference of two accuracies, or of two that are kept, would mostly be missed."""
        return self.visible > (1.0 if self.amount == "peak" else 2.0)

    @property
    def change(self) -> Change:
        """The two sides."""
        return self.found.changes[0]

    @property
    def sentence(self) -> str:
        """The difference with its interval, and the size of a study that would decide, if it is open."""
        one = self.found.estimate
        assert one is not None
        where = f"{self.place.axis} = {self.place.label}, " if self.place.axis else ""
        cells = counted(len(self.found.contexts), "cell")
        seeds = f"{counted(one.seeds, 'seed')}{' each' if len(self.found.contexts) > 1 else ''}"
        told = (
            f"{where}{WORDS[self.amount]}: {self.change.to} minus {self.change.others} is"
            f" {with_interval(one.value, one.low, one.high)} on average over {cells} ({seeds}, {one.tasks} tasks,"
            f" {p_of(self.p_value)} after Holm over {counted(self.family, 'comparison')})"
            f"{why(self.verdict, one.value, self.p_value, self.margin)}"
        )
        left = len(self.found.left_out)
        out = f"; {counted(left, 'cell')} with fewer than two seeds on a side left out" if left else ""
        return f"{told}{self._needed}{out}"

    @property
    def _needed(self) -> str:
        one = self.found.estimate
        if self.verdict != "cannot tell" or one is None:
            return ""
        if self.is_blind:
            return "; no difference that there can be would be found in 80 % of such studies"
        told = f"; {points(self.visible)} points would be found in 80 % of such studies"
        if self.visible <= self.margin:
            return told
        size = f"about {self.seeds} seeds per cell" if self.seeds else "no number of seeds on these tasks"
        return f"{told}, {in_points(self.margin)} with {size}"


def contrasted(gathered: Gathered) -> list[Contrasted]:
    """The effects of the compared axis on what methods reach and keep; empty with one cell or one seed."""
    return gathered.once("contrasted", _contrasted)


def _contrasted(gathered: Gathered) -> list[Contrasted]:
    found = gathered.compared
    if found is None:
        return []
    cells = {amount: cells_of(gathered.collected, found, amount) for amount in PRIMARY}
    overall: list[tuple[Amount, Place, Effect]] = []
    by_label: list[tuple[Amount, Place, Effect]] = []
    for amount in PRIMARY:
        main = [one for one in found.effects.get(amount, ()) if len(one.changes) == 1]
        overall += [(amount, EVERYWHERE, one) for one in main]
        by_label += [
            (amount, place, part)
            for one in main
            for place in places(cells[amount], found.by)
            if (part := _within(cells[amount], one.changes[0], place, found.by)) is not None
        ]
    return [
        one
        for family in (overall, by_label)
        for one in _judged(family, {str(amount): own for amount, own in cells.items()}, found)
    ]


def places(cells: Sequence[CellOutcomes], by: str) -> Iterator[Place]:
    """Every label of every axis but the compared one, of the axes in which cells differ."""
    for axis in cells[0].labels if cells else ():
        labels = list(dict.fromkeys(cell.labels[axis] for cell in cells))
        if axis != by and len(labels) > 1:
            yield from (Place(axis, label) for label in labels)


def _within(cells: Sequence[CellOutcomes], change: Change, place: Place, by: str) -> Effect | None:
    try:
        found = effect(cells, [change], paired=by, where={place.axis: place.label})
    except RunError:  # no cell has this label for this amount
        return None
    return found if found.estimate is not None else None


def _judged(
    family: Sequence[tuple[Amount, Place, Effect]], cells: Mapping[str, Sequence[CellOutcomes]], found: Compared
) -> Iterator[Contrasted]:
    """The members of a family, corrected for their number."""
    estimates = [one.estimate for _, _, one in family if one.estimate is not None]
    for (amount, place, one), estimate, p_value in zip(
        family, estimates, holm([estimate.p_value for estimate in estimates]), strict=True
    ):
        verdict = is_higher(estimate, p_value, found.margin, len(family))
        seeds = None
        if verdict == "cannot tell" and found.margin:
            seeds = seeds_for(
                cells[amount],
                one.changes,
                found.margin,
                paired=found.by,
                where={place.axis: place.label} if place.axis else None,
                confidence=strictest(len(family)),
            )
        yield Contrasted(
            amount=amount,
            place=place,
            found=one,
            p_value=p_value,
            family=len(family),
            verdict=verdict,
            margin=found.margin,
            seeds=seeds,
        )


def higher(gathered: Gathered, amount: Amount) -> Part:
    """The compared methods at the peak (`peak`), or by what they kept at the end (`kept`)."""
    found = gathered.compared
    figures = ("differences", "factors") if amount == "peak" else ()
    if found is None or not found.team:
        missing = listed(gathered.reasons) or "no two methods have finished runs with the same other labels"
        return Part(title=_title(found, amount), statements=[not_run(missing)])
    own = [one for one in contrasted(gathered) if one.amount == amount]
    overall = [one for one in own if not one.place.axis]
    statements = list(_overall(overall))
    team = [one for one in found.team if one.amount == amount]
    if not overall:
        several = len({name for one in team for name in (one.found.one, one.found.other)}) > 2
        statements += list(_by_cell(team, answers=True)) if several else [_alone(one) for one in team]
    elif len(team) > 1:
        statements += list(_by_cell(team))
    statements += list(_by_label([one for one in own if one.place.axis]))
    if not team:
        statements.append(not_run("some of the runs were stopped: their ends are not compared"))
    return Part(title=_title(found, amount), statements=statements, tables=list(_table(own)), figures=figures)


def _overall(own: Sequence[Contrasted]) -> Iterator[Statement]:
    """The effects in all cells: of several methods the highest first, and those that cannot be told in one sentence."""
    if len(own) == 1:
        yield Statement(verdict=own[0].verdict, text=own[0].sentence)
        return
    above = sorted((one for one in own if one.verdict == "yes"), key=lambda one: -_value(one))
    yield from (Statement(verdict="yes", text=one.sentence) for one in above)
    yield from (Statement(text=one.sentence) for one in own if one.verdict == "no")
    if unknown := [one for one in own if one.verdict == "cannot tell"]:
        yield Statement(verdict="cannot tell", text=f"{WORDS[own[0].amount]}, {_unknown(unknown)}")
    elif own and not above:
        yield Statement(verdict="no", text=f"{WORDS[own[0].amount]}, none is above the rest")


def _value(one: Contrasted) -> float:
    assert one.found.estimate is not None
    return one.found.estimate.value


def _unknown(own: Sequence[Contrasted]) -> str:
    """The methods of which it cannot be told if they differ from the rest, and the differences that would be found."""
    found = sorted(one.visible for one in own if not one.is_blind)
    span = " to ".join(dict.fromkeys([points(found[0]), points(found[-1])])) if found else ""
    sees = [f"for {len(found)} of them {span} points would be found in 80 % of such studies"] if found else []
    blind = len(own) - len(found)
    sees += [f"for {blind} no difference that there can be"] if blind else []
    names = [one.change.to for one in own]
    return (
        f"it cannot be told if {listed(names)} {_differ(names)} from the rest (after"
        f" Holm over {counted(own[0].family, 'comparison')}); {', '.join(sees)}"
    )


def _title(found: Compared | None, amount: Amount) -> str:
    pairs = {(one.found.one, one.found.other) for one in found.team} if found else set()
    if len(pairs) == 1:
        one, other = pairs.pop()
        return _TITLES[amount].format(one=one, other=other)
    return _LARGEST[amount].format(by=(found.by if found else "") or "method")


def _alone(one: Difference) -> Statement:
    """A single comparison, as the comparison itself says it."""
    verdict: Verdict = "cannot tell"
    if one.found.verdict != "cannot tell":
        verdict = "yes" if one.found.leader == one.found.one else "no"
    where = f"{one.block}, " if one.block else ""
    sentence = one.found.sentence.removeprefix("cannot tell: ")
    return Statement(verdict=verdict, text=f"{where}{WORDS[one.amount]}: {sentence}")


def _by_cell(team: Sequence[Difference], *, answers: bool = False) -> Iterator[Statement]:
    """The cells by their verdicts, after the correction for all comparisons of the study.

    With `answers` they are the answer to the question: yes where one of two is ahead.
    """
    ahead: dict[str, list[str]] = {}
    for one in team:
        if one.found.verdict == "cannot tell":
            continue
        words = f"{one.found.leader} is ahead" if one.found.leader else "they are alike"
        ahead.setdefault(words, []).append(f"{one.block} ({one.found.sentence})")
    count = max(one.found.comparisons for one in team)
    family = f"after Holm over {counted(count, 'comparison')}"
    for words, cells in ahead.items():
        verdict: Verdict = "yes" if words.endswith("is ahead") else "no"
        told = f"cell by cell, {family}: {words} in {len(cells)} of {len(team)}: {'; '.join(cells)}"
        yield Statement(text=told, verdict=verdict if answers else None)
    left = sum(one.found.verdict == "cannot tell" for one in team)
    if left:
        sizes = [one.found.needed for one in team if one.found.verdict == "cannot tell"]
        seeds = sorted(size.seeds for size in sizes if size is not None and size.seeds is not None)
        span = f"{seeds[0]} to {seeds[-1]}" if len(set(seeds)) > 1 else f"{seeds[0]}" if seeds else ""
        needed = f"; {in_points(team[0].found.margin)} would be found with about {span} seeds" if span else ""
        told = f"cell by cell, {family}: in {left} of {len(team)} it cannot be told{needed}"
        yield Statement(text=told, verdict="cannot tell" if answers else None)


def _by_label(own: Sequence[Contrasted]) -> Iterator[Statement]:
    """The labels within which one side is ahead; that there is none, if so."""
    decided = [one for one in own if one.verdict != "cannot tell"]
    yield from (Statement(text=one.sentence) for one in decided)
    unknown: dict[str, list[str]] = {}
    for one in own:
        if one.verdict == "cannot tell":
            unknown.setdefault(f"{one.place.axis} = {one.place.label}", []).append(one.change.to)
    if not unknown:
        return
    within = f"{WORDS[own[0].amount]} it cannot be told within"
    family = f"(after Holm over {own[0].family})"
    if len({one.change.to for one in own}) == 1:
        yield Statement(text=f"{within} {listed(list(unknown))} {family}")
        return
    for place, names in unknown.items():
        yield Statement(text=f"{within} {place} if {listed(names)} {_differ(names)} from the rest {family}")


def _differ(names: Sequence[str]) -> str:
    return "differs" if len(names) == 1 else "differ"


def _table(own: Sequence[Contrasted]) -> Iterator[Rows]:
    """The effect in all cells, and within each label."""
    if not own:
        return
    yield Rows(
        columns=("in", "difference", "points", "p", "higher?", "visible", "seeds needed", "cells", "seeds"),
        rows=[_row(one) for one in own],
        about=(
            f"Points of accuracy {WORDS[own[0].amount]}, with 95 % intervals over seeds and tasks; p after"
            " Holm over the effects in all cells, and over those by label; visible: the smallest true difference that"
            " is found in 80 % of such studies, and seeds needed: per cell, for the margin; both where the correction"
            " is strictest"
        ),
    )


def _row(one: Contrasted) -> tuple[str, ...]:
    estimate = one.found.estimate
    assert estimate is not None
    return (
        f"{one.place.axis} = {one.place.label}" if one.place.axis else "all cells",
        f"{one.change.to} - {one.change.others}",
        f"{100 * estimate.value:+z.1f} [{points(estimate.low)}, {points(estimate.high)}]",
        f"{one.p_value:.2g}",
        one.verdict,
        "none" if one.is_blind else f"{points(one.visible)}",
        f"{one.seeds}" if one.seeds else "-",
        f"{len(one.found.contexts)}",
        f"{estimate.seeds}",
    )
