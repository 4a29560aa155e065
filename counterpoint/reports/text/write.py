"""The page as Markdown, with its figures as SVG and their numbers as CSV in a folder beside it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

from counterpoint.errors import counted
from counterpoint.experiments.groups import printable
from counterpoint.experiments.preventing import BY as INTERVENTION
from counterpoint.experiments.results import COLLECTED
from counterpoint.reports.drawing import svg
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.study import figures_of
from counterpoint.reports.front import TEXT_MARK
from counterpoint.reports.seen import Gathered
from counterpoint.reports.story import cannot_show, facts
from counterpoint.reports.table import Markdown, markdown_table, markdown_text
from counterpoint.reports.tables import FORMATS, Table
from counterpoint.reports.text.captured import capture
from counterpoint.reports.text.cells import accuracies, confounded, cost, missing
from counterpoint.reports.text.claims import Claims, Judged
from counterpoint.reports.text.failures import failures
from counterpoint.reports.text.falling import falling
from counterpoint.reports.text.first import came_first
from counterpoint.reports.text.further import fell_first, mended, taught
from counterpoint.reports.text.higher import higher
from counterpoint.reports.text.jointly import jointly
from counterpoint.reports.text.single_agents import single_agents
from counterpoint.reports.text.statement import Part, Rows, Statement

FIGURES = "figures"
FEWEST_SEEDS = 3
"""Seeds of a cell from which on a test of it errs about as often as it says (`docs/statistics.md`)."""
_DIGITS = 6
"""Significant digits of the numbers of a figure: more differ between machines."""
_OWN = re.compile(r' id="(([a-z_-]+)[0-9]+)"')
_HOW_TO_READ = (
    "Every answer begins with **yes**, **no**, **cannot tell** or **not run yet**. Yes and no hold after Holm's"
    " correction for all comparisons of their family, at 5 % together; no also stands for a difference that is within"
    " the margin, with the interval that the correction asks for. *Cannot tell* is not *no difference*: the numbers say"
    " how large a difference would have been seen, and how many seeds would probably decide. *Not run yet* names what"
    " is missing.",
    "Seeds are the unit: intervals are 95 % intervals over seeds and test tasks, unless a line says otherwise. With one"
    " seed there is no interval over seeds. A fall is an event of a run, so falls are counted, and pairs of runs with"
    " the same seed are compared. Points are percentage points of accuracy. The words are in the glossary, the formulas"
    " in the statistics of the documentation.",
)


def parts_of(gathered: Gathered, claims: Claims | None = None) -> list[Part]:
    """Every question with its answers, in the order of the page: interventions come first where they are compared."""
    prevented = mended(gathered)
    asked = gathered.compared is not None and gathered.compared.by == INTERVENTION
    return [
        *([prevented] if asked else []),
        higher(gathered, "peak"),
        higher(gathered, "kept"),
        falling(gathered),
        came_first(gathered),
        fell_first(gathered),
        capture(gathered),
        failures(gathered),
        jointly(gathered),
        single_agents(gathered),
        taught(gathered),
        *([] if asked else [prevented]),
        *([make(gathered) for make in claims.parts] if claims else []),
    ]


def write_page(gathered: Gathered, out: Path, *, command: str, claims: Claims | None = None) -> list[Path]:
    """The files that were written: the page, and its figures as SVG and CSV in `figures/` beside it.

    Equal runs give equal bytes, except that figures may differ between versions of the program that draws them, which
    each of them names. Figures of an older page that this one does not have are removed.
    """
    tables = [accuracies(gathered), cost(gathered), missing(gathered)]
    questions = parts_of(gathered, claims)
    folder = out.parent / FIGURES
    out.parent.mkdir(parents=True, exist_ok=True)
    figures = {one.name: one for own in figures_of(gathered).values() for one in own}
    shown = [figures[name] for part in (*questions, *tables) for name in part.figures if name in figures]
    written = list(_write_figures(shown, folder))
    others = sorted({*folder.glob("*.svg"), *folder.glob("*.csv")} - {*written})
    for stale in [one for one in others if _is_ours(one)]:
        stale.unlink()
    out.write_text("\n\n".join(_page(gathered, questions, tables, figures, claims, command)) + "\n", encoding="utf-8")
    return [out, *written]


def _page(
    gathered: Gathered,
    questions: Sequence[Part],
    tables: Sequence[Part],
    figures: Mapping[str, Figure],
    claims: Claims | None,
    command: str,
) -> Iterator[str]:
    yield f"# {_text(gathered.title)}: what was found"
    yield f"{TEXT_MARK} wrote this page; changes to it are lost. -->"
    yield "This page was written from collected files alone. This command, where they are, writes it again:"
    fence = "`" * max([3, *(len(row) + 1 for row in re.findall("`+", command))])
    yield f"{fence}bash\n{command}\n{fence}"
    yield from _listing([f"{name}: {text}" for name, text in facts(gathered).items()])
    yield from _warned(gathered)
    yield "## In short"
    yield from _listing([_in_short(part) for part in questions])
    if claims is not None:
        yield from _judged(gathered, claims)
    yield "## How to read this page"
    yield from _HOW_TO_READ
    for part in (*questions, *tables):
        yield from _part(part, figures)
    yield "## What these runs cannot say"
    yield from _listing(
        [*cannot_show(gathered, directories=False), *confounded(gathered), *(claims.limits if claims else ())]
    )


def _warned(gathered: Gathered) -> Iterator[str]:
    """A warning where cells have so few seeds that tests of single cells err more often than they say."""
    counts = [len(cell.finished) for cell in gathered.cells if not cell.control and cell.finished]
    if counts and min(counts) < FEWEST_SEEDS:
        yield (
            f"**Some cells have fewer than {FEWEST_SEEDS} seeds.** One seed gives no interval over seeds. With two, a"
            " test of a single cell at 5 % says in up to 12 % of simulated studies that methods differ which do not: an"
            " answer about a single cell is then a hint; those over several cells err in less than 5 %."
        )


def _in_short(part: Part) -> str:
    answer = part.answer
    if answer is None:
        return f"{part.title} {part.statements[0].text}" if part.statements else part.title
    return Markdown(f"{_text(part.title)} {_answered(answer)}")


def _answered(one: Statement) -> str:
    """The statement, behind its verdict if it has one."""
    return Markdown(f"**{one.verdict}**: {_text(one.text)}") if one.verdict else one.text


def _judged(gathered: Gathered, claims: Claims) -> Iterator[str]:
    yield f"## Agreement with {claims.name}"
    yield claims.about
    judged: list[tuple[str, Judged]] = [(one.says, one.judge(gathered)) for one in claims.claims]
    rows = [(says, Markdown(f"**{found.judgement}**"), found.because) for says, found in judged]
    yield markdown_table(("the study says", "these runs", "because"), rows)


def _part(part: Part, figures: Mapping[str, Figure]) -> Iterator[str]:
    yield f"## {_text(part.title)}"
    yield from _listing([_answered(one) for one in part.statements])
    for figure in (figures[name] for name in part.figures if name in figures):
        yield f"![{_text(figure.title)}]({FIGURES}/{figure.name}.svg)"
        yield f"*{_text(figure.title)}.* {_text(figure.says)} [The numbers]({FIGURES}/{figure.name}.csv)."
    for table in part.tables:
        yield _table(table)


def _table(table: Rows) -> str:
    return f"{markdown_table(table.columns, table.rows)}\n\n{_text(table.about)}."


def _listing(lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield "\n".join(f"- {_text(line)}" for line in lines)


def _text(text: str) -> Markdown:
    return text if isinstance(text, Markdown) else markdown_text(printable(text))


def _write_figures(figures: Sequence[Figure], folder: Path) -> Iterator[Path]:
    if figures:
        folder.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        for ending, text in (("svg", drawn(figure)), ("csv", numbers(figure))):
            file = folder / f"{figure.name}.{ending}"
            file.write_text(text, encoding="utf-8")
            yield file


def drawn(figure: Figure) -> str:
    """The figure as SVG with coordinates of two decimals, which differ between machines beyond, and its program."""
    picture = _renumbered(re.sub(r"(-?[0-9]+\.[0-9]{2})[0-9]+", r"\1", svg(figure)))
    return f"{picture.rstrip()}\n<!-- vl-convert {version('vl-convert-python')} -->\n"


def _renumbered(picture: str) -> str:
    """The picture with its own names counted from 0: the program counts on from one picture to the next."""
    names = {name: f"{kind}{place}" for place, (name, kind) in enumerate(dict.fromkeys(_OWN.findall(picture)))}
    return re.sub("|".join(rf"\b{name}\b" for name in names) or "(?!)", lambda found: names[found[0]], picture)


def numbers(figure: Figure) -> str:
    """The numbers of a figure, as CSV."""
    rows = figure.rows()
    cells = [[_number(cell) for cell in row] for row in rows.iter_rows()]
    return FORMATS["csv"](Table(title=figure.says, columns=rows.columns, rows=cells))


def _number(cell: Any) -> str:
    if cell is None or (isinstance(cell, float) and not isfinite(cell)):
        return ""
    return f"{cell:.{_DIGITS}g}" if isinstance(cell, float) else printable(str(cell))


def _is_ours(file: Path) -> bool:
    """True for a drawing of ours, and for the numbers beside it."""
    drawing = file.with_suffix(".svg")
    return drawing.exists() and "<!-- vl-convert " in drawing.read_text(encoding="utf-8", errors="replace")


def title_of(gathered: Gathered, places: Sequence[Path]) -> str:
    """The name of the study or, of one folder of collected files, that of the folder; else how many runs there are."""
    if len(places) != 1 or gathered.title not in (counted(len(gathered.collected.runs), "run"), "1 run"):
        return gathered.title
    place = places[0].resolve()
    return place.parent.name if place.name == COLLECTED else place.name
