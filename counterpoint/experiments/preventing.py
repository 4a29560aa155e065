"""Compares every label of an axis with one of them: which prevents falls without costing the peak?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from counterpoint.analysis.comparison import LEFT_OUT, MARGIN, MISSING, MethodComparison, Side, paired_seeds, verdict_of
from counterpoint.analysis.contrast import Part, contrast, over_tasks
from counterpoint.analysis.falls import Fell, mcnemar, rate_of
from counterpoint.analysis.multiplicity import holm
from counterpoint.errors import ConfigError, unknown
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
    """The runs of one label and those of the reference, in one cell."""

    cell: str
    one: Group
    reference: Group


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
    family. Labels, cells and seeds without finished runs are left out, and named. Raises ConfigError for an axis or a
    label that no run has; RunError as `compare_runs` does.
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
    pooled = [one for pool in _pools(pairs).values() for one in _over(collected, pool, margin)]
    single = [one for pair in pairs for one in _over(collected, [pair], margin)] if len(blocks) > 1 else []
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
            if group.labels[by] == reference and group.runs
        },
        what=what_of([run for run in runs if has_outcomes(run)]),
        warnings=tuple(map(printable, _warnings(blocks, by, reference, pooled))),
    )


def _pairs(block: Block, by: str, reference: str) -> Iterator[Pair]:
    without = next((group for group in block.groups if group.labels[by] == reference and group.runs), None)
    for group in block.groups if without is not None else ():
        if group is not without and group.runs:
            assert without is not None
            yield Pair(cell=block.name, one=group, reference=without)


def _pools(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Fingerprint of the test tasks -> its pairs: only outcomes on the same tasks have one mean."""
    pools: dict[str, list[Pair]] = {}
    for pair in pairs:
        pools.setdefault(pair.reference.runs[0].tasks_sha256, []).append(pair)
    return pools


def _over(collected: Collected, pairs: Sequence[Pair], margin: float) -> Iterator[Prevention]:
    """Every label, over the cells among these pairs in which it has as many seeds as an interval needs."""
    where = _shared_name([pair.cell for pair in pairs])
    for label in dict.fromkeys(pair.one.name for pair in pairs):
        own = [pair for pair in pairs if pair.one.name == label]
        several = [pair for pair in own if min(len(pair.one.runs), len(pair.reference.runs)) > 1]
        yield _prevention(collected, several or own, where, margin)


def _prevention(collected: Collected, pairs: Sequence[Pair], where: str, margin: float) -> Prevention:
    kept, peak = (
        Difference(
            block=where, who=TEAM, amount=amount, found=_compared(collected, pairs, amount, margin), p_value=None
        )
        for amount in reversed(PRIMARY)
    )
    ones, references = [(pair.cell, pair.one) for pair in pairs], [(pair.cell, pair.reference) for pair in pairs]
    fates, without = (
        {(cell, seed): fell for cell, group in groups for seed, fell in _fates(group).items()}
        for groups in (ones, references)
    )
    runs, before = ([run for _, group in groups for run in group.runs] for groups in (ones, references))
    return Prevention(
        where=where,
        cells=tuple(pair.cell for pair in pairs),
        label=pairs[0].one.name,
        kept=kept,
        peak=peak,
        falls=rate_of(fates.values()),
        falls_without=rate_of(without.values()),
        pairs=mcnemar(without, fates),
        stopped=sum(bool(run.stopped) for run in runs),
        runs=len(runs),
        runs_without=len(before),
        workflows=tuple(dict.fromkeys(run.workflow for run in runs)),
        sharings=tuple(dict.fromkeys(run.sharing for run in runs)),
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


def _compared(collected: Collected, pairs: Sequence[Pair], amount: Amount, margin: float) -> MethodComparison:
    """The mean over the cells of the difference of label and reference."""
    every: list[Sequence[RunRecord]] = [runs for pair in pairs for runs in (pair.one.runs, pair.reference.runs)]
    found = matrices(collected, every, amount)
    sides = [
        Sides(one=side(pair.one, found[2 * place]), other=side(pair.reference, found[2 * place + 1]))
        for place, pair in enumerate(pairs)
    ]
    told = mean_difference(sides, margin, bound=1.0 if amount == "peak" else 2.0)
    left_out, tasks = found[0].left_out, len(found[0].tasks)
    if left_out <= LEFT_OUT * (left_out + tasks):
        return told
    many = f"{left_out} of {left_out + tasks} tasks were left out: a run has no outcome for them"
    return replace(told, warnings=(many,))


def mean_difference(sides: Sequence[Sides], margin: float, bound: float = 1.0) -> MethodComparison:
    """The mean over cells of one side minus the other: cells weigh equally, and their seeds count as independent.

    The verdict is "cannot tell" with one seed or one task, or if more than 20 % of the runs of a side are missing.
    """
    parts = [(weight / len(sides), values) for cell in sides for weight, values in cell.parts]
    counts = [values.shape[0] for _, values in parts]
    alone = over_tasks(parts)
    estimate = contrast(parts) if min(counts) > 1 and alone.n > 1 else None
    reasons = [] if min(counts) > 1 else ["one seed says nothing about the next"]
    reasons += [] if alone.n > 1 else ["one task says nothing about others"]
    reasons += _missing(sides)
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


def _missing(sides: Sequence[Sides]) -> list[str]:
    found = []
    for which in ("one", "other"):
        own: list[Side] = [getattr(cell, which) for cell in sides]
        planned, there = sum(max(one.planned, len(one.seeds)) for one in own), sum(len(one.seeds) for one in own)
        if planned - there > MISSING * planned:
            found.append(f"{planned - there} of {planned} runs of {own[0].name} are missing")
    return found


def _after_holm(found: Sequence[Prevention]) -> tuple[Prevention, ...]:
    """The same, with ends and peaks corrected together as one family."""
    family = [difference for one in found for difference in (one.kept, one.peak)]
    done = corrected(family, holm, "Holm")
    return tuple(replace(one, kept=done[2 * place], peak=done[2 * place + 1]) for place, one in enumerate(found))


def _fates(group: Group) -> Mapping[int, Fell | None]:
    """Seed -> the fate of its run; None for one that failed or was interrupted, and none for one that is to come."""
    lost: dict[int, Fell | None] = {
        run.seed: None for run in group.missing if run.state in ("failed", "interrupted", "finished")
    }
    return {**lost, **{run.seed: run.fell or "cannot tell" for run in group.runs}}


def _shared_name(cells: Sequence[str]) -> str:
    """The name of the cell if it is one; else what is the same in the names of all."""
    if len(set(cells)) == 1:
        return cells[0]
    parts = [cell.split("-") for cell in cells]
    return "-".join(part for part in parts[0] if all(part in other for other in parts))


def _warnings(blocks: Sequence[Block], by: str, reference: str, pooled: Sequence[Prevention]) -> Iterator[str]:
    if not blocks:
        yield f"{by} has one label, {reference}, with runs: there is nothing to compare it with"
    for block in blocks:
        where = f"{block.name}: " if block.name else ""
        if not any(group.labels[by] == reference and group.runs for group in block.groups):
            yield f"{where}left out, as {reference} has no finished run there"
        for group in block.groups:
            if not group.runs:
                yield f"{where}{group.name} has no finished run"
            elif group.missing:
                yield f"{where}{group.name}: {len(group.runs)} of {len(group.runs) + len(group.missing)} runs finished"
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
