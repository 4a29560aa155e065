"""Runs as tables: base, peak, terminal, gain and drop on the test split, for the team and for each role."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

from counterpoint.analysis.intervals import Interval
from counterpoint.analysis.summary import Course, RoleCourse, Summary
from counterpoint.errors import RunError
from counterpoint.reports.base import names
from counterpoint.run import Run

COLUMNS = ("run", "who", "base", "peak (step)", "terminal", "gain", "drop")
BEHAVIOUR = ("run", "what", "base", "peak", "terminal")
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
_AMOUNTS = ("base", "peak", "terminal", "gain", "drop")
_ENTITIES = {"<": "&lt;", "&": "&amp;"}
_MARKUP = re.compile(r"[\\`*~$|<]|&(?=#?\w+;)|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])")
"""The characters that are markup wherever they stand, and those that are only beside certain others."""
_FIRST = re.compile(r"^(\d{0,9})(>|[-+#%.)](?=[ #]))")
"""The characters that make of a line a heading, an item of a list, a quote or a comment."""


class Markdown(str):
    """Text that is Markdown already."""


def markdown(runs: Sequence[Run]) -> str:
    """Two Markdown tables: accuracies in percent, and what the roles did. Raises RunError if a run has no summary."""
    return "\n\n".join(markdown_table(columns, rows) for columns, rows in _tables(runs))


def latex(runs: Sequence[Run]) -> str:
    """The content of `markdown` as tables of LaTeX. Raises RunError as `markdown` does."""
    return "\n\n".join(latex_table(columns, rows) for columns, rows in _tables(runs))


def comma_separated(runs: Sequence[Run]) -> str:
    """A line per run and role: accuracies as fractions, each with its interval. Raises RunError as `markdown` does."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = [f"{amount}{end}" for amount in _AMOUNTS for end in ("", "_low", "_high")]
    writer.writerow(["run", "path", "who", "peak_step", "tasks", *parts])
    for name, run in zip(names(runs), runs, strict=True):
        summary = _summary(run)
        for who, course in _courses(summary):
            amounts: list[Interval | None] = [getattr(course, amount) for amount in _AMOUNTS]
            ends = [end for one in amounts for end in (["", "", ""] if one is None else one[:3])]
            tasks = "" if course.base is None else course.base.n
            writer.writerow([name, run.path, who, summary.peak_step, tasks, *ends])
    return text.getvalue().rstrip("\n")


def _tables(runs: Sequence[Run]) -> list[tuple[Sequence[str], list[list[str]]]]:
    found = list(zip(names(runs), map(_summary, runs), strict=True))
    accuracy = [row for name, summary in found for row in _accuracy_rows(name, summary)]
    behaviour = [row for name, summary in found for row in _behaviour_rows(name, summary)]
    return [(COLUMNS, accuracy), (BEHAVIOUR, behaviour)]


def _summary(run: Run) -> Summary:
    summary = run.summary
    if summary is None:
        raise RunError(f"{run.path} has no summary: it has not ended, or ended without an evaluation of the test split")
    return summary


def _courses(summary: Summary) -> list[tuple[str, Course | RoleCourse]]:
    return [("team", summary.team), *summary.roles.items()]


def _accuracy_rows(name: str, summary: Summary) -> Iterator[list[str]]:
    for who, course in _courses(summary):
        peak = _percent(course.peak) + (f" ({summary.peak_step})" if who == "team" else "")
        changes = [_with_interval(course.gain), _with_interval(course.drop)]
        yield [name if who == "team" else "", who, _percent(course.base), peak, _percent(course.terminal), *changes]


def _behaviour_rows(name: str, summary: Summary) -> Iterator[list[str]]:
    """The behaviour of the roles, without metrics that are 0 throughout."""
    for place, (metric, stages) in enumerate(summary.behaviour.items()):
        if any(stages):
            what = metric.removeprefix("role/").replace("episode/oracle", "any answer right").replace("_", " ")
            yield [name if place == 0 else "", what.replace("/", ": "), *(_amount(metric, one) for one in stages)]


def _percent(interval: Interval | None) -> str:
    return "-" if interval is None else f"{100 * interval.value:.1f}"


def _with_interval(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{100 * interval.value:+.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _amount(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if metric.endswith(("/calls", "/tokens")) else f"{100 * value:.0f} %"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The rows as a Markdown table; text that would be markup, or end a cell, is text in it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(markdown_text, line))} |" for line in lines)


def markdown_text(text: str) -> Markdown:
    """The text in one line, in which nothing is markup; what is Markdown already stays as it is."""
    if isinstance(text, Markdown):
        return text
    line = _MARKUP.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), " ".join(text.split()))
    return Markdown(_FIRST.sub(r"\1\\\2", line))


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


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(latex_text, cells)) + r" \\"
