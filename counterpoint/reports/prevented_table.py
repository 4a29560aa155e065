"""Labels against one of them as tables: what each did at the end, at the peak and to the number of falls."""

import csv
import io
from collections.abc import Iterator

from counterpoint.analysis.comparison import in_points
from counterpoint.experiments.prevented import COLUMNS, Prevented, Prevention, rows_of
from counterpoint.reports.compared_table import base_of
from counterpoint.reports.table import latex_table, markdown_table, markdown_text

_FIELDS = ("where", "label", "amount", "value", "low", "high", "seeds", "tasks", "p_value", "verdict")
_FALLS = ("fell", "told", "fell_without", "told_without", "p_falls", "stopped", "outcome")


def tables(found: Prevented) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """The title and the rows of each table: over the cells, then, if there are several, in each."""
    for which, over in ((found.pooled, " over the cells" if found.cells else ""), (found.cells, " in each cell")):
        if which:
            yield (
                f"{_title(found)}{over}, points: {_base(which)}; alike within {in_points(found.margin)}",
                rows_of(which),
            )


def columns(found: Prevented) -> tuple[str, ...]:
    """The heads of the columns."""
    return found.by, *COLUMNS[1:]


def markdown(found: Prevented) -> str:
    """The sentences, what was compared, the tables, then what a reader must know, as Markdown."""
    parts = ["\n".join(f"- {markdown_text(sentence)}" for sentence in found.sentences)]
    parts += [markdown_text(f"Compared: {found.what}")] if found.what else []
    for title, rows in tables(found):
        parts += [markdown_text(title), markdown_table(columns(found), rows)]
    parts += ["\n".join(f"- {markdown_text(warning)}" for warning in found.warnings)] if found.warnings else []
    return "\n\n".join(parts)


def latex(found: Prevented) -> str:
    """The tables as LaTeX; sentences and warnings are comments."""
    parts = ["\n".join(f"% {' '.join(line.split())}" for line in (*found.sentences, *found.warnings))]
    parts += [latex_table(columns(found), rows, title) for title, rows in tables(found)]
    return "\n\n".join(parts)


def comma_separated(found: Prevented) -> str:
    """A line per label, place and amount, as fractions: the label minus the reference."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*_FIELDS, *_FALLS))
    for one in (*found.pooled, *found.cells):
        for part in (one.peak, one.kept):
            value, low, high = part.found.shown
            seeds, tasks = min(part.found.seeds), part.found.tasks
            numbers = (part.amount, value, low, high, seeds, tasks, part.p_value, part.found.verdict)
            fell = (one.falls.fell, one.falls.told, one.falls_without.fell, one.falls_without.told)
            writer.writerow((one.where, one.label, *numbers, *fell, one.pairs.p_value, one.stopped, one.outcome))
    return text.getvalue().rstrip("\n")


def _title(found: Prevented) -> str:
    return f"each {found.by} minus {found.reference}"


def _base(which: tuple[Prevention, ...]) -> str:
    own = [part.found for one in which for part in (one.kept, one.peak)]
    return base_of([(min(one.seeds), one.tasks, one.over_seeds) for one in own])
