"""One live line a step, one printed line an evaluation, one table at the end."""

from collections.abc import Mapping, Sequence
from time import perf_counter

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from counterpoint.analysis.intervals import Interval
from counterpoint.analysis.summary import Course, Summary


class Progress:
    """Shows the numbers of a run as they come: on a terminal the steps share one line, elsewhere each has its own."""

    def __init__(self, console: Console, roles: Sequence[str], first_step: int, steps: int) -> None:
        self._console = console
        self._roles = roles
        self._first = first_step
        self._steps = steps
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._began = perf_counter()

    def __enter__(self) -> "Progress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, step: int, numbers: Mapping[str, float]) -> None:
        if "eval/missed" in numbers:
            self._console.print(f"eval at {step}: missed, an endpoint is out of reach", markup=False, style="bold")
        elif "eval/test/accuracy" in numbers:
            if step == self._first:  # the time left is that of steps, and of the evaluations among them
                self._began = perf_counter()
            self._console.print(Text(evaluation_line(step, self._roles, numbers), style="bold"), soft_wrap=True)
        elif self._live is not None:
            self._live.update(Text(self._step_line(step, numbers)), refresh=True)
        else:
            self._console.print(self._step_line(step, numbers), markup=False, soft_wrap=True)

    def _step_line(self, step: int, numbers: Mapping[str, float]) -> str:
        left = (perf_counter() - self._began) / (step - self._first) * (self._steps - step)
        return f"{step_line(step, self._steps, self._roles, numbers)} | {clock(left)} left"


def step_line(step: int, steps: int, roles: Sequence[str], numbers: Mapping[str, float]) -> str:
    """What happened in a training step, on the sampled training problems."""
    parts = [f"step {step:{len(str(steps))}}/{steps}", f"team {percent(numbers.get('episode/score'))}"]
    parts += [
        f"{role} {percent(numbers.get(f'role/{role}/accuracy'))}"
        f" (gradient {percent(numbers.get(f'role/{role}/gradient_share'))})"
        for role in roles
    ]
    signals = [numbers[key] for role in roles if (key := f"role/{role}/without_signal") in numbers]
    if signals:
        parts.append(f"signal {percent(1 - sum(signals) / len(signals))}")
    lost = int(numbers.get("episode/errors", 0) + numbers.get("episode/not_judged", 0))
    if lost:
        parts.append(f"{lost} failed or not judged")
    raised = [name for name, value in numbers.items() if name.startswith("warning/") and value]
    if raised:
        parts.append(f"WARNING: {', '.join(name.removeprefix('warning/') for name in raised)}")
    parts.append(f"{numbers['time/step']:.1f} s")
    return " | ".join(parts)


def evaluation_line(step: int, roles: Sequence[str], numbers: Mapping[str, float]) -> str:
    """What an evaluation found."""
    parts = [
        f"eval at {step}: test {percent(numbers['eval/test/accuracy'])}",
        f"validation {percent(numbers['eval/validation/accuracy'])}",
        *(f"{role} {percent(numbers.get(f'eval/test/role/{role}/accuracy'))}" for role in roles),
        f"any answer right {percent(numbers['eval/test/episode/oracle'])}",
    ]
    return " | ".join(parts)


def print_outcome(console: Console, outcome: Summary) -> None:
    """The summary: base, peak and terminal accuracy on the test split, a column for the team and each role.

    As many columns beside each other as the console has room for, the others below.
    """
    courses = [("team", outcome.team), *outcome.roles.items()]
    title = f"accuracy on {outcome.team.base.n} test tasks, %, with 95 % intervals"
    for size in range(len(courses), 0, -1):
        parts = [dict(courses[place : place + size]) for place in range(0, len(courses), size)]
        tables = [_courses_table(outcome, part, None if place else title) for place, part in enumerate(parts)]
        if size == 1 or all(_natural_width(console, table) <= console.width for table in tables):
            for table in tables:
                console.print(table)
            return


def _natural_width(console: Console, table: Table) -> int:
    return console.measure(table, options=console.options.update(max_width=10_000)).maximum


def _courses_table(outcome: Summary, courses: Mapping[str, Course], title: str | None) -> Table:
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
    for name, label in rows.items():
        sign = "+" if name in ("gain", "drop") else ""
        table.add_row(label, *(with_interval(getattr(course, name), sign) for course in courses.values()))
    return table


def print_behaviour(console: Console, outcome: Summary) -> None:
    """What the roles did, at the base, the peak and the end: a row a number that says something anywhere."""
    table = Table(title="behaviour on the test tasks", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "base", "peak", "terminal"):
        table.add_column(column, justify="left" if column == "" else "right", no_wrap=True)
    for name, stages in outcome.behaviour.items():
        if any(stages):
            table.add_row(_plainly(name), *(_amount(name, value) for value in stages))
    console.print(table)


def team_line(numbers: Mapping[str, float]) -> str:
    """How the team did in some episodes."""
    team, oracle = (percent(numbers.get(f"episode/{name}")).strip() for name in ("score", "oracle"))
    return f"team: accuracy {team}, any answer right {oracle}"


def role_lines(numbers: Mapping[str, float], names: Sequence[str]) -> list[str]:
    """A line a role with those of its numbers that are in `names`, for roles that have any."""
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


def percent(value: float | None) -> str:
    """A part of one, as a percentage; a dash where there is none."""
    return "  -" if value is None else f"{100 * value:3.0f}%"


def with_interval(interval: Interval, sign: str = "") -> str:
    """`45.3 [39.1, 51.6]`, in percent."""
    value, low, high = (100 * part for part in interval[:3])
    return f"{value:{sign}.1f} [{low:.1f}, {high:.1f}]"


def clock(seconds: float) -> str:
    """`1:05`, or `2:01:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
