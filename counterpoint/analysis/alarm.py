"""What is looked for while a run goes on: a cliff, and the capture of a policy."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Thresholds
from counterpoint.analysis.signatures.capture import captured
from counterpoint.analysis.summary import cliff_warning
from counterpoint.policy import Routing
from counterpoint.run import Run


class Alarm:
    """Watches a run as it is written down; begins with what its directory holds."""

    def __init__(self, run: Run, routing: Routing) -> None:
        self._run = run
        self._routing = routing
        self._metrics = run.metrics()
        self._limits = Thresholds()

    def look(self, step: int, numbers: dict[str, float]) -> dict[str, float]:
        """The warnings at a step with these numbers, each 0 or 1; evaluations count that came before it."""
        self._metrics.append({"step": step, **numbers})
        history = History(metrics=self._metrics, evaluations=self._run.evaluations(), routing=self._routing, claims={})
        accuracy = history.evaluated("accuracy", split="validation")
        tasks = [len(row["outcomes"]) for row in history.evaluations if row["split"] == "validation"]
        warnings = {"warning/cliff": float(cliff_warning(accuracy.values, min(tasks, default=1)))}
        for policy in history.policies:
            if len(history.roles_of(policy)) > 1:
                found = captured(history, self._limits, policy, step) if step >= self._limits.window else None
                warnings[f"warning/capture/{policy}"] = float(found is not None)
        return warnings
