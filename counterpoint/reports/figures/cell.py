"""The figures of a cell; one run is a cell of one."""

from collections.abc import Callable, Sequence
from itertools import chain

from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.agreement import agreement
from counterpoint.reports.figures.amplification import amplification, persistence
from counterpoint.reports.figures.changes import first_answers, transitions
from counterpoint.reports.figures.cosines import cosines
from counterpoint.reports.figures.curves import curves
from counterpoint.reports.figures.gradients import gradients
from counterpoint.reports.figures.lengths import lengths
from counterpoint.reports.figures.recorded import Recorded
from counterpoint.reports.figures.role_lines import distance, entropy, role_accuracies, signal
from counterpoint.reports.seen import CellSeen

_AFTER: Sequence[Callable[[Recorded], Figure | None]] = (
    cosines,
    amplification,
    persistence,
    lengths,
    entropy,
    distance,
    signal,
    transitions,
    first_answers,
    agreement,
)


def figures_of_cell(cell: CellSeen, roles: Sequence[str]) -> list[Figure]:
    """What the runs of the cell recorded, in the order in which one reads it; empty if they recorded nothing yet.

    `roles` are those of all cells of the page in one order: a role has the same colour in each.
    """
    recorded = recorded_of(cell, roles)
    first = [curves(recorded), role_accuracies(recorded)]
    found = chain(first, gradients(recorded), (draw(recorded) for draw in _AFTER))
    return [figure for figure in found if figure is not None]


def recorded_of(cell: CellSeen, roles: Sequence[str]) -> Recorded:
    """The numbers of a cell, with its own roles after those of the page."""
    own = [role for run in cell.runs for role in run.roles]
    return Recorded(cell=cell, roles=tuple(dict.fromkeys([*roles, *own])))
