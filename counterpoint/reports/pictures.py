"""The kinds of pictures of runs, and how one is saved."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from counterpoint.errors import RunError
from counterpoint.reports.drawing import pdf, png, svg
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.amplification import amplification, persistence
from counterpoint.reports.figures.agreement import agreement
from counterpoint.reports.figures.cell import recorded_of
from counterpoint.reports.figures.changes import first_answers, transitions
from counterpoint.reports.figures.cosines import cosines
from counterpoint.reports.figures.curves import curves
from counterpoint.reports.figures.gradients import gradients
from counterpoint.reports.figures.lengths import lengths
from counterpoint.reports.figures.overlaid import overlaid
from counterpoint.reports.figures.parallel import against_calls
from counterpoint.reports.figures.recorded import Recorded
from counterpoint.reports.figures.role_lines import distance, entropy, role_accuracies, signal
from counterpoint.reports.figures.sheet import Column, sheet
from counterpoint.reports.gather import gather
from counterpoint.reports.looks import Theme
from counterpoint.reports.seen import Gathered



def course(found: Gathered) -> list[Column]:
    """Of one cell: accuracy of team and roles, and gradients, side by side. Of several: accuracies, a line per cell."""
    if len(found.cells) > 1:
        figures = [[figure] for figure in overlaid(found.cells, found.roles)]
    else:
        recorded = recorded_of(found.cells[0], found.roles)
        figures = [[curves(recorded)], [role_accuracies(recorded)], [*gradients(recorded)]]
    return [Column(title="", figures=own) for own in figures if any(own)]


def dynamics(found: Gathered) -> list[Column]:
    """A column per cell: gradients of roles or policies, their directions, and accuracies of roles."""
    return _columns(found, _gradients, cosines, persistence, amplification, role_accuracies)


def behaviour(found: Gathered) -> list[Column]:
    """A column per cell: lengths, entropy, distance from the base, and calls with signal."""
    return _columns(found, lengths, entropy, distance, signal)


def changes(found: Gathered) -> list[Column]:
    """A column per cell: what became of right and wrong, and what the team makes of parallel answers."""
    return _columns(found, curves, transitions, first_answers, agreement)


def amplification_by_calls(found: Gathered) -> list[Column]:
    """A column per role with parallel calls: its amplification against their number, over all cells."""
    return [Column(title="", figures=[figure]) for figure in against_calls(found.cells, found.roles)]


PICTURES: Mapping[str, Callable[[Gathered], list[Column]]] = {
    "course": course,
    "dynamics": dynamics,
    "behaviour": behaviour,
    "changes": changes,
    "amplification": amplification_by_calls,
}


def save_picture(paths: Sequence[Path], kind: str, out: Path, theme: Theme = "light") -> None:
    """`out` holds the picture, in the format that its extension names.

    Runs that differ in their seed alone are one column or one line. Raises RunError if a run has no training step yet,
    or none recorded what this kind of picture shows.
    """
    found = gather(paths)
    for run in (run for cell in found.cells for run in cell.runs):
        if not run.record.steps:
            raise RunError(f"{run.record.path} has no training step yet: there is nothing to draw")
    picture = sheet(PICTURES[kind](found), name=kind, title=found.title)
    if out.suffix == ".svg":
        out.write_text(svg(picture, theme), encoding="utf-8")
    else:
        out.write_bytes((pdf if out.suffix == ".pdf" else png)(picture, theme))


def _gradients(recorded: Recorded) -> Figure | None:
    return next(iter(gradients(recorded)), None)


def _columns(found: Gathered, *draw: Callable[[Recorded], Figure | None]) -> list[Column]:
    """The figures of each cell below each other; those that no cell has are left out."""
    drawn = [[one(recorded_of(cell, found.roles)) for one in draw] for cell in found.cells]
    kept = [row for row in range(len(draw)) if any(own[row] for own in drawn)]
    titles = [cell.name for cell in found.cells]
    return [Column(title=title, figures=[own[row] for row in kept]) for title, own in zip(titles, drawn, strict=True)]
