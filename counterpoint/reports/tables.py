"""The numbers of a study's figures as tables for a paper: CSV, Markdown and LaTeX."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.study import figures_of
from counterpoint.reports.seen import Gathered
from counterpoint.reports.table import latex_table, markdown_table, markdown_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text below their heads."""

    title: str
    """The meaning of the numbers: their unit, seeds, tasks and intervals."""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def table_of(figure: Figure) -> Table:
    """The numbers of a figure, with its caption."""
    rows = figure.rows()
    return Table(
        title=figure.says,
        columns=rows.columns,
        rows=[["" if cell is None else str(cell) for cell in row] for row in rows.iter_rows()],
    )


def tables_of(gathered: Gathered) -> dict[str, Table]:
    """Name -> the numbers of every figure of a study."""
    return {one.name: table_of(one) for figures in figures_of(gathered).values() for one in figures}


def _csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([table.columns, *table.rows])
    return text.getvalue()


def _markdown(table: Table) -> str:
    return f"{markdown_table(table.columns, table.rows)}\n\n{markdown_text(table.title)}\n"


def _latex(table: Table) -> str:
    return latex_table(table.columns, table.rows, table.title) + "\n"


FORMATS: Mapping[str, Callable[[Table], str]] = {"csv": _csv, "md": _markdown, "tex": _latex}
"""Ending of a file -> how a table is written to it."""
