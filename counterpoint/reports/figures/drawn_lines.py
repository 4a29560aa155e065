"""A figure of lines, from the numbers of seeds and steps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.lines import Lines, ends, lines
from counterpoint.reports.figures.recorded import Recorded, binned_in_words, listed, over_seeds, spans_in_words

if TYPE_CHECKING:
    import polars as pl

FEW = 16
"""Lines of at most so many values have a dot for each."""
_WIDE = 20.0
"""Values that are so many times as large as others need a logarithmic axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The words of a figure of lines, and its axis."""

    name: str
    title: str
    says: str
    """A sentence that defines the number."""
    axis: str
    form: str = ""
    """The format of the axis, of d3; empty for its own choice."""
    words: str = "{:.3g}"
    """The format of the numbers of the caption."""
    least: float | None = None
    most: float | None = None
    zero: bool = False
    may_be_logarithmic: bool = False


def drawn(recorded: Recorded, found: "pl.DataFrame", subject: Subject) -> Figure | None:
    """The lines of `found` (seed, step, who, value); None without a value."""
    if found.is_empty():
        return None
    rows = over_seeds(found)
    several = found["seed"].n_unique() > 1
    shown = recorded.ordered(rows["who"].unique().to_list())
    of = Lines(
        names=tuple(dict.fromkeys([*recorded.names, *shown])),
        shown=tuple(shown),
        title=subject.axis,
        form=subject.form,
        least=subject.least,
        most=subject.most,
        zero=subject.zero,
        logarithmic=subject.may_be_logarithmic and _is_wide(rows),
        banded=several,
        dotted=rows["step"].n_unique() <= FEW,
    )
    rows = rows if several else rows.drop("low", "high")
    return Figure(
        name=recorded.name(subject.name),
        title=subject.title,
        says=f"{subject.says} {_at_the_ends(rows, shown, subject)} {spans_in_words(recorded.cell)}"
        f"{binned_in_words(found)}",
        spec=lines(of),
        data={"rows": rows, "ends": ends(rows, of)},
    )


def _is_wide(rows: "pl.DataFrame") -> bool:
    least, most = rows["low"].min(), rows["high"].max()
    assert isinstance(least, float)
    assert isinstance(most, float)
    return 0.0 < least and most / least > _WIDE


def _at_the_ends(rows: "pl.DataFrame", shown: list[str], subject: Subject) -> str:
    """The first and the last value of each line."""
    told = {}
    for who in shown:
        own = rows.filter(who=who)
        first, last = (subject.words.format(own["value"][place]) for place in (0, -1))
        told[who] = first if len(own) == 1 else f"{first} → {last}"
    first, last = rows["step"].min(), rows["step"].max()
    return f"{f'At step {first}' if first == last else f'From step {first} to {last}'}: {listed(told)}."
