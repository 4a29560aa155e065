"""Collected runs as groups that differ in one thing, in blocks in which everything else is equal."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from counterpoint.errors import ConfigError, RunError, unknown
from counterpoint.experiments.collected import RunRecord
from counterpoint.experiments.matrices import check_same_tasks, has_outcomes

_ABSENT = "-"
_BASELINES = ("shared", "base", "none")
"""Labels that others are compared with: they come first among the groups."""
_LONGEST_NAME = 40
_NOT_YET = ("absent", "debris", "running")
"""States of runs that are missing because their time has not come, and not for what became of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The runs of one method: they differ in their seed."""

    name: str
    labels: dict[str, str]
    """Axis -> label, for the axes in which the compared runs differ."""
    runs: tuple[RunRecord, ...]
    """Those that finished and have outcomes, by seed."""
    missing: tuple[RunRecord, ...]
    """Those that did not."""

    @property
    def planned(self) -> int:
        """The seeds with a run that finished, failed or was interrupted."""
        lost = (run.seed for run in self.missing if run.state not in _NOT_YET)
        return len({*(run.seed for run in self.runs), *lost})

    @property
    def workflow(self) -> str:
        """The workflow of its runs; empty if it is not one."""
        workflows = {run.workflow for run in self.runs}
        return workflows.pop() if len(workflows) == 1 else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Groups with the same test tasks, to be compared with one another."""

    name: str
    """The labels that its groups share and other blocks do not; empty if there is one block."""
    labels: dict[str, str]
    groups: tuple[Group, ...]
    """Each is compared with those before it."""


