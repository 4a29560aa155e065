"""Compares collected runs: groups that differ in one thing, the team and every role, over seeds and tasks."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from counterpoint.analysis.comparison import (
    MARGIN,
    Level,
    MethodComparison,
    Side,
    compare_methods,
    in_points,
    is_within,
    level,
)
from counterpoint.analysis.contrast import CONFIDENCE
from counterpoint.analysis.factors import CellOutcomes, Effect, effects
from counterpoint.analysis.falls import McNemar, Rate, mcnemar, rate_of
from counterpoint.analysis.multiplicity import false_discoveries, holm
from counterpoint.errors import RunError, counted
from counterpoint.experiments.collected import MILESTONES, Collected, Fell, RunRecord
from counterpoint.experiments.compared import PRIMARY, TEAM, Compared, Difference, Falls, GroupLevel
from counterpoint.experiments.groups import Block, Group, against, controls_of, differing, grouped, printable
from counterpoint.experiments.matrices import AMOUNTS, Amount, Matrix, has_outcomes, matrices, matrix, roles_of
from counterpoint.experiments.what import what_of

_BEFORE_THE_END: tuple[Amount, ...] = ("base", "peak", "gain")
_MANY = 3
"""Pairs of groups up to which each is named that differs in several things."""
_BOUNDS = {amount: float(len(parts)) for amount, parts in AMOUNTS.items()}
"""The largest difference of two methods in each amount: 1 of an accuracy, 2 of a difference of two."""


def compare_runs(
    collected: Collected, *, by: str = "", others: Collection[str] = (), margin: float | None = None
) -> Compared:
    """The runs compared by what differs between them, or those in `others` (names) with the rest.

    Differences are those of a group minus one before it: `shared` comes first, then the order of the runs. Within
    `margin` (by default that of the runs' study, or 0.03) they count as alike. Runs that are not finished are named and
    left out; if they failed or were interrupted, and are more than a fifth of a group, its verdicts are "cannot tell".
    Raises ConfigError for an axis that does not exist, and RunError if runs have different test tasks, or two of one
    group have the same seed.
    """
    runs = [run for run in collected.runs if not run.control]
    trained = controls_of([run for run in collected.runs if run.control])
    if not runs:
        raise RunError("nothing can be compared: there is no run")
    by, blocks = ("", against(runs, others)) if others else grouped(runs, by)
    margins = [] if margin is not None else list(dict.fromkeys(run.margin for run in runs if run.margin is not None))
    margin = next(iter(margins), MARGIN) if margin is None else margin
    levels = tuple(one for block in blocks for one in _levels(collected, block))
    found = [one for block in blocks for one in _differences(collected, block, margin)]
    differences = corrected([one for one in found if one.who == TEAM], holm, "Holm")
    roles = corrected([one for one in found if one.who != TEAM], false_discoveries, "Benjamini and Hochberg")
    warnings = [
        *_warnings(collected, [*blocks, *trained], differences),
        *_not_shown(collected, blocks, levels),
        *_margins(margins),
    ]
    return Compared(
        by=by,
        margin=margin,
        blocks=tuple(blocks),
        levels=levels,
        differences=(*differences, *roles),
        controls=tuple(one for block in trained for one in _levels(collected, block) if one.who == TEAM),
        what=what_of([run for run in runs if has_outcomes(run)]),
        falls=tuple(
            Falls(block=block.name, group=group.name, rate=_rate_of(group))
            for block in blocks
            for group in block.groups
        ),
        paired_falls=_paired_falls(blocks),
        effects=_effects(collected, by, blocks) if len(blocks) > 1 else {},
        warnings=tuple(map(printable, warnings)),
    )


def cells_of(collected: Collected, found: Compared, amount: Amount) -> list[CellOutcomes]:
    """The team's outcomes in every group that is compared with others, for effects and shares of factors."""
    return _cells(collected, found.by, found.blocks, amount)


def _levels(collected: Collected, block: Block) -> Iterator[GroupLevel]:
    for group in block.groups:
        for who in [TEAM, *roles_of(collected, group.runs)] if group.runs else []:
            role = None if who == TEAM else who
            try:
                found = {amount: _level(collected, group.runs, amount, role) for amount in AMOUNTS}
            except RunError:  # there is no task on which the role was judged in all of these runs
                if role is None:
                    raise
                continue
            yield GroupLevel(block=block.name, group=group.name, who=who, **found)


def _level(collected: Collected, runs: Sequence[RunRecord], amount: Amount, role: str | None) -> Level:
    own = runs if amount in _BEFORE_THE_END else _told(runs)
    return level(matrix(collected, own, amount, role).values, difference=amount not in MILESTONES)


def _told(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs that were trained to their end or, if all were stopped, all."""
    whole = [run for run in runs if not run.stopped]
    return whole or list(runs)


def _differences(collected: Collected, block: Block, margin: float) -> Iterator[Difference]:
    for other, one in combinations([group for group in block.groups if group.runs], 2):
        alike = bool(one.workflow) and one.workflow == other.workflow
        roles = [role for role in roles_of(collected, one.runs) if role in roles_of(collected, other.runs)]
        for who in [TEAM, *(roles if alike else [])]:
            for amount in PRIMARY:
                if amount == "kept" and _is_mixed(one, other):
                    continue
                found = _difference(collected, one, other, amount, who, margin)
                if found is not None:
                    yield Difference(block=block.name, who=who, amount=amount, found=found, p_value=None)


def _is_mixed(one: Group, other: Group) -> bool:
    """True if some of the runs were stopped and others not: their ends are not of the same kind."""
    return len({bool(run.stopped) for run in (*one.runs, *other.runs)}) > 1


def _difference(
    collected: Collected, one: Group, other: Group, amount: Amount, who: str, margin: float
) -> MethodComparison | None:
    """None for a role that was never called on the same task in all runs."""
    try:
        first, second = matrices(collected, [one.runs, other.runs], amount, None if who == TEAM else who)
    except RunError:
        if who == TEAM:
            raise
        return None
    return compare_methods(
        side(one, first), side(other, second), left_out=first.left_out, margin=margin, bound=_BOUNDS[amount]
    )


def side(group: Group, found: Matrix) -> Side:
    """An amount of a group's runs, as one side of a comparison."""
    return Side(name=group.name, seeds=found.seeds, values=found.values, planned=group.planned)


def corrected(
    family: Sequence[Difference], correct: Callable[[Sequence[float]], list[float]], name: str
) -> list[Difference]:
    """The members of a family of comparisons, none of which is ahead unless it still is after the correction.

    Where it is not, the verdict is "alike" if the difference lies within the margin, and otherwise "cannot tell".
    """
    tested = [one for one in family if one.found.estimate is not None]
    p_values = correct([one.found.estimate.p_value for one in tested if one.found.estimate is not None])
    adjusted = {id(one): p_value for one, p_value in zip(tested, p_values, strict=True)}
    made = []
    for one in family:
        p_value, found = adjusted.get(id(one)), replace(one.found, comparisons=max(1, len(tested)))
        if p_value is not None and p_value > 1 - CONFIDENCE and found.verdict == "ahead":
            found = _not_ahead(found, f"p is {p_value:.2g} after {name} over {len(tested)} comparisons")
        made.append(replace(one, found=found, p_value=p_value))
    return made


def _not_ahead(found: MethodComparison, reason: str) -> MethodComparison:
    """The same with nobody ahead: alike, which the intervals alone decide, or "cannot tell" for this reason."""
    if found.estimate is not None and is_within(found.estimate, found.tasks_alone, found.margin):
        return replace(found, verdict="alike")
    return replace(found, verdict="cannot tell", reasons=(*found.reasons, reason))


def _rate_of(group: Group) -> Rate:
    lost: list[Fell | None] = [None] * (group.planned - len(group.runs))
    return rate_of([*(run.fell or "cannot tell" for run in group.runs), *lost])


def _paired_falls(blocks: Sequence[Block]) -> McNemar | None:
    """The falls of two groups over all blocks, paired by block and seed; None with more groups."""
    pairs = [block for block in blocks if len(block.groups) > 1]
    if len({tuple(group.name for group in block.groups) for block in pairs}) != 1 or len(pairs[0].groups) != 2:
        return None
    other, one = (
        {(block.name, run.seed): run.fell for block in pairs for run in block.groups[place].runs} for place in (0, 1)
    )
    return mcnemar(one, other)


def _effects(collected: Collected, by: str, blocks: Sequence[Block]) -> dict[Amount, tuple[Effect, ...]]:
    """The main effect of the axis, and its interactions with the others."""
    found: dict[Amount, tuple[Effect, ...]] = {}
    for amount in PRIMARY:
        cells = _cells(collected, by, blocks, amount)
        several = {tuple(cell.labels.items()) for cell in cells if len(cell.seeds) > 1}
        if len(several) < 2 or min(cell.values.shape[1] for cell in cells) < 2:
            continue
        axes = {axis: tuple(dict.fromkeys(cell.labels[axis] for cell in cells)) for axis in cells[0].labels}
        own = [one for one in effects(cells, by, axes) if one.changes[0].axis == by and one.estimate is not None]
        if own:
            found[amount] = tuple(own)
    return found


def _cells(collected: Collected, by: str, blocks: Sequence[Block], amount: Amount) -> list[CellOutcomes]:
    """The groups with outcomes, on the tasks that all with the same test split have.

    Ends of one kind only: where some runs of a block were stopped and others not, the groups without a stopped run.
    """
    families: dict[str, list[tuple[Block, Group]]] = {}
    for block in blocks:
        groups = [group for group in block.groups if group.runs]
        stops = {bool(run.stopped) for group in groups for run in group.runs}
        if amount == "kept" and len(stops) > 1:
            groups = [group for group in groups if not any(run.stopped for run in group.runs)]
        if len(groups) > 1:
            families.setdefault(groups[0].runs[0].tasks_sha256, []).extend((block, group) for group in groups)
    return [
        CellOutcomes(
            labels={**block.labels, by: group.labels[by]}, seeds=found.seeds, values=found.values, tasks=fingerprint
        )
        for fingerprint, members in families.items()
        for (block, group), found in zip(
            members, matrices(collected, [group.runs for _, group in members], amount), strict=True
        )
    ]


def _warnings(collected: Collected, blocks: Sequence[Block], differences: Sequence[Difference]) -> Iterator[str]:
    """Lines that a reader must know beside the numbers."""
    for block in blocks:
        where = f"{block.name}: " if block.name else ""
        if block.labels and len([group for group in block.groups if group.runs]) < 2:
            yield f"{block.name} is not compared: one group of it has finished runs"
        for group in block.groups:
            yield from (f"{where}{text}" for text in _about(group))
        yield from (f"{where}{text}" for text in _confounded(block))
        for other, one in combinations(block.groups, 2):
            if one.runs and other.runs and _is_mixed(one, other):
                yield (
                    f"{where}what {one.name} and {other.name} kept is not compared: some of their runs were stopped,"
                    " and end where they were rolled back to"
                )
            if one.runs and other.runs and one.workflow != other.workflow:
                yield f"{where}{one.name} and {other.name} have different workflows: their roles are not compared"
    several = {block.name for block in blocks if len(block.groups) > 2}
    for difference in differences:
        where = f"{difference.block}: " if difference.block else ""
        pair = f"{difference.found.one} - {difference.found.other}, " if difference.block in several else ""
        yield from (f"{where}{pair}{difference.amount}: {text}" for text in difference.found.warnings)
    versions = sorted({f"{run.version or 'unknown'} {run.commit[:8]}".strip() for run in collected.runs if run.commit})
    if len(versions) > 1:
        yield f"the runs were made by different versions: {', '.join(versions)}"


def _confounded(block: Block) -> Iterator[str]:
    """The pairs of groups that differ in more than one thing: each, or their number if they are many."""
    pairs = {
        (one.name, other.name): axes
        for other, one in combinations(block.groups, 2)
        if len(axes := differing(one, other)) > 1
    }
    if len(pairs) > _MANY:
        every = dict.fromkeys(axis for axes in pairs.values() for axis in axes)
        yield f"{len(pairs)} pairs of groups differ in several things at once, of: {', '.join(every)}"
    else:
        for (one, other), axes in pairs.items():
            yield f"{one} and {other} differ in {len(axes)} things at once: {', '.join(axes)}"


def _not_shown(collected: Collected, blocks: Sequence[Block], levels: Sequence[GroupLevel]) -> Iterator[str]:
    """The roles of which a group has outcomes, but none on the same task in all of its runs."""
    shown = {(one.block, one.group, one.who) for one in levels}
    for block in blocks:
        for group in block.groups:
            for role in roles_of(collected, group.runs) if group.runs else ():
                if (block.name, group.name, role) not in shown:
                    yield f"{role} of {group.name} is not shown: on no task was it judged in all of its runs"


def _margins(margins: Sequence[float]) -> Iterator[str]:
    """The margins of several studies, the one first that counts here."""
    if len(margins) > 1:
        told = " and ".join(in_points(margin) for margin in sorted(margins))
        yield f"the studies have margins of {told}: here, differences within {in_points(margins[0])} count as alike"


def _about(group: Group) -> Iterator[str]:
    for run in group.missing:
        state = "was not evaluated after its base" if run.state == "finished" else f"is {run.state}"
        yield f"{run.run} {state}, and left out of {group.name}"
    unmoved = [run for run in group.runs if run.peak_step == 0]
    if unmoved:
        yield (
            f"the peak of {len(unmoved)} of {counted(len(group.runs), 'run')} of {group.name} is the base: no later"
            " evaluation was better on the validation split"
        )
    fell = sum(run.fell == "fell" for run in group.runs)
    if 0 < fell < len(group.runs):
        yield f"{fell} of {len(group.runs)} runs of {group.name} fell: what it kept is a mean of two kinds of runs"
    stopped = [run for run in group.runs if run.stopped]
    if stopped:
        end = "" if len(stopped) == len(group.runs) else "; its terminal accuracy is that of the others"
        count = f"{len(stopped)} of {counted(len(group.runs), 'run')} of {group.name}"
        yield f"{count} stopped early: {stopped[0].stopped}{end}"
