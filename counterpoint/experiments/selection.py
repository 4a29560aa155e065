"""A part of a study, chosen by patterns and labels."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from counterpoint.errors import ConfigError, unknown
from counterpoint.experiments.cells import Cell, Study

CONTROL = "control"


def selected(study: Study, only: Sequence[str]) -> Study:
    """The cells that `only` chooses, and the evaluations for which all that they need is chosen.

    An item `axis=label` keeps the cells with that label, and the controls that serve them; several labels of one axis
    are alternatives, several axes must all hold; `control=NAME` keeps the runs of a control. Any other item is a
    pattern of names (`voting-*`, with or without the seed); patterns are alternatives. Raises ConfigError if an item
    matches nothing, or all of them together match nothing.
    """
    if not only:
        return study
    labels, patterns = _read(study, only)
    kept = [cell for cell in study.cells if _has(cell, labels) and _matches(cell, patterns)]
    if not kept:
        raise ConfigError(f"--only {' '.join(only)}: no cell of the study matches all of it")
    names = {cell.name for cell in kept}
    measures = tuple(one for one in study.measures if {one.cell, *one.needs} <= names)
    return replace(study, cells=tuple(kept), measures=measures)


def _read(study: Study, only: Sequence[str]) -> tuple[dict[str, set[str]], list[str]]:
    """Axis -> the labels asked for, and the patterns of names."""
    labels: dict[str, set[str]] = {}
    patterns = []
    for item in only:
        axis, equals, label = item.partition("=")
        if not equals:
            if not any(_matches(cell, [item]) for cell in study.cells):
                names = list(dict.fromkeys(cell.group for cell in study.cells))
                raise ConfigError(f"--only {item}: " + unknown("cell", item, names))
            patterns.append(item)
            continue
        known = _known(study)
        if axis not in known:
            raise ConfigError(f"--only {item}: " + unknown("axis", axis, known))
        if label not in known[axis]:
            raise ConfigError(f"--only {item}: " + unknown(f"label of axis {axis!r}", label, known[axis]))
        labels.setdefault(axis, set()).add(label)
    return labels, patterns


def _known(study: Study) -> dict[str, list[str]]:
    controls = list(dict.fromkeys(cell.control for cell in study.cells if cell.control))
    axes = {axis: list(labels) for axis, labels in study.axes.items()}
    return {**axes, **({CONTROL: controls} if controls else {})}


def _has(cell: Cell, wanted: Mapping[str, set[str]]) -> bool:
    """True if the cell has one of the wanted labels on each axis. A control that serves several labels has none."""
    given = {**cell.labels, CONTROL: cell.control}
    return all(axis not in given or given[axis] in labels for axis, labels in wanted.items())


def _matches(cell: Cell, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(name, one) for one in patterns for name in (cell.name, cell.group))
