"""Tables and lines about a run, as the command line prints them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from counterpoint.analysis.intervals import Interval
from counterpoint.analysis.recorded import RecordedControl
from counterpoint.analysis.summary import Course, RoleCourse, Summary
from counterpoint.analysis.verdict import control_sentences
from counterpoint.errors import counted
from counterpoint.files import command
from counterpoint.progress import percent
from counterpoint.task import RIGHT_FROM

if TYPE_CHECKING:
    from counterpoint.analysis.taught import Lesson


def print_outcome(console: Console, outcome: Summary) -> None:
    """The summary in numbers and words: base, peak and terminal accuracy on the test split, for the team and each role.

    As many columns beside each other as the console has room for, the others below. A dash stands for the gain of a run
    whose peak is its base, for the drop of one that had no peak to fall from, and for a role without a claim.
    """
    courses: list[tuple[str, Course | RoleCourse]] = [("team", outcome.team), *outcome.roles.items()]
    title = f"accuracy on {counted(outcome.team.base.n, 'test task')}, %, with 95 % intervals"
    for size in range(len(courses), 0, -1):
        parts = [dict(courses[place : place + size]) for place in range(0, len(courses), size)]
        tables = [_courses_table(outcome, part, None if place else title) for place, part in enumerate(parts)]
        if size == 1 or all(_natural_width(console, table) <= console.width for table in tables):
            for table in tables:
                console.print(table)
            break
    for role, course in outcome.roles.items():
        there = {name: getattr(course, name) for name in ("base", "peak", "terminal")}
        counts = {name: 0 if part is None else part.n for name, part in there.items()}
        if any(count < getattr(outcome.team, name).n for name, count in counts.items()):
            told = ", ".join(f"{name} {count}" for name, count in counts.items())
            console.print(f"{role}: on the tasks on which it was called and judged: {told}", markup=False)
    for sentence in outcome.verdict:
        console.print(sentence, markup=False, soft_wrap=True)


def print_summary_controls(console: Console, outcome: Summary, run: Path) -> None:
    """The controls that the calls of the last evaluation contain, and how to get the others."""
    if outcome.controls and outcome.last is not None:
        what = f"{outcome.last.n} test tasks at step {outcome.terminal_steps[-1]}"
        print_controls(console, what, outcome.last, outcome.tokens or 0.0, outcome.controls)
        rest = f"each role alone, and a majority vote at the team's tokens: {command('evaluate', run, '--solo')}"
        console.print(rest, markup=False, soft_wrap=True)


def print_controls(
    console: Console, what: str, team: Interval, tokens: float, controls: Sequence[RecordedControl]
) -> None:
    """The team beside the answers that some of its calls give by themselves, and in words; nothing without controls.

    `what` names the tasks: `256 test tasks`.
    """
    if not controls:
        return
    console.print(f"the team and parts of it on {what}, %; tokens per episode", markup=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "accuracy", "team minus this", "tokens"):
        table.add_column(column, justify="left" if column == "" else "right", no_wrap=column != "")
    table.add_row("team", with_interval(team), "", f"{tokens:.0f}")
    for control in controls:
        difference = with_interval(control.difference, "+")
        table.add_row(control.name, with_interval(control.accuracy), difference, f"{control.tokens:.0f}")
    console.print(table)
    for sentence in control_sentences(controls):
        console.print(sentence, markup=False, soft_wrap=True)


def _natural_width(console: Console, table: Table) -> int:
    return console.measure(table, options=console.options.update(max_width=10_000)).maximum


def _courses_table(outcome: Summary, courses: Mapping[str, Course | RoleCourse], title: str | None) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", *courses):
        table.add_column(column, justify="left" if column == "" else "right", no_wrap=True)
    rows = {
        "base": "base",
        "peak": f"peak (step {outcome.peak_step})",
        "terminal": "terminal",
        "gain": "gain",
        "drop": "drop",
    }
    fell_from_the_base = outcome.peak_step == 0 and outcome.drop.low > 0.0
    last = outcome.peak_step in (0, outcome.terminal_steps[-1])
    absent = {"gain": outcome.peak_step == 0, "drop": last and not fell_from_the_base}
    for name, label in rows.items():
        sign = "+" if name in absent else ""
        found = [None if absent.get(name) else getattr(course, name) for course in courses.values()]
        table.add_row(label, *("-" if one is None else with_interval(one, sign) for one in found))
    return table


def print_behaviour(console: Console, outcome: Summary) -> None:
    """Print the behaviour at base, peak and end, one row per number that is not zero everywhere."""
    table = Table(title="behaviour on the test tasks", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "base", "peak", "terminal"):
        table.add_column(column, justify="left" if column == "" else "right", no_wrap=True)
    for name, stages in outcome.behaviour.items():
        if any(stages):
            table.add_row(_plainly(name), *(_amount(name, value) for value in stages))
    console.print(table)


def partial_rewards(outcomes: Mapping[str, Sequence[float]]) -> str | None:
    """A line about rewards between 0 and 1, whose mean is not the fraction of right answers; None if there are none."""
    rewards = [reward for found in outcomes.values() for reward in found]
    if all(reward in (0.0, 1.0) for reward in rewards):
        return None
    right = sum(reward >= RIGHT_FROM for reward in rewards)
    return (
        f"rewards are partial: each accuracy is a mean reward; {right} of {len(rewards)} answers are right, with a"
        f" reward of at least {RIGHT_FROM:g}"
    )


def team_line(numbers: Mapping[str, float]) -> str:
    """The accuracy of the team in some episodes."""
    team, oracle = (percent(numbers.get(f"episode/{name}")).strip() for name in ("score", "oracle"))
    return f"team: accuracy {team}, any answer right {oracle}"


def role_lines(numbers: Mapping[str, float], names: Sequence[str]) -> list[str]:
    """One line per role with those of its numbers that are in `names`, for roles that have any."""
    told: dict[str, list[str]] = {}
    for name, value in numbers.items():
        part, _, rest = name.partition("/")
        role, _, what = rest.partition("/")
        if part == "role" and what in names:
            told.setdefault(role, []).append(f"{what.replace('_', ' ')} {_amount(name, value).strip()}")
    return [f"{role}: {', '.join(found)}" for role, found in told.items()]


def _plainly(name: str) -> str:
    """`generator: tokens` for `role/generator/tokens`."""
    if not name.startswith("role/"):
        return "any answer right"
    _, role, what = name.split("/")
    return f"{role}: {what.replace('_', ' ')}"


def _amount(name: str, value: float | None) -> str:
    if value is not None and name.endswith(("/calls", "/tokens")):
        return f"{value:.1f}"
    return percent(value)


def print_lessons(console: Console, found: "Sequence[Lesson]") -> None:
    """Print what training taught, one row per kind of task, and a sentence for each; pass@k is in the sentence."""
    title = f"accuracy, %, on tasks sorted by {found[0].sorting} other tries of the base"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("base solves", "tasks", "before", "after", "difference"):
        table.add_column(column, justify="left" if column == "base solves" else "right", no_wrap=True)
    for one in found:
        table.add_row(one.kind, str(one.problems), *_before_and_after(one))
    console.print()
    console.print(table)
    for one in found:
        if one.problems:
            console.print(one.sentence, markup=False, soft_wrap=True)


def _before_and_after(one: "Lesson") -> list[str]:
    if one.accuracy is None:
        return ["-", "-", "-"]
    told = []
    for found, sign in ((one.accuracy.after, ""), (one.accuracy.gain, "+")):
        value, low, high = (100 * part for part in found.shown)
        told.append(f"{value:{sign}.1f} [{low:.1f}, {high:.1f}]")
    return [f"{100 * one.accuracy.before.value:.1f}", *told]


def with_interval(interval: Interval | None, sign: str = "") -> str:
    """`45.3 [39.1, 51.6]`, in percent; a dash where there is none."""
    if interval is None:
        return "-"
    value, low, high = (100 * part for part in interval[:3])
    return f"{value:{sign}.1f} [{low:.1f}, {high:.1f}]"
