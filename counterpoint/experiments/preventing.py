"""Compares every label of an axis with one of them: which prevents falls without costing the peak?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from counterpoint.analysis.comparison import LEFT_OUT, MARGIN, MISSING, MethodComparison, Side, paired_seeds, verdict_of
from counterpoint.analysis.contrast import Part, contrast, over_tasks
from counterpoint.analysis.falls import Fell, mcnemar, rate_of
from counterpoint.analysis.multiplicity import holm
from counterpoint.errors import ConfigError, counted, unknown
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.compare import corrected, side
from counterpoint.experiments.compared import PRIMARY, TEAM, Difference
from counterpoint.experiments.groups import Block, Group, grouped, printable
from counterpoint.experiments.matrices import Amount, has_outcomes, matrices
from counterpoint.experiments.prevented import Prevented, Prevention
from counterpoint.experiments.what import what_of

BY, REFERENCE = "intervention", "nothing"
"""The axis of a study of interventions, and its label without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The runs of one label and those of the reference, in one cell; either side may have none that finished."""

    cell: str
    tasks: str
    """The fingerprint of the test tasks; empty if no run of the cell got so far."""
    one: Group
    reference: Group

    @property
    def seeds(self) -> int:
        """The finished runs of the side that has fewer."""
        return min(len(self.one.runs), len(self.reference.runs))

    @property
    def steps(self) -> int:
        """The most steps that a finished run of the reference was to train; 0 without one."""
        return max(map(_steps_of, self.reference.runs), default=0)

    @property
    def shorter(self) -> list[RunRecord]:
        """The finished runs of the label that were to train fewer."""
        return [run for run in self.one.runs if _steps_of(run) < self.steps]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """An amount of both groups of a pair, on the tasks that every run of the cell has."""

    one: Side
    other: Side

    @property
    def parts(self) -> list[Part]:
        """Paired by seed where the seeds are equal, as `compare_methods` pairs; otherwise two parts."""
        seeds = paired_seeds(self.one, self.other)
        if not seeds:
            return [(1.0, self.one.values), (-1.0, self.other.values)]
        rows = [[own.seeds.index(seed) for seed in seeds] for own in (self.one, self.other)]
        return [(1.0, self.one.values[rows[0]] - self.other.values[rows[1]])]


def prevention(
    collected: Collected, *, by: str = BY, reference: str = REFERENCE, margin: float | None = None
) -> Prevented:
    """Every label of the axis `by` against the label `reference`, in every cell and over all cells.

    A cell is a combination of the labels of all other axes. The primary family is every label by its peak and by its
    end, each the mean over the cells with the same test tasks, corrected after Holm; the single cells are a second
    family. Labels, cells and seeds without finished runs are left out of the means, and named; runs that failed or were
    interrupted count as missing there too. Raises ConfigError for an axis or a label that no run has; RunError as
    `compare_runs` does.
    """
    runs = [run for run in collected.runs if not run.control]
    labels = list(dict.fromkeys(printable(run.labels[by]) for run in runs if by in run.labels))
    if not labels:
        raise ConfigError(unknown("axis of --by", by, dict.fromkeys(axis for run in runs for axis in run.labels)))
    if reference not in labels:
        raise ConfigError(unknown(f"label of {by} in --reference", reference, labels))
    blocks = grouped(runs, by)[1] if len(labels) > 1 else []
    margin = next((run.margin for run in runs if run.margin is not None), MARGIN) if margin is None else margin
    pairs = [pair for block in blocks for pair in _pairs(block, by, reference)]
    pooled = [one for where, pool in _pools(pairs) for one in _over(collected, pool, where, margin)]
    single = [one for pair in pairs for one in _over(collected, [pair], pair.cell, margin)] if len(blocks) > 1 else []
    return Prevented(
        by=by,
        reference=reference,
        margin=margin,
        pooled=_after_holm(pooled),
        cells=_after_holm(single),
        falls={
            block.name: rate_of(_fates(group).values())
            for block in blocks
            for group in block.groups
            if group.labels[by] == reference and group.planned
        },
        what=what_of([run for run in runs if has_outcomes(run)]),
        warnings=tuple(map(printable, _warnings(blocks, by, reference, pairs, pooled))),
    )


def _pairs(block: Block, by: str, reference: str) -> Iterator[Pair]:
    """Every label with the reference, if both have runs that finished, failed or were interrupted."""
    planned = [group for group in block.groups if group.planned]
    runs = [*(run for group in planned for run in group.runs), *(run for group in planned for run in group.missing)]
    tasks = next((run.tasks_sha256 for run in runs if run.tasks_sha256), "")
    for without in [group for group in planned if group.labels[by] == reference]:
        for group in planned:
            if group is not without:
                yield Pair(cell=block.name, tasks=tasks, one=group, reference=without)


def _pools(pairs: Sequence[Pair]) -> Iterator[tuple[str, list[Pair]]]:
    """The pairs with the same test tasks, as only their outcomes have one mean, with what their cells share.

    A cell of which the tasks are not known may be any pool's, so that its failed runs count in each.
    """
    known = dict.fromkeys(pair.tasks for pair in pairs if pair.tasks)
    for tasks in known or dict.fromkeys(pair.tasks for pair in pairs):
        pool = [pair for pair in pairs if pair.tasks in (tasks, "")]
        yield _shared_name([pair.cell for pair in pool if pair.tasks == tasks]), pool


def _over(collected: Collected, pairs: Sequence[Pair], where: str, margin: float) -> Iterator[Prevention]:
    """Every label that has a finished run beside one of the reference, over the cells of these pairs.

    The means are over the cells with as many seeds as an interval needs; falls and missing runs are those of all.
    """
    for label in dict.fromkeys(pair.one.name for pair in pairs):
        own = [pair for pair in pairs if pair.one.name == label]
        finished = [pair for pair in own if pair.seeds]
        several = [pair for pair in finished if pair.seeds > 1]
        if finished:
            yield _prevention(collected, several or finished, own, where, margin)


def _prevention(
    collected: Collected, averaged: Sequence[Pair], every: Sequence[Pair], where: str, margin: float
) -> Prevention:
    missing = [*_missing([pair.one for pair in every]), *_missing([pair.reference for pair in every])]
    kept, peak = (
        Difference(
            block=where,
            who=TEAM,
            amount=amount,
            found=_compared(collected, averaged, amount, margin, missing),
            p_value=None,
        )
        for amount in reversed(PRIMARY)
    )
    fates = {(pair.cell, seed): fell for pair in every for seed, fell in _fates(pair.one, pair.steps).items()}
    without = {(pair.cell, seed): fell for pair in every for seed, fell in _fates(pair.reference).items()}
    runs = [run for pair in every for run in pair.one.runs]
    before = [run for pair in every for run in pair.reference.runs]
    measured = [run for pair in averaged for run in pair.one.runs]
    return Prevention(
        where=where,
        cells=tuple(pair.cell for pair in averaged),
        label=averaged[0].one.name,
        kept=kept,
        peak=peak,
        falls=rate_of(fates.values()),
        falls_without=rate_of(without.values()),
        pairs=mcnemar(without, fates),
        stopped=sum(bool(run.stopped) for run in runs),
        shorter=sum(len(pair.shorter) for pair in every),
        runs=len(runs),
        runs_without=len(before),
        workflows=tuple(dict.fromkeys(run.workflow for run in measured)),
        sharings=tuple(dict.fromkeys(run.sharing for run in measured)),
        signatures=_signatures(runs, before),
    )


def _signatures(runs: Sequence[RunRecord], without: Sequence[RunRecord]) -> dict[str, tuple[int, int]]:
    """Signature -> the runs of either side that show it, wherever they do; the most frequent without it first."""
    shown, before = ([{one.partition(":")[0] for one in run.signatures} for run in own] for own in (runs, without))
    counts = {
        name: (sum(name in own for own in shown), sum(name in own for own in before))
        for name in sorted(set().union(*shown, *before))
    }
    return dict(sorted(counts.items(), key=lambda item: -item[1][1]))


def _compared(
    collected: Collected, pairs: Sequence[Pair], amount: Amount, margin: float, missing: Sequence[str]
) -> MethodComparison:
    """The mean over the cells of the difference of label and reference, as `mean_difference` has it."""
    every: list[Sequence[RunRecord]] = [runs for pair in pairs for runs in (pair.one.runs, pair.reference.runs)]
    found = matrices(collected, every, amount)
    sides = [
        Sides(one=side(pair.one, found[2 * place]), other=side(pair.reference, found[2 * place + 1]))
        for place, pair in enumerate(pairs)
    ]
    told = mean_difference(sides, margin, bound=1.0 if amount == "peak" else 2.0, missing=missing)
    left_out, tasks = found[0].left_out, len(found[0].tasks)
    if left_out <= LEFT_OUT * (left_out + tasks):
        return told
    many = f"{left_out} of {left_out + tasks} tasks were left out: a run has no outcome for them"
    return replace(told, warnings=(many,))


def mean_difference(
    sides: Sequence[Sides], margin: float, bound: float = 1.0, missing: Sequence[str] = ()
) -> MethodComparison:
    """The mean over cells of one side minus the other: cells weigh equally, and their seeds count as independent.

    The verdict is "cannot tell" with one seed or one task, or if `missing` says that too many runs of a side are: those
    of cells without a finished run are not among the sides, and count.
    """
    parts = [(weight / len(sides), values) for cell in sides for weight, values in cell.parts]
    counts = [values.shape[0] for _, values in parts]
    alone = over_tasks(parts)
    estimate = contrast(parts) if min(counts) > 1 and alone.n > 1 else None
    reasons = [] if min(counts) > 1 else ["one seed says nothing about the next"]
    reasons += [] if alone.n > 1 else ["one task says nothing about others"]
    reasons += missing
    return MethodComparison(
        one=sides[0].one.name,
        other=sides[0].other.name,
        estimate=estimate,
        tasks_alone=alone,
        paired=all(len(cell.parts) == 1 for cell in sides),
        seeds=(min(counts), min(counts)),
        tasks=alone.n,
        margin=margin,
        verdict="cannot tell" if estimate is None or reasons else verdict_of(estimate, alone, margin),
        reasons=tuple(reasons),
        warnings=(),
        bound=bound,
    )


def _missing(groups: Sequence[Group]) -> list[str]:
    """A line if more than 20 % of the runs of these groups, which are one label's, are missing."""
    planned, there = sum(group.planned for group in groups), sum(len(group.runs) for group in groups)
    if planned - there <= MISSING * planned:
        return []
    return [f"{planned - there} of {planned} runs of {groups[0].name} are missing"]


