"""The cells of a report: what is seen of each before it is opened, and its inside."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from counterpoint.reports.assets import packed_text
from counterpoint.reports.markup import Specs, render
from counterpoint.reports.report.numbers import Accuracy, RunRow, course, fate, states
from counterpoint.reports.report.parts import Cell, Example, Inside, Shown
from counterpoint.reports.report.signatures import evidence_of
from counterpoint.reports.seen import CellSeen


def cell_of(
    cell: CellSeen,
    anchor: str,
    figures: Sequence[Shown],
    examples: Sequence[Example],
    found: Mapping[str, Accuracy],
    specs: Specs,
    *,
    is_packed: bool,
) -> Cell:
    """The cell on the page; its inside is packed or, of the only cell, stands open."""
    records = [run.record for run in cell.runs]
    inside = Inside(
        name=cell.name,
        anchor=anchor,
        labels=cell.labels,
        states=states(records),
        rows=[RunRow(record=one, cell=cell.name, accuracy=found.get(one.run, {})) for one in records],
        findings=evidence_of(cell),
        figures=figures,
        examples=examples,
    )
    text = render("_cell.html", cell=inside, specs=specs)
    return Cell(
        name=cell.name,
        anchor=anchor,
        words=" ".join([cell.name, *cell.labels.values(), cell.control, inside.states, fate(cell)]),
        course=course(cell, found),
        fate=fate(cell),
        states=inside.states,
        packed=packed_text(text) if is_packed else "",
        inside=Markup("") if is_packed else Markup(text),
    )
