"""The numbers of what was compared as tables for a paper: CSV, Markdown and LaTeX."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from counterpoint.experiments.compared import Compared
from counterpoint.reports.compared_table import (
    ACCURACY,
    DIFFERENCE,
    accuracy_rows,
    comma_separated,
    difference_rows,
    titles,
)
from counterpoint.reports.figures.study import figures_of
from counterpoint.reports.seen import Gathered
from counterpoint.reports.table import markdown_table, markdown_text

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\N{MINUS SIGN}": "$-$",
    "…": r"\ldots{}",
    **{one: f"\\{one}" for one in "&%$#_{}"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text below their heads."""

    title: str
    """What the numbers are: their unit, seeds, tasks and intervals."""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def latex_text(text: str) -> str:
    """The text in one line, without characters that LaTeX would obey."""
    return "".join(_SPECIAL.get(one, one) for one in " ".join(text.split()))


def latex_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> str:
    """A tabular with the rules of booktabs, in a table with its caption if there is a title.

    Columns are left-aligned if their first cell begins with a letter, right-aligned otherwise.
    """
    body = [list(row) for row in rows]
    first = body[0] if body else list(columns)
    places = "".join("l" if place == 0 or cell[:1].isalpha() else "r" for place, cell in enumerate(first))
    lines = [f"\\begin{{tabular}}{{@{{}}{places}@{{}}}}", r"\toprule", _latex_row(columns), r"\midrule"]
    lines += [*map(_latex_row, body), r"\bottomrule", r"\end{tabular}"]
    if not title:
        return "\n".join(lines)
    head = ["% needs \\usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\caption{{{latex_text(title)}}}"]
    return "\n".join([*head, *lines, r"\end{table}"])


def latex(found: Compared) -> str:
    """What `markdown` of the compared runs has, as LaTeX: its sentences are comments."""
    parts = ["\n".join(f"% {' '.join(sentence.split())}" for sentence in (*found.sentences, *found.warnings))]
    parts += [latex_table(one.columns, one.rows, one.title) for one in compared_tables(found).values()]
    return "\n\n".join(part for part in parts if part)


def compared_tables(found: Compared) -> dict[str, Table]:
    """accuracies and differences, as `compare` prints them; none that is empty."""
    title = titles(found)
    made = {
        "accuracies": Table(title=title.accuracy, columns=ACCURACY, rows=list(accuracy_rows(found))),
        "differences": Table(title=title.difference, columns=DIFFERENCE, rows=list(difference_rows(found))),
    }
    return {name: table for name, table in made.items() if table.rows}


def tables_of(gathered: Gathered) -> dict[str, Table]:
    """Name -> the numbers of every figure of a study."""
    return {
        figure.name: Table(
            title=figure.says,
            columns=figure.rows().columns,
            rows=[["" if cell is None else str(cell) for cell in row] for row in figure.rows().iter_rows()],
        )
        for figures in figures_of(gathered).values()
        for figure in figures
    }


def _csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([table.columns, *table.rows])
    return text.getvalue()


def _markdown(table: Table) -> str:
    return f"{markdown_table(table.columns, table.rows)}\n\n{markdown_text(table.title)}\n"


def _latex(table: Table) -> str:
    return latex_table(table.columns, table.rows, table.title) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(latex_text, cells)) + r" \\"


FORMATS: Mapping[str, Callable[[Table], str]] = {"csv": _csv, "md": _markdown, "tex": _latex}
"""Ending of a file -> how a table is written to it."""
WRITERS: Mapping[str, Callable[[Compared], str]] = {"csv": comma_separated, "latex": latex}
