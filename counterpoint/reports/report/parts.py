"""The parts that a report is rendered from: sections, cells, tables, as its templates read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from counterpoint.reports.figure import Figure
from counterpoint.reports.report.numbers import RunRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A figure in its place."""

    figure: Figure
    static: Markup | None = None
    """Its picture; None where the script of the page draws it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page with a head, to which the contents link."""

    anchor: str
    title: str
    text: str = ""
    figures: Sequence[Shown] = ()
    template: str = ""
    """The template of what follows the figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A failure signature in runs of a cell."""

    signature: str
    where: str
    anchor: str
    """Unique in its cell."""
    seeds: str
    steps: str = ""
    evidence: Sequence[str] = ()
    meaning: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An episode of a cell: the view that `_episode.html` shows."""

    title: str
    view: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """The inside of a cell, as `_cell.html` reads it."""

    name: str
    anchor: str
    labels: Mapping[str, str]
    states: str
    rows: Sequence[RunRow]
    findings: Sequence[Evidence]
    figures: Sequence[Shown]
    examples: Sequence[Example]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell on the page."""

    name: str
    anchor: str
    words: str
    """The text in which a search looks."""
    course: Sequence[tuple[str, float]]
    fate: str
    states: str
    packed: str
    """Its inside, deflated in base 64; empty where it is not packed."""
    inside: Markup
    """Its inside; empty where it is packed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A cell and a signature: the number of runs that show it."""

    count: int
    anchor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureRow:
    """The signatures of a cell, one spot per column."""

    cell: str
    runs: int
    spots: Sequence[Spot]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureTable:
    """Cells by signatures."""

    columns: Sequence[str] = ()
    rows: Sequence[SignatureRow] = ()
    meanings: Sequence[tuple[str, str, str]] = ()
    """(signature, meaning, advice) of those that were found."""
    absent: Sequence[str] = ()
    """Signatures that no run shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the table of runs."""

    name: str
    is_number: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A file within the page."""

    kind: str
    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A table in several formats."""

    what: str
    parts: Sequence[Copy]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """The making of the runs."""

    commands: Sequence[str]
    notes: Sequence[str]
    cells: Sequence[tuple[str, str, str]]
    """(cell, digest of its recipe, fingerprint of its test tasks)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything on the page."""

    title: str
    about: str
    compared: str
    """The methods, tasks, models and steps, in a line."""
    findings: Sequence[str]
    limits: Sequence[str]
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    cells: Sequence[Cell]
    is_packed: bool
    signatures: SignatureTable
    rates: Sequence[str]
    """The falls that other studies recorded of the same workflows and sharings."""
    run_columns: Sequence[Column]
    runs: Sequence[Sequence[tuple[str, float | None]]]
    downloads: Sequence[Download]
    reproduction: Reproduction
    version: str
    made: str
    methods: Mapping[str, str]
    signature_thresholds: Sequence[tuple[str, str]]
