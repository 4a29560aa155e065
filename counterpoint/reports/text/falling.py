"""The falls of two methods compared, and the cells in which runs fell."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from counterpoint.analysis.contrast import CONFIDENCE
from counterpoint.analysis.falls import Fell, McNemar, Rate, mcnemar, rate_of
from counterpoint.analysis.multiplicity import holm
from counterpoint.errors import counted
from counterpoint.experiments.compared import Compared
from counterpoint.experiments.groups import Block
from counterpoint.reports.seen import Gathered
from counterpoint.reports.text.higher import EVERYWHERE, Place
from counterpoint.reports.text.statement import Part, Rows, Statement, Verdict, listed, not_run, p_of

_FEW_PAIRS = 2
"""Pairs that differ, below which no number of seeds is given that would decide."""
_SAMPLES = 4
"""Episodes per test task with which most fates can be told (`docs/statistics.md`)."""
_MOST_SEEDS = 200
"""Seeds per cell up to which a number that would decide is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallen:
    """The falls of two methods in pairs of runs with equal seeds and other labels."""

    one: str
    """The method that is asked about."""
    other: str
    place: Place
    rates: Mapping[str, Rate]
    """Method -> its runs that fell."""
    pairs: McNemar
    """`first` counts the pairs in which only the other method fell."""
    p_value: float
    """Corrected for all labels; in all cells, of the one test."""
    family: int
    seeds: int
    """The most seeds of a cell."""

    @property
    def verdict(self) -> Verdict:
        """Yes if `one` falls more often, no if the other does; "cannot tell" unless the test says so of two seeds."""
        if self.p_value > 1 - CONFIDENCE or self.seeds < 2:
            return "cannot tell"
        return "yes" if self.pairs.second > self.pairs.first else "no"

    @property
    def sentence(self) -> str:
        """The counts with their intervals, the test, and the seeds that would decide."""
        where = f"{self.place.axis} = {self.place.label}, " if self.place.axis else ""
        rates = "; ".join(f"{name}: {rate.interval}" for name, rate in self.rates.items())
        corrected = f", {p_of(self.p_value)} after Holm over {self.family} labels" if self.place.axis else ""
        more = f"; {self._needed}" if self.verdict == "cannot tell" else ""
        return f"{where}{rates}; {self.pairs.words(self.other, self.one)}{corrected}{more}"

    @property
    def _needed(self) -> str:
        differ = self.pairs.first + self.pairs.second
        needed = seeds_to_decide(self.pairs, self.seeds) if differ >= _FEW_PAIRS else None
        if needed is not None:
            return f"if pairs go on like this, about {needed} seeds per cell would decide"
        if differ < _FEW_PAIRS:
            return "so few pairs differ yet that nothing is known of the seeds that would decide"
        return f"if pairs go on like this, {_MOST_SEEDS} seeds per cell would not decide"


def seeds_to_decide(pairs: McNemar, seeds: int) -> int | None:
    """The seeds per cell at which the test says yes or no, if pairs that differ stay as frequent as they are.

    None if equally many pairs differ either way, or none does, or `_MOST_SEEDS` are not enough.
    """
    from scipy.stats import binomtest

    if pairs.first == pairs.second or not seeds:
        return None
    for more in range(seeds + 1, _MOST_SEEDS + 1):
        first, second = (round(count * more / seeds) for count in (pairs.first, pairs.second))
        if binomtest(first, first + second).pvalue <= 1 - CONFIDENCE:
            return more
    return None


def fallen(gathered: Gathered) -> list[Fallen]:
    """The falls in all cells, then within every label; empty unless two methods are compared."""
    return gathered.once("fallen", _fallen)


def _fallen(gathered: Gathered) -> list[Fallen]:
    found = gathered.compared
    names = _pair(found)
    if found is None or names is None:
        return []
    parts = [one for place in _places(found) if (one := _in(found, names, place)) is not None]
    p_values = holm([one.pairs.p_value for one in parts])
    corrected = [
        replace(part, p_value=p_value, family=len(parts)) for part, p_value in zip(parts, p_values, strict=True)
    ]
    whole = _in(found, names, EVERYWHERE)
    return [whole, *corrected] if whole is not None else []


def _places(found: Compared) -> list[Place]:
    """Every label of every axis with several of them, by axis."""
    labels: dict[str, dict[str, None]] = {}
    for block in found.blocks:
        for axis, label in block.labels.items():
            labels.setdefault(axis, {})[label] = None
    return [Place(axis, label) for axis, own in labels.items() if len(own) > 1 for label in own]


def _pair(found: Compared | None) -> tuple[str, str] | None:
    """The names of the two methods, the asked one first; None unless all cells have the same two."""
    names = {tuple(group.name for group in block.groups) for block in found.blocks} if found else set()
    several = [one for one in names if len(one) == 2]
    return several[0][::-1] if len(several) == 1 and all(set(one) <= set(several[0]) for one in names) else None