def _after_holm(found: Sequence[Prevention]) -> tuple[Prevention, ...]:
    """The same, with ends and peaks corrected together as one family."""
    family = [difference for one in found for difference in (one.kept, one.peak)]
    done = corrected(family, holm, "Holm")
    return tuple(replace(one, kept=done[2 * place], peak=done[2 * place + 1]) for place, one in enumerate(found))


def _fates(group: Group, steps: int = 0) -> Mapping[int, Fell | None]:
    """Seed -> the fate of its run; None for one that failed or was interrupted, and none for one that is to come.

    A run that was to train fewer than `steps` never counts as held, as it may have ended before its fall.
    """
    lost: dict[int, Fell | None] = {
        run.seed: None for run in group.missing if run.state in ("failed", "interrupted", "finished")
    }
    return {**lost, **{run.seed: _fate(run, steps) for run in group.runs}}


def _fate(run: RunRecord, steps: int) -> Fell:
    if run.fell == "held" and _steps_of(run) < steps:
        return "cannot tell"
    return run.fell or "cannot tell"


def _steps_of(run: RunRecord) -> int:
    """The steps that a finished run was to train; those that it did in files of versions that did not collect them."""
    return run.planned or run.steps


def _shared_name(cells: Sequence[str]) -> str:
    """The name of the cell if it is one; else what is the same in the names of all."""
    if len(set(cells)) == 1:
        return cells[0]
    parts = [cell.split("-") for cell in cells]
    return "-".join(part for part in parts[0] if all(part in other for other in parts))


