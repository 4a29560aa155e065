"""Compared runs as tables: accuracies of every group, and the differences between them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from counterpoint.analysis.comparison import Level, in_points
from counterpoint.experiments.compared import Compared, Difference, GroupLevel, shown_accuracy
from counterpoint.reports.table import latex_table, markdown_table, markdown_text

ACCURACY = ("", "", "base", "peak", "terminal")
DIFFERENCE = ("", "at the peak", "at the end, over the base")


class Title(NamedTuple):
    """The titles of the two tables: the unit, and what the intervals are over."""

    accuracy: str
    difference: str


def accuracy_base(found: Compared) -> str:
    """The numbers of seeds and tasks of the accuracies, and what their intervals are over."""
    levels = [level for one in (*found.levels, *found.controls) for level in (one.base, one.peak, one.terminal)]
    return base_of([(one.seeds, one.tasks_alone.n, one.over_seeds) for one in levels])


def difference_base(found: Compared) -> str:
    """The numbers of seeds and tasks of the differences that are shown, and what their intervals are over."""
    own = [one.found for one in differences_shown(found)]
    return base_of([(min(one.seeds), one.tasks, one.over_seeds) for one in own])


def titles(found: Compared) -> Title:
    """The titles, which name the number of seeds and of tasks."""
    pairs = {_minus(one) for one in found.team}
    what = f"{pairs.pop()}, points" if len(pairs) == 1 else "differences of the team, points"
    within = f"alike within {in_points(found.margin)}"
    return Title(
        accuracy=f"accuracy, %: {accuracy_base(found)}", difference=f"{what}: {difference_base(found)}; {within}"
    )


def accuracy_rows(found: Compared) -> Iterator[tuple[str, ...]]:
    """A row per part and group; with several blocks, of the controls alone."""
    for part in dict.fromkeys(one.who for one in found.levels) if len(found.blocks) == 1 else ():
        for place, one in enumerate(one for one in found.levels if one.who == part):
            yield _level_row(part if place == 0 else "", one)
    for one in found.controls:
        yield _level_row("control", one)


def differences_shown(found: Compared) -> Sequence[Difference]:
    """The differences of the team and, with one pair of groups, of the roles."""
    pairs = {(one.block, _minus(one)) for one in found.team}
    return found.team if len(pairs) > 1 else found.differences


def difference_rows(found: Compared) -> Iterator[tuple[str, ...]]:
    """A row per difference, with its verdict: of the team and, with one pair of groups, of the roles."""
    rows: dict[tuple[str, str, str], dict[str, Difference]] = {}
    for one in differences_shown(found):
        rows.setdefault((one.block, one.who, _minus(one)), {})[one.amount] = one
    varies = [len(set(column)) > 1 for column in zip(*rows, strict=True)]
    for row, amounts in rows.items():
        named = [part for part, is_shown in zip(row, varies, strict=True) if is_shown] or [row[1]]
        cells = ["-" if one is None else f"{text(one)} {verdict_of(one)}" for one in map(amounts.get, ("peak", "kept"))]
        yield ", ".join(named), *cells


def markdown(found: Compared) -> str:
    """The sentences, what was compared, then the tables, then what a reader must know, as Markdown."""
    title = titles(found)
    parts = ["\n".join(f"- {markdown_text(sentence)}" for sentence in found.sentences)]
    parts += [markdown_text(f"Compared: {found.what}")] if found.what else []
    if rows := list(accuracy_rows(found)):
        parts += [title.accuracy, markdown_table(ACCURACY, rows)]
    if found.team:
        parts += [markdown_text(title.difference), markdown_table(DIFFERENCE, difference_rows(found))]
    parts += ["\n".join(f"- {markdown_text(warning)}" for warning in found.warnings)] if found.warnings else []
    return "\n\n".join(parts)


def latex(found: Compared) -> str:
    """The content of `markdown` as LaTeX: sentences and warnings are comments."""
    title = titles(found)
    parts = ["\n".join(f"% {' '.join(line.split())}" for line in (*found.sentences, *found.warnings))]
    if rows := list(accuracy_rows(found)):
        parts.append(latex_table(ACCURACY, rows, title.accuracy))
    if found.team:
        parts.append(latex_table(DIFFERENCE, list(difference_rows(found)), title.difference))
    return "\n\n".join(part for part in parts if part)


def comma_separated(found: Compared) -> str:
    """A line per accuracy and per difference, as fractions; a difference is that of `group` minus `other`."""
    import polars as pl

    accuracies = found.accuracies()
    differences = found.frame().rename({"one": "group"})
    both = pl.concat([accuracies, differences], how="diagonal")
    order = ["block", "who", "amount", "group", "other", "value", "low", "high", "over_seeds", "seeds", "tasks"]
    return both.select(*order, "p_value", "verdict").write_csv().rstrip("\n")


def text(one: Difference) -> str:
    """`+4.1 [0.6, 7.6]`, in points."""
    value, low, high = (100 * part for part in one.found.shown)
    return f"{value:+z.1f} [{low:z.1f}, {high:z.1f}]"


def base_of(of: Sequence[tuple[int, int, bool]]) -> str:
    """The numbers of seeds and tasks of intervals, and what these are over, from (seeds, tasks, over seeds too)."""
    seeds, tasks = _range([one[0] for one in of]), _range([one[1] for one in of])
    over = {one[2] for one in of}
    words = "seeds and tasks" if True in over else "tasks alone"
    also = ", over tasks alone where there is one seed or no spread" if len(over) > 1 else ""
    counts = f"{seeds} seed{'' if seeds == '1' else 's'}, {tasks} test task{'' if tasks == '1' else 's'}"
    return f"{counts}, 95 % intervals over {words}{also}"


def _level_row(part: str, one: GroupLevel) -> tuple[str, ...]:
    return part, one.group, *(_percent(level) for level in (one.base, one.peak, one.terminal))


def verdict_of(one: Difference) -> str:
    """The verdict on the first of the two: ahead, behind, alike or cannot tell."""
    if one.found.verdict != "ahead":
        return one.found.verdict
    return "ahead" if one.found.shown[0] > 0 else "behind"


def _minus(one: Difference) -> str:
    return f"{one.found.one} - {one.found.other}"


def _percent(found: Level) -> str:
    value, low, high = (100 * part for part in shown_accuracy(found))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _range(numbers: list[int]) -> str:
    if not numbers:
        return "0"
    return f"{min(numbers)}" if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"
