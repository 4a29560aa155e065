"""The progress of a run while it trains: one line per step, one per evaluation."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from counterpoint.analysis.alarm import raised
from counterpoint.analysis.signatures import SIGNATURES
from counterpoint.errors import counted
from counterpoint.options import Spec
from counterpoint.policy import Routing


class Progress:
    """Shows the numbers of a run as they come.

    On a terminal and in a notebook the steps share one line that is rewritten; elsewhere each step has a line. A
    warning stands on its line, and when it is raised for the first time, a line below says what to try.
    """

    def __init__(self, console: Console, routing: Routing, first_step: int, steps: int) -> None:
        self._console = console
        self._routing = routing
        self._warned: set[str] = set()
        self._first = first_step
        self._steps = steps
        self._line = _line_that_is_rewritten(console)
        self._began = perf_counter()

    def __enter__(self) -> "Progress":
        if self._line is not None:
            self._line.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._line is not None:
            self._line.stop()

    def __call__(self, step: int, numbers: Mapping[str, float]) -> None:
        if "eval/missed" in numbers:
            self._print(f"eval at {step}: missed, an endpoint is out of reach", style="bold")
        elif "final/samples" in numbers:
            samples = counted(int(numbers["final/samples"]), "episode")
            self._print(f"evaluating base, peak and the end, {samples} per task ...")
        elif "final/test/accuracy" in numbers:
            self._print(final_line(step, list(self._routing.policy_of), numbers), style="bold")
        elif "eval/test/accuracy" in numbers:
            if step == self._first:  # the time left is that of steps, and of the evaluations among them
                self._began = perf_counter()
            self._print(evaluation_line(step, list(self._routing.policy_of), numbers), style="bold")
        elif self._line is not None:
            self._line.update(self._step_line(step, numbers))
        else:
            self._print(self._step_line(step, numbers))
        for name in dict.fromkeys(warning.signature for warning in raised(numbers)):
            if name not in self._warned:
                self._warned.add(name)
                self._print(f"  {name}, to try: {SIGNATURES.build(Spec(name=name)).advice}")

    def _step_line(self, step: int, numbers: Mapping[str, float]) -> str:
        left = (perf_counter() - self._began) / (step - self._first) * (self._steps - step)
        return f"{step_line(step, self._steps, self._routing, numbers)} | {clock(left)} left"

    def _print(self, line: str, style: str = "") -> None:
        if isinstance(self._line, _NotebookLine):
            print(line)
        else:
            self._console.print(Text(line, style=style), soft_wrap=True)


class _TerminalLine:
    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def start(self) -> None:
        self._live.start()

    def update(self, line: str) -> None:
        self._live.update(Text(line), refresh=True)

    def stop(self) -> None:
        self._live.stop()


class _NotebookLine:
    """One output of the cell, updated through IPython's display protocol, which needs no widgets."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._handle: Any = None

    def start(self) -> None:
        self._handle = self._display({"text/plain": ""}, raw=True, display_id=True)

    def update(self, line: str) -> None:
        self._handle.update({"text/plain": line}, raw=True)

    def stop(self) -> None:
        self._handle.update({"text/plain": ""}, raw=True)


def _line_that_is_rewritten(console: Console) -> _TerminalLine | _NotebookLine | None:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None and hasattr(shell, "kernel"):
        return _NotebookLine(import_module("IPython.display").display)
    is_rewritten = console.is_terminal and not console.is_dumb_terminal  # the latter cannot move its cursor
    return _TerminalLine(console) if is_rewritten else None


def step_line(step: int, steps: int, routing: Routing, numbers: Mapping[str, float]) -> str:
    """The line of a training step: what happened on its training problems.

    A role's share of the gradient is shown where another role has the rest of it: under a policy that they share.
    """
    roles = list(routing.policy_of)
    parts = [f"step {step:{len(str(steps))}}/{steps}", f"team {percent(numbers.get('episode/score'))}"]
    parts += [
        f"{role} {percent(numbers.get(f'role/{role}/accuracy'))}{_share(role, routing, numbers)}" for role in roles
    ]
    signals = [numbers[key] for role in roles if (key := f"role/{role}/without_signal") in numbers]
    if signals:
        parts.append(f"signal {percent(1 - sum(signals) / len(signals))}")
    parts += [*_lost(numbers, "episode/"), *_warnings(numbers), f"{numbers['time/step']:.1f} s"]
    return " | ".join(parts)


def evaluation_line(step: int, roles: Sequence[str], numbers: Mapping[str, float]) -> str:
    """The line of an evaluation; a role's accuracy is the mean over the test tasks, as in the summary."""
    parts = [
        f"eval at {step}: test {percent(numbers['eval/test/accuracy'])}",
        f"validation {percent(numbers['eval/validation/accuracy'])}",
        *(f"{role} {percent(numbers.get(f'eval/test/role/{role}/task_accuracy'))}" for role in roles),
        f"any answer right {percent(numbers['eval/test/episode/oracle'])}",
        *(f"{split}: {lost}" for split in ("test", "validation") for lost in _lost(numbers, f"eval/{split}/episode/")),
        *_warnings(numbers),
    ]
    return " | ".join(parts)


def final_line(step: int, roles: Sequence[str], numbers: Mapping[str, float]) -> str:
    """The line of an evaluation at the end of training, of the test split alone."""
    parts = [
        f"final at {step}: test {percent(numbers['final/test/accuracy'])}",
        *(f"{role} {percent(numbers.get(f'final/test/role/{role}/task_accuracy'))}" for role in roles),
        f"any answer right {percent(numbers['final/test/episode/oracle'])}",
        *(f"test: {lost}" for lost in _lost(numbers, "final/test/episode/")),
    ]
    return " | ".join(parts)


def _share(role: str, routing: Routing, numbers: Mapping[str, float]) -> str:
    policy = routing.policy_of[role]
    shared = [one.name for one in routing.policies if len(one.roles) > 1]
    if not isinstance(policy, str) or policy not in shared:
        return ""
    return f" (gradient {percent(numbers.get(f'gradient/{policy}/{role}/share'))})"


def _lost(numbers: Mapping[str, float], prefix: str) -> list[str]:
    """The episodes that failed, and those that no accuracy counts because their answer was not judged."""
    failed = int(numbers.get(f"{prefix}errors", 0))
    unjudged = int(numbers.get(f"{prefix}not_judged", 0) - numbers.get(f"{prefix}errors/endpoint", 0))
    return [f"{count} {what}" for count, what in ((failed, "failed"), (unjudged, "not judged")) if count > 0]


def _warnings(numbers: Mapping[str, float]) -> list[str]:
    places: dict[str, list[str]] = {}
    for warning in raised(numbers):
        places.setdefault(warning.signature, []).extend([warning.where] if warning.where else [])
    told = [f"{name} ({', '.join(where)})" if where else name for name, where in places.items()]
    return [f"WARNING: {', '.join(told)}"] if told else []


def percent(value: float | None) -> str:
    """A fraction as a percentage; a dash where there is none."""
    return "  -" if value is None else f"{100 * value:3.0f}%"


def clock(seconds: float) -> str:
    """`1:05`, or `2:01:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