def _in(found: Compared, names: tuple[str, str], place: Place) -> Fallen | None:
    """The falls in the cells with a label; None if no run of them is finished."""
    blocks = [block for block in found.blocks if not place.axis or block.labels.get(place.axis) == place.label]
    fates = {name: _fates(blocks, name) for name in names}
    if not any(fates.values()):
        return None
    pairs = mcnemar(fates[names[1]], fates[names[0]])
    return Fallen(
        one=names[0],
        other=names[1],
        place=place,
        rates={name: rate_of([*own.values(), *_lost(blocks, name)]) for name, own in fates.items()},
        pairs=pairs,
        p_value=pairs.p_value,
        family=1,
        seeds=max(len(group.runs) for block in blocks for group in block.groups),
    )


def _fates(blocks: Sequence[Block], name: str) -> dict[tuple[str, int], Fell | None]:
    return {
        (block.name, run.seed): run.fell
        for block in blocks
        for group in block.groups
        if group.name == name
        for run in group.runs
    }


def _lost(blocks: Sequence[Block], name: str) -> list[None]:
    """One for every run that failed or was interrupted."""
    groups = [group for block in blocks for group in block.groups if group.name == name]
    return [None] * sum(group.planned - len(group.runs) for group in groups)


def falling(gathered: Gathered) -> Part:
    """The answer to whether a method falls more often, and the cells in which runs fell."""
    found = gathered.compared
    own = fallen(gathered)
    names = _pair(found)
    title = f"Does {names[0]} fall more often than {names[1]}?" if names else "Which runs fell?"
    if found is None:
        return Part(title=title, statements=[not_run(listed(gathered.reasons))])
    statements = [Statement(verdict=own[0].verdict, text=own[0].sentence)] if own else list(_rates(found))
    decided = [one for one in own[1:] if one.verdict != "cannot tell"]
    statements += [Statement(text=one.sentence) for one in decided]
    if own[1:] and len(decided) < len(own) - 1:
        left = [f"{one.place.axis} = {one.place.label}" for one in own[1:] if one.verdict == "cannot tell"]
        statements.append(Statement(text=f"it cannot be told within {listed(left)} (after Holm over {own[1].family})"))
    statements += [*_where(found), *_unclear(found)]
    return Part(title=title, statements=statements, tables=list(_table(own)), figures=("falls", "survival"))


def _rates(found: Compared) -> Iterator[Statement]:
    """The counts of each method, where these are not two."""
    for name in dict.fromkeys(one.group for one in found.falls):
        runs = [
            run.fell for block in found.blocks for group in block.groups if group.name == name for run in group.runs
        ]
        yield Statement(text=f"{name}: {rate_of(runs).interval}")


def _where(found: Compared) -> Iterator[Statement]:
    """The cells in which runs fell, the most frequent first."""
    cells = [one for one in found.falls if one.rate.fell]
    if not cells:
        told = sum(one.rate.told for one in found.falls)
        open_ = sum(one.rate.cannot_tell for one in found.falls)
        more = f", and of {open_} more it cannot be told" if open_ else ""
        yield Statement(text=f"no run is known to have fallen: {told} held{more}")
        return
    ranked = sorted(cells, key=lambda one: -one.rate.fell / one.rate.told)
    told_cells = [
        f"{f'{one.block}, ' if one.block else ''}{one.group} {one.rate.fell} of {one.rate.told}" for one in ranked
    ]
    yield Statement(text=f"falls are in {len(cells)} of {counted(len(found.falls), 'cell')}: {'; '.join(told_cells)}")


def _unclear(found: Compared) -> Iterator[Statement]:
    """That of most runs it cannot be told, where more episodes per test task would tell."""
    runs = [run for block in found.blocks for group in block.groups for run in group.runs]
    unclear = [run for run in runs if run.fell == "cannot tell" and not run.stopped]
    if unclear and 4 * len(unclear) >= len(runs) and (fewest := min(run.samples for run in unclear)) < _SAMPLES:
        yield Statement(
            text=(
                f"of {len(unclear)} of {counted(len(runs), 'run')} it cannot be told whether they fell: the final"
                f" evaluation has {counted(fewest, 'episode')} per test task, and {_SAMPLES} would tell most of them"
            )
        )


def _table(own: Sequence[Fallen]) -> Iterator[Rows]:
    if not own:
        return
    rows = [
        (
            f"{one.place.axis} = {one.place.label}" if one.place.axis else "all cells",
            *(rate.interval for rate in one.rates.values()),
            f"{one.pairs.second}",
            f"{one.pairs.first}",
            f"{one.p_value:.2g}",
            one.verdict,
        )
        for one in own
    ]
    first = own[0]
    yield Rows(
        columns=("in", *first.rates, f"only {first.one} fell", f"only {first.other} fell", "p", "more often?"),
        rows=rows,
        about=(
            "Runs that fell, of those of which it can be told, with Wilson's 95 % intervals over runs; pairs of runs of"
            " the same cell and seed of which only one fell, with the exact McNemar test, corrected within the labels"
            " after Holm"
        ),
    )