def _warnings(
    blocks: Sequence[Block], by: str, reference: str, pairs: Sequence[Pair], pooled: Sequence[Prevention]
) -> Iterator[str]:
    if not blocks:
        yield f"{by} has one label, {reference}, with runs: there is nothing to compare it with"
    for block in blocks:
        yield from _unfinished(block, by, reference)
    for pair in pairs:
        yield from _shorter(pair)
    for one in pooled:
        yield from (
            f"{one.label}: {text}" for text in dict.fromkeys((*one.kept.found.warnings, *one.peak.found.warnings))
        )
        if one.stopped:
            yield (
                f"{one.label}: {one.stopped} of {one.runs} runs were stopped; what they kept is the accuracy of the"
                " weights that they ended with, after the roll-back if there was one, and none of them counts as held"
            )
    most = max((len(one.cells) for one in pooled), default=0)
    for one in pooled:
        if len(one.cells) < most:
            yield f"{one.label} is the mean over {len(one.cells)} of {most} cells: {', '.join(one.cells)}"


def _unfinished(block: Block, by: str, reference: str) -> Iterator[str]:
    """A line for everything that a cell lacks."""
    where = f"{block.name}: " if block.name else ""
    references = [group for group in block.groups if group.labels[by] == reference]
    if not any(group.runs for group in references):
        out = "left out of the means" if any(group.planned for group in references) else "left out"
        yield f"{where}{out}, as {reference} has no finished run there"
    for group in block.groups:
        if not group.runs:
            count = f": {group.planned} missing" if group.planned else ""
            yield f"{where}{group.name} has no finished run{count}"
        elif group.missing:
            yield f"{where}{group.name}: {len(group.runs)} of {len(group.runs) + len(group.missing)} runs finished"


def _shorter(pair: Pair) -> Iterator[str]:
    """That runs of a label were to train fewer steps than those of the reference, if some were."""
    if pair.shorter:
        where = f"{pair.cell}: " if pair.cell else ""
        count = f"{len(pair.shorter)} of {counted(len(pair.one.runs), 'run')}"
        steps = " or ".join(map(str, sorted({_steps_of(run) for run in pair.shorter})))
        yield (
            f"{where}{pair.one.name}: {count} trained {steps} steps, and {pair.reference.name} {pair.steps}: a fall"
            " after these was cut off and not prevented, and none of these runs counts as held"
        )
