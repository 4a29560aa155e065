"""`counterpoint evaluate`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from counterpoint.analysis.intervals import interval
from counterpoint.analysis.paired import Comparison
from counterpoint.analysis.passes import Passes, passes
from counterpoint.analysis.recorded import against_the_team, tokens_per_episode
from counterpoint.analysis.summary import BEHAVIOUR
from counterpoint.analysis.tries import BEFORE, SORTING, tried
from counterpoint.api import check_evaluation, evaluation_rows
from counterpoint.cli.engine import import_without_scipy
from counterpoint.cli.evaluated import check_episodes, keep_episodes, print_first_failure, tell_episodes
from counterpoint.cli.out import Terminal, announce, check_out, keep_until_then, write_out
from counterpoint.cli.tables import partial_rewards, print_controls, print_lessons, role_lines, with_interval
from counterpoint.controlled import AS_IT_IS, Ask, Control, Evaluations, Row
from counterpoint.errors import counted
from counterpoint.evaluation import Evaluation
from counterpoint.event_loop import run_to_end
from counterpoint.progress import percent


def measure(
    target: str,
    overrides: Sequence[str],
    ask: Ask,
    control: Control,
    out: Path | None,
    episodes: Path | None = None,
) -> None:
    """Play the split, print its results, and write them to `out` and its episodes to `episodes` if one is given.

    With a control the run is played as it is and with the control, and the two are compared task by task; so is
    another run. The file is written at the end, with all of them; until then what is done is in the hidden file beside
    it. Neither needs a terminal that is there.
    """
    check_out(out)
    check_episodes(episodes)
    check_evaluation(target, overrides, ask, control)
    announce(f"evaluating {target} on the {ask.split} split ...")
    import_without_scipy()
    console = Terminal(goes_on=out is not None or episodes is not None)
    rows = run_to_end(_shown(console, target, overrides, ask, control, out, episodes))
    tell_episodes(console, rows, episodes)


async def _shown(
    console: Console,
    target: str,
    overrides: Sequence[str],
    ask: Ask,
    control: Control,
    out: Path | None,
    episodes: Path | None,
) -> list[Row]:
    """Every evaluation, printed as soon as it is done; `out` exists once all of them are.

    A study takes a control whose file exists for measured.
    """
    rows: list[Row] = []
    written: dict[str, dict[str, Any]] = {}
    async for row in evaluation_rows(target, overrides, ask, control):
        rows.append(row)
        written[row.name] = _written(row, ask, control)
        keep_until_then(out, written)
        keep_episodes(row, episodes)
        if row.name == SORTING:
            print_lessons(console, Evaluations(rows=tuple(rows)).lessons)
            continue
        if row.difference is not None:
            console.print(f"\n{row.name}", markup=False, soft_wrap=True)
        _print(console, row, ask)
        if row.differences:
            of = "of these two checkpoints, not of their methods" if control.against else "of this checkpoint"
            what = f"this run minus {other(row.name)}: points, paired by task, with 95 % intervals over tasks: {of}"
            console.print(what, markup=False, soft_wrap=True)
            console.print(_differences(row.differences))

    write_out(out, written if control.asked else written[AS_IT_IS])
    return rows


def _differences(differences: Mapping[str, Comparison]) -> Table:
    """The differences of the team and of each role: the run minus a control."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "difference", "p (sign flips)", "tasks"):
        table.add_column(column, justify="left" if column == "" else "right", no_wrap=True)
    for part, both in differences.items():
        table.add_row(part, with_interval(both.difference, "+"), f"{both.p_value:.2g}", str(both.difference.n))
    return table


def other(name: str) -> str:
    """A control as the second part of a difference: `against B` is `B`, `with X` is `the one with X`."""
    if name in (BEFORE, SORTING):
        return f"the base {name}"
    if name.startswith("with "):
        return f"the one {name}"
    return name.removeprefix("against ")


def _written(row: Row, ask: Ask, control: Control) -> dict[str, Any]:
    """An evaluation with its answers, pass@k and majority@k, and the run minus it, for the team and each role.

    Of `--taught` the tries that are right, and how many there are, take the place of the answers.
    """
    found = row.evaluation
    worth = {who: passes(made, ask.samples).as_dict() for who, made in found.role_attempts.items()}
    team = passes(found.attempts, ask.samples).as_dict()
    answers = {"answers": found.answers()} if control.taught is None else {"right": _right(found)}
    written = {**found.row(row.step), **answers, "passes": {"team": team, "roles": worth}}
    if row.difference is None:
        return written
    roles = {role: both.as_dict() for role, both in row.role_differences.items()}
    return {
        **written,
        "difference": {**row.difference.as_dict(), "of": f"this run minus {other(row.name)}", "roles": roles},
    }


def _right(found: Evaluation) -> dict[str, Any]:
    """Task -> the tries that are right, and all tries, of the team and of each role."""
    return {"team": tried(found.attempts), "roles": {who: tried(made) for who, made in found.role_attempts.items()}}


def _print(console: Console, row: Row, ask: Ask) -> None:
    found = row.evaluation
    team = interval([fmean(values) for values in found.outcomes.values()])
    title = f"accuracy on {counted(team.n, f'{found.split} task')}, %, with 95 % intervals"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "accuracy", "unreadable", "truncated", "tokens", "calls"):
        table.add_column(column, justify="left" if column == "" else "right", no_wrap=True)
    table.add_row("team", with_interval(team), "", "", "", "")
    for role, outcomes in found.roles.items():
        own = interval([fmean(values) for values in outcomes.values()])
        numbers = {
            name: found.numbers[f"role/{role}/{name}"] for name in ("unreadable", "truncated", "tokens", "calls")
        }
        table.add_row(
            role,
            with_interval(own),
            percent(numbers["unreadable"]),
            percent(numbers["truncated"]),
            f"{numbers['tokens']:.1f}",
            f"{numbers['calls']:.2f}",
        )
    for name, calls in found.numbers.items():
        if name.endswith("/calls") and not calls:
            table.add_row(name.split("/")[1], "-", "-", "-", "-", f"{calls:.2f}")
    console.print(table)
    shown = ("unreadable", "truncated", "tokens", "calls")
    for line in role_lines(found.numbers, [name for name in BEHAVIOUR if name not in shown]):
        console.print(line, markup=False, soft_wrap=True)
    lost = f"failed: {found.numbers['episode/errors']:g}; not judged: {found.numbers['episode/not_judged']:g}"
    console.print(f"any answer right: {percent(found.numbers['episode/oracle'])}; {lost}", markup=False)
    print_first_failure(console, found)
    if (partial := partial_rewards(found.outcomes)) is not None:
        console.print(partial, markup=False, soft_wrap=True)
    console.print("tokens per call; calls per episode", markup=False)
    if row.difference is None:
        parts = against_the_team(found.row(row.step))
        print_controls(console, f"{team.n} {found.split} tasks", team, tokens_per_episode(found.numbers), parts)
    if ask.samples > 1:
        for who, attempts in (("team", found.attempts), *found.role_attempts.items()):
            console.print(_passes_table(who, passes(attempts, ask.samples)))


def _passes_table(who: str, worth: Passes) -> Table:
    """The table of pass@k and majority@k, with one row per k."""
    title = f"{who}: k answers a task, %, with 95 % intervals"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("k", "one is right (pass@k)", "most are (majority@k)", "tasks"):
        table.add_column(column, justify="right", no_wrap=True)
    for k, any_right in worth.any_right.items():
        table.add_row(str(k), with_interval(any_right), with_interval(worth.majority[k]), str(any_right.n))
    return table
