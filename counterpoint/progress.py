"""The progress of a run while it trains: one line per step, one per evaluation."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text


class Progress:
    """Shows the numbers of a run as they come.

    On a terminal and in a notebook the steps share one line that is rewritten; elsewhere each step has a line.
    """

    def __init__(self, console: Console, roles: Sequence[str], first_step: int, steps: int) -> None:
        self._console = console
        self._roles = roles
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
        elif "eval/test/accuracy" in numbers:
            if step == self._first:  # the time left is that of steps, and of the evaluations among them
                self._began = perf_counter()
            self._print(evaluation_line(step, self._roles, numbers), style="bold")
        elif self._line is not None:
            self._line.update(self._step_line(step, numbers))
        else:
            self._print(self._step_line(step, numbers))

    def _step_line(self, step: int, numbers: Mapping[str, float]) -> str:
        left = (perf_counter() - self._began) / (step - self._first) * (self._steps - step)
        return f"{step_line(step, self._steps, self._roles, numbers)} | {clock(left)} left"

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
    return _TerminalLine(console) if console.is_terminal else None


def step_line(step: int, steps: int, roles: Sequence[str], numbers: Mapping[str, float]) -> str:
    """The line of a training step: what happened on its training problems."""
    parts = [f"step {step:{len(str(steps))}}/{steps}", f"team {percent(numbers.get('episode/score'))}"]
    shares = comparable_shares(numbers)
    for role in roles:
        gradient = f" (gradient {percent(shares[role])})" if role in shares else ""
        parts.append(f"{role} {percent(numbers.get(f'role/{role}/accuracy'))}{gradient}")
    signals = [numbers[key] for role in roles if (key := f"role/{role}/without_signal") in numbers]
    if signals:
        parts.append(f"signal {percent(1 - sum(signals) / len(signals))}")
    failed = int(numbers.get("episode/errors", 0))
    unjudged = int(numbers.get("episode/not_judged", 0) - numbers.get("episode/errors/endpoint", 0))
    parts += [f"{count} {what}" for count, what in ((failed, "failed"), (unjudged, "not judged")) if count > 0]
    raised = [name for name, value in numbers.items() if name.startswith("warning/") and value]
    if raised:
        parts.append(f"WARNING: {', '.join(name.removeprefix('warning/') for name in raised)}")
    parts.append(f"{numbers['time/step']:.1f} s")
    return " | ".join(parts)


def comparable_shares(numbers: Mapping[str, float]) -> dict[str, float]:
    """Role -> its share of the gradient of the policy that it shares with other roles.

    Roles with a policy of their own are absent: each policy's loss has its own denominator, so the norms of different
    policies say nothing about the roles.
    """
    by_policy: dict[str, dict[str, float]] = {}
    for name, value in numbers.items():
        family, _, rest = name.partition("/")
        if family == "gradient" and rest.endswith("/share"):
            policy, role = rest.removesuffix("/share").rsplit("/", 1)
            by_policy.setdefault(policy, {})[role] = value
    return {role: share for shares in by_policy.values() if len(shares) > 1 for role, share in shares.items()}


def evaluation_line(step: int, roles: Sequence[str], numbers: Mapping[str, float]) -> str:
    """The line of an evaluation."""
    parts = [
        f"eval at {step}: test {percent(numbers['eval/test/accuracy'])}",
        f"validation {percent(numbers['eval/validation/accuracy'])}",
        *(f"{role} {percent(numbers.get(f'eval/test/role/{role}/accuracy'))}" for role in roles),
        f"any answer right {percent(numbers['eval/test/episode/oracle'])}",
    ]
    return " | ".join(parts)


def percent(value: float | None) -> str:
    """A fraction as a percentage; a dash where there is none."""
    return "  -" if value is None else f"{100 * value:3.0f}%"


def clock(seconds: float) -> str:
    """`1:05`, or `2:01:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
