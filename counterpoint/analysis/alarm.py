"""Warnings during training: what does not work from the first step, the beginning of a cliff, and captured policies."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any, NamedTuple, Protocol

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures import EARLY, SIGNATURES
from counterpoint.analysis.signatures.base import Thresholds
from counterpoint.analysis.signatures.capture import captor_of, captured
from counterpoint.files import RowReader
from counterpoint.options import Spec
from counterpoint.policy import Routing

OF_ROLES = ("cut-off replies", "unreadable replies", "silent role")
"""The early signatures that a role has; the others are the team's."""
_WARNING = "warning/"


class Watched(Protocol):
    """A run that is being written, as `counterpoint.run.Run`, which this package does not know."""

    def metric_rows(self) -> list[dict[str, Any]]: ...
    def follow_evaluations(self) -> RowReader: ...


class Warned(NamedTuple):
    """A warning that is raised."""

    signature: str
    where: str
    """The role or policy; empty for the team."""


class Alarm:
    """Watches a run while it is written; begins with what its directory holds.

    Every file is read once. The whole course of the metrics, in memory, is gone through for a captured policy only in a
    step in which one role dominates it, without which no policy is captured.
    """

    def __init__(self, run: Watched, routing: Routing) -> None:
        self._metrics = run.metric_rows()
        self._reader = run.follow_evaluations()
        self._evaluations: list[dict[str, Any]] = []
        self._validation: list[dict[str, float]] = []
        self._falling = False
        self._routing = routing
        self._limits = Thresholds()
        self._early = {name: SIGNATURES.build(Spec(name=name)) for name in EARLY}

    def look(self, step: int, numbers: dict[str, float]) -> dict[str, float]:
        """The warnings at a step with these numbers, each 0 or 1, from them and all that was recorded before."""
        self._metrics.append({"step": step, **numbers})
        self._read()
        warnings = {"warning/cliff": float(self._falling)}
        whole, recent = self._history(self._metrics), self._history(self._metrics[-self._limits.window :])
        for policy in whole.policies:
            if len(whole.roles_of(policy)) > 1:
                warnings[f"warning/capture/{policy}"] = float(self._is_captured(whole, recent, policy, step))
        return warnings | self._early_warnings()

    def evaluated(self, numbers: dict[str, float]) -> dict[str, float]:
        """The numbers of an evaluation that has been recorded, with the early warnings from all there is."""
        self._read()
        return numbers | self._early_warnings()

    def _read(self) -> None:
        known = len(self._validation)
        for row in self._reader.new_rows():
            kept = {name: row[name] for name in ("step", "split", "accuracy", "numbers")}
            self._evaluations.append(kept)
            if row["split"] == "validation":
                self._validation.append({task: fmean(values) for task, values in row["outcomes"].items()})
        if len(self._validation) > known:
            from counterpoint.analysis.cliff import cliff_warning  # numpy, which a command that reads can do without

            self._falling = cliff_warning(self._validation)

    def _early_warnings(self) -> dict[str, float]:
        history = self._history(self._metrics)
        warnings: dict[str, float] = {}
        for name, signature in self._early.items():
            where = {finding.where for finding in signature.find(history, self._limits)}
            if name in OF_ROLES:
                warnings |= {f"{warning_of(name)}/{role}": float(role in where) for role in history.roles}
            else:
                warnings[warning_of(name)] = float(bool(where))
        return warnings

    def _is_captured(self, whole: History, recent: History, policy: str, step: int) -> bool:
        if step < self._limits.window or captor_of(recent, self._limits, policy, step) is None:
            return False
        return captured(whole, self._limits, policy, step) is not None

    def _history(self, metrics: list[dict[str, Any]]) -> History:
        return History(metrics=metrics, evaluations=self._evaluations, routing=self._routing, claims={})


def warning_of(signature: str) -> str:
    """The name of the number that warns of a signature: `warning/unreadable_replies`."""
    return _WARNING + signature.replace(" ", "_").replace("-", "_")


def raised(numbers: Mapping[str, float]) -> list[Warned]:
    """The warnings among the numbers of a step or an evaluation that are not 0, in their order."""
    signatures = {warning_of(name).removeprefix(_WARNING): name for name in SIGNATURES.members}
    found = [name.removeprefix(_WARNING) for name, value in numbers.items() if name.startswith(_WARNING) and value]
    parts = [name.partition("/") for name in found]
    return [Warned(signatures[kind], where) for kind, _, where in parts if kind in signatures]