def printable(text: str) -> str:
    """The text in one line, without characters that a terminal obeys or that turn its direction."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def grouped(runs: Sequence[RunRecord], by: str = "") -> tuple[str, list[Block]]:
    """The axis that is compared, and the blocks. Controls that a study trained are not among the runs.

    The axis is `by`, that of the runs' study, or the only one in which the runs differ. If they differ in several, and
    nothing names one, it is empty, and every combination is a group of one block. Raises ConfigError if the runs do not
    differ in `by`; RunError if groups of a block have different test tasks, or a group has two runs with one seed.
    """
    axes = _axes(runs)
    by = by or _axis_of_the_study(runs, axes)
    if not by and len(axes) == 1:
        by = axes[0]
    if by and by not in axes:
        raise ConfigError(_no_axis(runs, by, axes))
    rest = [axis for axis in axes if by and axis != by]
    blocks: dict[tuple[str, ...], list[RunRecord]] = {}
    for run in runs:
        blocks.setdefault(_labels(run, rest), []).append(run)
    return by, [_block(own, rest, labels, [by] if by else axes) for labels, own in blocks.items()]


def against(runs: Sequence[RunRecord], others: Collection[str]) -> list[Block]:
    """One block of two groups: the runs whose names are in `others`, and the rest, which is compared with them.

    Raises RunError if a side has no run, or as `grouped` does.
    """
    sides = [[run for run in runs if (run.run in others) == is_other] for is_other in (True, False)]
    axes = _axes(runs)
    names = [_side_name(own, other, axes) for own, other in (sides, sides[::-1])]
    if names[0] == names[1]:
        names = [
            f"the {len(side)} runs {words}" for side, words in zip(sides, ("of --against", "before it"), strict=True)
        ]
    groups = [
        _group(side, name, {axis: "/".join(dict.fromkeys(_label(run, axis) for run in side)) for axis in axes})
        for side, name in zip(sides, names, strict=True)
    ]
    return [_checked(Block(name="", labels={}, groups=tuple(groups)))]


def controls_of(runs: Sequence[RunRecord]) -> list[Block]:
    """A block of one group for every control that a study trained, and for every combination of its labels."""
    axes = _axes(runs)
    members: dict[tuple[str, ...], list[RunRecord]] = {}
    for run in runs:
        members.setdefault((run.control, *_labels(run, axes)), []).append(run)
    return [
        Block(name="control", labels={}, groups=(_group(own, "-".join(key), dict(zip(axes, key[1:], strict=True))),))
        for key, own in members.items()
    ]


def differing(one: Group, other: Group) -> list[str]:
    """The axes in which two groups differ."""
    return [axis for axis in {**one.labels, **other.labels} if one.labels.get(axis) != other.labels.get(axis)]


def _axes(runs: Sequence[RunRecord]) -> list[str]:
    axes = dict.fromkeys(axis for run in runs for axis in run.labels)
    return [axis for axis in axes if len({_label(run, axis) for run in runs}) > 1]


def _axis_of_the_study(runs: Sequence[RunRecord], axes: Sequence[str]) -> str:
    """The axis that the study of all these runs compares, if they differ in it."""
    compare = {run.compare for run in runs}
    return compare.pop() if len(compare) == 1 and compare <= {*axes} else ""


def _no_axis(runs: Sequence[RunRecord], by: str, axes: Sequence[str]) -> str:
    same = {run.labels[by] for run in runs if by in run.labels}
    if same:
        return f"--by {by}: all runs have {by} = {same.pop()}; they differ in: {', '.join(axes) or 'their seeds alone'}"
    if not axes:
        return f"--by {by}: the runs differ in their seeds alone"
    return unknown("axis of --by", by, axes)


def _block(runs: Sequence[RunRecord], rest: Sequence[str], labels: tuple[str, ...], own: Sequence[str]) -> Block:
    members: dict[tuple[str, ...], list[RunRecord]] = {}
    for run in runs:
        members.setdefault(_labels(run, own), []).append(run)
    ordered = sorted(members, key=lambda key: not any(label in _BASELINES for label in key))
    groups = [_group(members[key], "-".join(key), dict(zip(own, key, strict=True))) for key in ordered]
    return _checked(Block(name="-".join(labels), labels=dict(zip(rest, labels, strict=True)), groups=tuple(groups)))


def _group(runs: Sequence[RunRecord], name: str, labels: dict[str, str]) -> Group:
    name = printable(name or (runs[0].run if len(runs) == 1 else "the method"))
    finished = sorted((run for run in runs if has_outcomes(run)), key=lambda run: run.seed)
    seeds = {run.seed for run in finished}
    missing = [run for run in runs if not has_outcomes(run) and run.seed not in seeds]
    return Group(name=name, labels=labels, runs=tuple(finished), missing=tuple(missing))


def _checked(block: Block) -> Block:
    if not any(group.runs for group in block.groups) and not block.name:
        states = ", ".join(f"{run.run} ({run.state})" for group in block.groups for run in group.missing)
        raise RunError(f"nothing can be compared: no run is finished and evaluated after its base: {states}")
    check_same_tasks([run for group in block.groups for run in group.runs])
    for group in block.groups:
        seeds = [run.seed for run in group.runs]
        twice = [run.run for run in group.runs if seeds.count(run.seed) > 1]
        if twice:
            same = len({run.config_sha256 for run in group.runs}) == 1
            raise RunError(
                f"{' and '.join(twice[:2])} have the same seed and the same {'recipe' if same else 'labels'}: "
                + (
                    "runs of one method differ in their seed; leave one out"
                    if same
                    else "their recipes differ in what no label says; compare them with --against"
                )
            )
    return block


def _side_name(own: Sequence[RunRecord], other: Sequence[RunRecord], axes: Sequence[str]) -> str:
    """The labels that all runs of a side have and none of the other; else its folder, or its only run."""
    if not own:
        raise RunError("nothing can be compared: one side of --against has no run")
    found = []
    for axis in axes:
        labels, others = {_label(run, axis) for run in own}, {_label(run, axis) for run in other}
        if len(labels) == 1 and not labels & others:
            found.append(labels.pop())
    folders = {Path(run.path).parent.name for run in own}
    if not found and len(folders) == 1 and folders != {Path(run.path).parent.name for run in other}:
        return folders.pop()
    return "-".join(found) or (own[0].run if len(own) == 1 and len(own[0].run) <= _LONGEST_NAME else "")


def _labels(run: RunRecord, axes: Sequence[str]) -> tuple[str, ...]:
    return tuple(_label(run, axis) for axis in axes)


def _label(run: RunRecord, axis: str) -> str:
    return printable(run.labels.get(axis, _ABSENT))
