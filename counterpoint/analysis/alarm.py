"""Warnings during training: the beginning of a cliff, and the capture of a shared policy."""

from typing import Any, Protocol

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Thresholds
from counterpoint.analysis.signatures.capture import captor_of, captured
from counterpoint.analysis.summary import cliff_warning
from counterpoint.files import RowReader
from counterpoint.policy import Routing


class Watched(Protocol):
    """A run that is being written, as `counterpoint.run.Run`, which this package does not know."""

    def metric_rows(self) -> list[dict[str, Any]]: ...
    def follow_evaluations(self) -> RowReader: ...


class Alarm:
    """Watches a run while it is written; begins with what its directory holds.

    Every file is read once. The whole course of the metrics, in memory, is gone through only in a step in which one
    role dominates a policy, without which no policy is captured.
    """

    def __init__(self, run: Watched, routing: Routing) -> None:
        self._metrics = run.metric_rows()
        self._reader = run.follow_evaluations()
        self._accuracy: list[float] = []
        self._tasks: list[int] = []
        self._routing = routing
        self._limits = Thresholds()

    def look(self, step: int, numbers: dict[str, float]) -> dict[str, float]:
        """The warnings at a step with these numbers, each 0 or 1, from them and all that was recorded before."""
        self._metrics.append({"step": step, **numbers})
        for row in self._reader.new_rows():
            if row["split"] == "validation":
                self._accuracy.append(row["accuracy"])
                self._tasks.append(len(row["outcomes"]))
        warnings = {"warning/cliff": float(cliff_warning(self._accuracy, min(self._tasks, default=1)))}
        whole, recent = self._history(self._metrics), self._history(self._metrics[-self._limits.window :])
        for policy in whole.policies:
            if len(whole.roles_of(policy)) > 1:
                warnings[f"warning/capture/{policy}"] = float(self._is_captured(whole, recent, policy, step))
        return warnings

    def _is_captured(self, whole: History, recent: History, policy: str, step: int) -> bool:
        if step < self._limits.window or captor_of(recent, self._limits, policy, step) is None:
            return False
        return captured(whole, self._limits, policy, step) is not None

    def _history(self, metrics: list[dict[str, Any]]) -> History:
        return History(metrics=metrics, evaluations=(), routing=self._routing, claims={})
