"""The cells of a study by their labels: main effects, interactions, and the share of each in the differences.

An effect is a weighted sum of cells, so its interval is that of `contrast`. It is made of the contexts (the other
labels) in which its cells exist, and a level against the rest is compared with those that exist there: nothing is
assumed about the cells that a study leaves out.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from counterpoint.analysis.comparison import Side, paired_seeds
from counterpoint.analysis.contrast import CONFIDENCE, Estimate, Outcomes, Part, contrast, terms, weighted_sum
from counterpoint.analysis.power import components, seeds_together
from counterpoint.errors import RunError


@dataclass(frozen=True, slots=True, kw_only=True)
class CellOutcomes:
    """The runs of one cell of a study: they differ in their seed."""

    labels: Mapping[str, str]
    seeds: tuple[int, ...]
    values: Outcomes
    """[seeds, tasks], in the order of `seeds`."""
    tasks: str = ""
    """The set of tasks, such as a fingerprint: cells with an equal one have the same tasks in the same order."""

    @property
    def name(self) -> str:
        """Its labels, in the order of the axes."""
        return "-".join(self.labels.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A level of an axis against others: its mean minus theirs."""

    axis: str
    to: str
    against: tuple[str, ...]

    def weights(self) -> dict[str, float]:
        """Level -> its weight."""
        return {self.to: 1.0, **{level: -1.0 / len(self.against) for level in self.against}}

    @property
    def others(self) -> str:
        """The level that it is compared with, or the rest."""
        return self.against[0] if len(self.against) == 1 else "the rest"

    def __str__(self) -> str:
        return f"{self.axis}: {self.to} - {self.others}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A main effect (one change) or an interaction (the difference that one change makes to another)."""

    changes: tuple[Change, ...]
    estimate: Estimate | None
    """None if no context has all cells of the effect, with two seeds at least."""
    contexts: tuple[str, ...]
    """The labels of the other axes over which it is averaged, with equal weights."""
    left_out: tuple[str, ...] = ()
    """The contexts in which a cell of the effect does not exist or has fewer than two seeds."""

    def __str__(self) -> str:
        return " by ".join(str(change) for change in self.changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The share of a factor, or of two together, in the differences between the means of cells."""

    axes: tuple[str, ...]
    omega_squared: float
    """Between 0 and 1; descriptive."""
    freedom: int
    """Degrees of freedom: 0 if the cells that exist cannot tell it from the other factors."""


@dataclass(slots=True)
class _Sums:
    """Weights of cells that go into one estimate."""

    cells: list[CellOutcomes] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)


def axes_of(cells: Sequence[CellOutcomes]) -> dict[str, tuple[str, ...]]:
    """Axis -> its labels in order of appearance, of the axes in which cells differ.

    Raises RunError if cells have different axes, or two have the same labels.
    """
    seen: set[tuple[str, ...]] = set()
    for cell in cells:
        if list(cell.labels) != list(cells[0].labels):
            raise RunError(
                f"cells with different axes cannot be averaged: {', '.join(cells[0].labels)} and "
                f"{', '.join(cell.labels)}"
            )
        if (labels := tuple(cell.labels.values())) in seen:
            raise RunError(f"two cells have the labels {cell.name}: an axis in which they differ is missing")
        seen.add(labels)
    found = {
        axis: tuple(dict.fromkeys(cell.labels[axis] for cell in cells)) for axis in (cells[0].labels if cells else ())
    }
    return {axis: levels for axis, levels in found.items() if len(levels) > 1}


def changes_of(axis: str, levels: Sequence[str]) -> list[Change]:
    """The second of two levels against the first; of several, each against the rest."""
    if len(levels) == 2:
        return [Change(axis=axis, to=levels[1], against=(levels[0],))]
    return [Change(axis=axis, to=level, against=tuple(other for other in levels if other != level)) for level in levels]


def effects(
    cells: Sequence[CellOutcomes],
    compare: str,
    axes: Mapping[str, Sequence[str]] | None = None,
    confidence: float = CONFIDENCE,
) -> list[Effect]:
    """Every main effect, and the interaction of `compare` with every other axis.

    Runs of cells that differ in `compare` alone are paired by seed. `axes` gives the order of the levels, by default
    that of the cells; the second of two levels is compared with the first. Raises RunError as `axes_of` does.
    """
    found = axes_of(cells)
    ordered = {
        axis: tuple(dict.fromkeys([*(label for label in (axes or {}).get(axis, ()) if label in levels), *levels]))
        for axis, levels in found.items()
    }
    changes = {axis: changes_of(axis, levels) for axis, levels in ordered.items()}
    main = [(change,) for axis in changes for change in changes[axis]]
    pairs = [
        (own, other)
        for own in changes.get(compare, ())
        for axis in changes
        if axis != compare
        for other in changes[axis]
    ]
    return [effect(cells, each, paired=compare, confidence=confidence) for each in [*main, *pairs]]


def effect(
    cells: Sequence[CellOutcomes],
    changes: Sequence[Change],
    *,
    paired: str = "",
    where: Mapping[str, str] | None = None,
    confidence: float = CONFIDENCE,
) -> Effect:
    """One change is a main effect, two are an interaction; with `where`, in the cells with these labels alone.

    For each context, the sum over its cells of the product of the changes' weights; then the mean over contexts. Runs
    of cells that differ in the axis `paired` alone are paired by seed. Raises RunError for an axis or a label that no
    cell has.
    """
    complete, names = _complete(cells, changes, where or {})
    estimate = None
    if complete:
        estimate = weigh(*_averaged(complete), paired=paired, confidence=confidence)
    return Effect(changes=tuple(changes), estimate=estimate, contexts=tuple(names[True]), left_out=tuple(names[False]))


def seeds_for(
    cells: Sequence[CellOutcomes],
    changes: Sequence[Change],
    size: float,
    *,
    paired: str = "",
    where: Mapping[str, str] | None = None,
    confidence: float = CONFIDENCE,
) -> int | None:
    """The seeds per cell that find the `effect` of these arguments, if it has this size, in 80 % of studies.

    None if no number of seeds is enough with these tasks, or if it is unknown: cells have different numbers of seeds,
    or one has fewer than two. Raises as `effect` does, and ValueError for a size of 0.
    """
    complete, _ = _complete(cells, changes, where or {})
    if not complete:
        return None
    try:
        sets = [(components(parts), parts[0][1].shape[1]) for parts in _families(*_averaged(complete), paired)]
    except ValueError:
        return None
    return seeds_together(sets, size, confidence)


def _complete(
    cells: Sequence[CellOutcomes], changes: Sequence[Change], where: Mapping[str, str]
) -> tuple[list[_Sums], dict[bool, list[str]]]:
    """The contexts with all cells of an effect, and the names of those that have them (True) or not (False)."""
    inside = [cell for cell in cells if all(cell.labels.get(axis) == label for axis, label in where.items())]
    _check_labels(cells, [*((change.axis, level) for change in changes for level in change.weights())])
    _check_labels(cells, list(where.items()))
    complete: list[_Sums] = []
    names: dict[bool, list[str]] = {True: [], False: []}
    for context, found in _contexts(inside, [change.axis for change in changes]).items():
        sums = _weighed(found, changes)
        whole = sums is not None and all(len(cell.seeds) > 1 for cell in sums.cells)
        names[whole].append("-".join(context))
        if sums is not None and whole:
            complete.append(sums)
    return complete, names


def _averaged(complete: Sequence[_Sums]) -> tuple[list[CellOutcomes], list[float]]:
    """The cells of all contexts with their weights, each context counting alike."""
    together = [cell for sums in complete for cell in sums.cells]
    return together, [weight / len(complete) for sums in complete for weight in sums.weights]


def by_context(
    cells: Sequence[CellOutcomes], change: Change, *, confidence: float = CONFIDENCE
) -> dict[tuple[str, ...], Estimate]:
    """Context, as its labels -> the effect of a change there, its runs paired by seed.

    A context without all cells of the effect, of two seeds at least, is absent. With `change` on the axis that a study
    compares, it is the difference of every pair of cells.
    """
    found = {}
    for context, inside in _contexts(cells, [change.axis]).items():
        sums = _weighed(inside, [change])
        if sums is not None and all(len(cell.seeds) > 1 for cell in sums.cells):
            found[context] = weigh(sums.cells, sums.weights, paired=change.axis, confidence=confidence)
    return found


def weigh(
    cells: Sequence[CellOutcomes], weights: Sequence[float], *, paired: str = "", confidence: float = CONFIDENCE
) -> Estimate:
    """The weighted sum of the means of cells, of two seeds at least.

    Cells with the same tasks are one `contrast`; sets of tasks are independent, and add up. Within a contrast, cells
    that differ in the axis `paired` alone are one part, summed seed by seed, if their seeds are equal (or nearly, as
    `compare_methods` has it); all others are parts of their own.
    """
    found = [contrast(parts, confidence) for parts in _families(cells, weights, paired)]
    return found[0] if len(found) == 1 else weighted_sum(found, confidence=confidence)


def _families(cells: Sequence[CellOutcomes], weights: Sequence[float], paired: str) -> list[list[Part]]:
    """The parts of the contrast of each set of tasks."""
    families: dict[str, dict[tuple[str, ...], _Sums]] = {}
    for cell, weight in zip(cells, weights, strict=True):
        key = tuple(label for axis, label in cell.labels.items() if axis != paired)
        sums = families.setdefault(cell.tasks, {}).setdefault(key, _Sums())
        sums.cells.append(cell)
        sums.weights.append(weight)
    return [[part for sums in blocks.values() for part in _block(sums)] for blocks in families.values()]


def shares(cells: Sequence[CellOutcomes]) -> list[Share]:
    """Omega squared of every factor and of every two together, of the means of cells.

    (SS_f - df_f V) / (SS_total + V), at least 0, with SS_f what the factor explains beyond all others that do not
    contain it (in a balanced design: of itself), and V the mean variance of a cell's mean: between seeds and, as the
    tasks are the same, of tasks with cells. Cells without a run are left out. Raises RunError as `axes_of` does, or if
    no cell has two seeds.
    """
    cells = [cell for cell in cells if cell.values.size]
    axes = axes_of(cells)
    means = np.array([cell.values.mean() for cell in cells])
    columns: dict[tuple[str, ...], NDArray[np.float64]] = {
        (axis,): _coded(cells, axis, levels) for axis, levels in axes.items()
    }
    for one, other in combinations(axes, 2):
        columns[one, other] = _products(columns[one,], columns[other,])
    total = float(np.square(means - means.mean()).sum()) if len(means) else 0.0
    noise = _variance_of_means(cells)
    found = []
    for term in columns:
        rest = [columns[other] for other in columns if not set(term) <= set(other)]
        without, with_it = _fit(means, rest), _fit(means, [*rest, columns[term]])
        freedom = with_it[1] - without[1]
        explained = without[0] - with_it[0] - freedom * noise if freedom else 0.0
        share = max(0.0, explained / (total + noise)) if total + noise > 0 else 0.0
        found.append(Share(axes=term, omega_squared=min(share, 1.0), freedom=freedom))
    return found


def _check_labels(cells: Iterable[CellOutcomes], wanted: Sequence[tuple[str, str]]) -> None:
    there = {item for cell in cells for item in cell.labels.items()}
    for axis, label in wanted:
        if (axis, label) not in there:
            labels = sorted(known for of, known in there if of == axis)
            raise RunError(f"no cell has {axis} = {label}; known: {', '.join(labels) or 'no label of this axis'}")


def _contexts(cells: Iterable[CellOutcomes], axes: Sequence[str]) -> dict[tuple[str, ...], list[CellOutcomes]]:
    """The cells by their labels on the other axes."""
    found: dict[tuple[str, ...], list[CellOutcomes]] = {}
    for cell in cells:
        rest = tuple(label for axis, label in cell.labels.items() if axis not in axes)
        found.setdefault(rest, []).append(cell)
    return found


def _weighed(cells: Sequence[CellOutcomes], changes: Sequence[Change]) -> _Sums | None:
    """The cells of one context with their weights; None if one of them does not exist.

    Of several levels that one is compared with, those count that exist in the context, with every level of the other
    change.
    """
    by_labels = {tuple(cell.labels[change.axis] for change in changes): cell for cell in cells}
    inside = [_narrowed(index, changes, set(by_labels)) for index in range(len(changes))]
    sums = _Sums()
    for corner in product(*(change.weights().items() for change in inside)):
        cell = by_labels.get(tuple(level for level, _ in corner))
        if cell is None:
            return None
        sums.cells.append(cell)
        sums.weights.append(float(np.prod([weight for _, weight in corner])))
    return sums


def _narrowed(index: int, changes: Sequence[Change], there: Collection[tuple[str, ...]]) -> Change:
    """A change against those of its levels that exist; unchanged if none does."""
    change = changes[index]
    levels = [tuple(one.weights()) for one in changes]
    against = tuple(
        level
        for level in change.against
        if all(corner in there for corner in product(*levels[:index], (level,), *levels[index + 1 :]))
    )
    return replace(change, against=against or change.against)


def _block(sums: _Sums) -> Iterator[Part]:
    """One part, summed seed by seed, of cells with equal seeds; otherwise one part each."""
    first = sums.cells[0]
    seeds = list(first.seeds)
    for cell in sums.cells[1:]:
        both = paired_seeds(_side(first), _side(cell))
        seeds = [seed for seed in seeds if seed in both]
    if len(seeds) < 2:
        yield from ((weight, cell.values) for cell, weight in zip(sums.cells, sums.weights, strict=True))
        return
    rows = [cell.values[[cell.seeds.index(seed) for seed in seeds]] for cell in sums.cells]
    yield 1.0, np.sum([weight * values for weight, values in zip(sums.weights, rows, strict=True)], axis=0)


def _side(cell: CellOutcomes) -> Side:
    return Side(name=cell.name, seeds=cell.seeds, values=cell.values)


def _coded(cells: Sequence[CellOutcomes], axis: str, levels: Sequence[str]) -> NDArray[np.float64]:
    """[cells, levels - 1]: 1 for the level, -1 for the last one."""
    last = [float(cell.labels[axis] == levels[-1]) for cell in cells]
    return np.array(
        [
            [float(cell.labels[axis] == level) - end for level in levels[:-1]]
            for cell, end in zip(cells, last, strict=True)
        ]
    )


def _products(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """[cells, a × b]: every column of one times every column of the other."""
    return (one[:, :, None] * other[:, None, :]).reshape(len(one), -1)


def _fit(means: NDArray[np.float64], columns: Sequence[NDArray[np.float64]]) -> tuple[float, int]:
    """The sum of squares that remains, and the rank, of a least-squares fit with a constant."""
    design = np.hstack([np.ones((len(means), 1)), *columns])
    solution, _, rank, _ = np.linalg.lstsq(design, means, rcond=None)
    return float(np.square(means - design @ solution).sum()), int(rank)


def _variance_of_means(cells: Sequence[CellOutcomes]) -> float:
    """The mean variance of a cell's mean: between seeds, and of tasks with cells within each set of tasks."""
    several = [terms([(1.0, cell.values)]) for cell in cells if min(cell.values.shape) > 1]
    if not several:
        raise RunError("no cell has two seeds and two tasks: nothing is known about the spread of runs")
    of_seeds = float(np.mean([found.seeds[0] for found in several]))
    noise = float(np.mean([found.noise[0] for found in several]))
    families: dict[str, list[NDArray[np.float64]]] = {}
    for cell in cells:
        families.setdefault(cell.tasks, []).append(cell.values.mean(axis=0))
    crossed = [_interaction(np.array(means)) for means in families.values() if len(means) > 1]
    return of_seeds + max(float(np.mean(crossed)) - noise, 0.0) if crossed else of_seeds


def _interaction(means: NDArray[np.float64]) -> float:
    """The mean square of cells with tasks in [cells, tasks], divided by the number of tasks."""
    count, tasks = means.shape
    if tasks < 2:
        return 0.0
    rest = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    return float(np.square(rest).sum() / ((count - 1) * (tasks - 1)) / tasks)
