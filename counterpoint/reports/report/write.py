"""The report of what was gathered, written to a file."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.cell import figures_of_cell
from counterpoint.reports.figures.study import figures_of
from counterpoint.reports.report.chosen import chosen_examples
from counterpoint.reports.report.numbers import run_rows
from counterpoint.reports.report.page import Content, write_page
from counterpoint.reports.report.parts import Download
from counterpoint.reports.report.runs import copy_of, runs_csv
from counterpoint.reports.seen import CellSeen, Gathered
from counterpoint.reports.story import cannot_show, sentences
from counterpoint.reports.tables import FORMATS, tables_of


def write_report(
    gathered: Gathered,
    out: Path,
    *,
    places: Sequence[Path] = (),
    title: str = "",
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """`out` holds the report, whole or not at all; an existing file is replaced.

    `places` are the paths that it was gathered from, for the command that makes it again. `tell` is called with a line
    about what is being done.
    """
    tell("drawing the figures of the study")
    roles = gathered.roles
    tell("choosing episodes")
    examples = chosen_examples(gathered.cells)
    content = Content(
        findings=sentences(gathered),
        limits=[*cannot_show(gathered), *examples.missing],
        figures=figures_of(gathered),
        cell_figures=lambda cell: figures_of_cell(cell, roles),
        examples=lambda cell: examples.by_cell.get(cell.name, []),
        downloads=downloads(gathered),
    )
    write_page(gathered, content, out, places=places, title=title, tell=tell)


def downloads(gathered: Gathered) -> list[Download]:
    """The numbers of every run, and of every figure of the study, as files within the page."""
    runs = Download(what="all runs", parts=[copy_of("runs.csv", runs_csv(run_rows(gathered)))])
    tables = [
        Download(what=name, parts=[copy_of(f"{name}.{ending}", write(table)) for ending, write in FORMATS.items()])
        for name, table in tables_of(gathered).items()
    ]
    return [runs, *tables]


def cell_pictures(gathered: Gathered) -> list[Figure]:
    """The figures of all cells, each with the number of its cell in its name where there are several."""
    roles = gathered.roles

    def named(cell: CellSeen, place: int) -> list[Figure]:
        prefix = "" if len(gathered.cells) == 1 else f"cell-{place}-"
        return [replace(one, name=f"{prefix}{one.name}") for one in figures_of_cell(cell, roles)]

    return [one for place, cell in enumerate(gathered.cells, start=1) for one in named(cell, place)]
