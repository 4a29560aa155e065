"""`counterpoint evaluate`."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from counterpoint.analysis.intervals import interval
from counterpoint.analysis.paired import Comparison
from counterpoint.analysis.passes import Passes, passes
from counterpoint.analysis.summary import BEHAVIOUR
from counterpoint.api import evaluation_rows
from counterpoint.cli.out import check_out, write_out
from counterpoint.cli.tables import partial_rewards, role_lines, with_interval
from counterpoint.controlled import AS_IT_IS, Ask, Control, Row
from counterpoint.evaluation import Evaluation
from counterpoint.event_loop import run_to_end
from counterpoint.progress import percent


def measure(target: str, overrides: Sequence[str], ask: Ask, control: Control, out: Path | None) -> None:
    """Play the split, print its results, and write them to `out` if one is given.

    With a control the run is played as it is and with the control, and the two are compared task by task; so is
    another run.
    """
    check_out(out)
    rows = run_to_end(_shown(target, overrides, ask, control))
    written = {row.name: _written(row, ask) for row in rows}
    write_out(out, written if len(written) > 1 else written[AS_IT_IS])


async def _shown(target: str, overrides: Sequence[str], ask: Ask, control: Control) -> list[Row]:
    """Every evaluation, printed as soon as it is done."""
    console, rows = Console(highlight=False), []
    async for row in evaluation_rows(target, overrides, ask, control):
        rows.append(row)
        if row.difference is None:
            _print(console, row.evaluation, ask)
        else:
            console.print(f"\n{row.name}", markup=False)
            _print(console, row.evaluation, ask)
            console.print(compared(row.difference), markup=False, soft_wrap=True)
    return rows


def compared(both: Comparison) -> str:
    """The difference of two evaluations, paired by task."""
    points = f"{with_interval(both.difference, '+')} points, p = {both.p_value:.2g}"
    return f"difference to the run, paired by task: {points} (sign flips over {both.difference.n} tasks)"


def _written(row: Row, ask: Ask) -> dict[str, Any]:
    """An evaluation with its answers, pass@k and majority@k, and its difference to the run."""
    found = row.evaluation
    worth = {who: passes(made, ask.samples).as_dict() for who, made in found.role_attempts.items()}
    team = passes(found.attempts, ask.samples).as_dict()
    written = {**found.row(row.step), "answers": found.answers(), "passes": {"team": team, "roles": worth}}
    return written if row.difference is None else {**written, "difference": row.difference.as_dict()}


def _print(console: Console, found: Evaluation, ask: Ask) -> None:
    team = interval([fmean(values) for values in found.outcomes.values()])
    title = f"accuracy on {team.n} {found.split} tasks, %, with 95 % intervals"
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
    if (partial := partial_rewards(found.outcomes)) is not None:
        console.print(partial, markup=False, soft_wrap=True)
    console.print("tokens per call; calls per episode", markup=False)
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
