"""The page: everything that was gathered, in the order in which a reader asks for it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from markupsafe import Markup

from counterpoint.experiments.evidence import counts_like
from counterpoint.files import write_whole
from counterpoint.reports.assets import inlined
from counterpoint.reports.figure import Figure
from counterpoint.reports.markup import Specs, render
from counterpoint.reports.report.cells import cell_of
from counterpoint.reports.report.methods import of_signatures, thresholds
from counterpoint.reports.report.numbers import accuracies, run_rows
from counterpoint.reports.report.parts import Cell, Download, Example, Report, Section, Shown
from counterpoint.reports.report.reproduce import reproduction
from counterpoint.reports.report.runs import columns, table_row
from counterpoint.reports.report.signatures import signature_table
from counterpoint.reports.seen import CellSeen, Gathered
from counterpoint.reports.static import HALF, WIDE, static_svg
from counterpoint.reports.story import facts

STYLES = ("episode.css", "report.css")
SCRIPTS = ("report.js",)
STUDY = (
    ("map", "Map"),
    ("differences", "Differences"),
    ("factors", "Factors"),
    ("falls", "Falls"),
)
"""Key of the figures of a study -> the title of their section, before the cells."""
MAIN = ("map", "differences")
"""Figures that are in the page as pictures too, whatever their size: the result can be read without a script."""
FEW = 24
"""Cells up to which all figures of the study are in the page as pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The parts of the page that other modules make."""

    findings: Sequence[str] = ()
    limits: Sequence[str] = ()
    figures: Mapping[str, Sequence[Figure]] = field(default_factory=dict)
    """Key -> figures of the study."""
    cell_figures: Callable[[CellSeen], Sequence[Figure]] = lambda cell: ()
    examples: Callable[[CellSeen], Sequence[Example]] = lambda cell: ()
    downloads: Sequence[Download] = ()


def write_page(
    gathered: Gathered,
    content: Content,
    out: Path,
    *,
    places: Sequence[Path] = (),
    title: str = "",
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """`out` holds the page, whole or not at all. `tell` is called with a line about what is being done."""
    write_whole(out, page(gathered, content, places=places, out=out, title=title, tell=tell))


def page(
    gathered: Gathered,
    content: Content,
    *,
    places: Sequence[Path] = (),
    out: Path = Path("report.html"),
    title: str = "",
    tell: Callable[[str], None] = lambda text: None,
) -> str:
    """The text of the page."""
    specs = Specs()
    rows = run_rows(gathered)
    anchors = [f"cell-{place}" for place in range(1, len(gathered.cells) + 1)]
    named = list(zip(anchors, gathered.cells, strict=True))
    cells = list(_cells(named, gathered, content, specs, tell))
    tell("writing the page")
    told = facts(gathered)
    compared, amount = told.pop("compared", ""), told.pop("runs", "")
    many = f"; {amount}" if len(rows) > 1 else ""
    report = Report(
        title=title or gathered.title,
        about=gathered.about,
        compared=f"Trained: {compared}{many}." if compared else "",
        findings=content.findings,
        limits=content.limits,
        facts=list(told.items()),
        sections=list(_sections(gathered, content)),
        cells=cells,
        is_packed=any(cell.packed for cell in cells),
        signatures=signature_table(named),
        rates=counts_like([run.record for cell in gathered.cells for run in cell.runs]),
        run_columns=columns(rows),
        runs=[table_row(row, columns(rows)) for row in rows],
        downloads=content.downloads,
        reproduction=reproduction(gathered, places, out),
        version=version("counterpoint"),
        made=f"{datetime.now(UTC):%d %B %Y, %H:%M} UTC",
        methods=thresholds(),
        signature_thresholds=of_signatures(),
    )
    return render("report.html", report=report, specs=specs, assets=inlined(STYLES, SCRIPTS))


def _cells(
    named: Sequence[tuple[str, CellSeen]],
    gathered: Gathered,
    content: Content,
    specs: Specs,
    tell: Callable[[str], None],
) -> Iterator[Cell]:
    found = accuracies(gathered)
    is_packed = len(named) > 1
    for place, (anchor, cell) in enumerate(named, start=1):
        tell(f"cell {place} of {len(named)}: {cell.name}")
        figures = [_renamed(figure, anchor) for figure in content.cell_figures(cell)]
        shown = [Shown(figure=one, static=None if is_packed else _picture(one, HALF)) for one in figures]
        yield cell_of(cell, anchor, shown, content.examples(cell), found, specs, is_packed=is_packed)


def _picture(figure: Figure, width: int = WIDE) -> Markup | None:
    """The figure as SVG; None if it cannot be drawn, which the script of the page then says in its place."""
    try:
        return static_svg(figure, width)
    except ValueError:  # of the program that draws
        return None


def _renamed(figure: Figure, anchor: str) -> Figure:
    return replace(figure, name=f"{anchor}-{figure.name}")


def _sections(gathered: Gathered, content: Content) -> Iterator[Section]:
    """The sections of the page; those of a comparison only where there is one."""
    is_small = len(gathered.cells) <= FEW

    def shown(key: str) -> list[Shown]:
        is_static = is_small or key in MAIN
        return [Shown(figure=one, static=_picture(one) if is_static else None) for one in content.figures.get(key, ())]

    for key, title in STUDY:
        if figures := shown(key):
            yield Section(anchor=key, title=title, figures=figures)
    is_one_run = sum(len(cell.runs) for cell in gathered.cells) == 1
    yield Section(anchor="cells", title="The run" if is_one_run else "Cells", template="_cells.html")
    if figures := shown("before_falls"):
        yield Section(anchor="before-falls", title="What came first", figures=figures)
    yield Section(anchor="signatures", title="Failure signatures", template="_signatures.html")
    if figures := shown("taught"):
        yield Section(anchor="taught", title="What training taught", figures=figures)
    if figures := shown("controls"):
        yield Section(anchor="controls", title="Controls", figures=figures)
    yield Section(anchor="runs", title="All runs", template="_runs.html")
    yield Section(anchor="methods", title="Methods", template="_methods.html")
    yield Section(anchor="reproduce", title="How to reproduce", template="_reproduce.html")
