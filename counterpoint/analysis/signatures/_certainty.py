"""The certainty of a role that fell, at its peak and at the end."""

from dataclasses import replace
from typing import NamedTuple

from counterpoint.analysis.fallen import RoleFall
from counterpoint.analysis.history import History
from counterpoint.analysis.milestones import LAST


class Certainty(NamedTuple):
    """The entropy of a role in test evaluations, in nats per token."""

    base: float
    peak: float
    """The mean over the evaluation of the role's peak and the two beside it."""
    last: float
    """The mean over the last evaluations of weights that the run trained."""

    def words(self, role: str) -> str:
        """The values in a line of evidence, without thresholds."""
        return (
            f"role/{role}/entropy in evaluations: {self.base:.3f} at the base, {self.peak:.3f} at its peak,"
            f" {self.last:.3f} at the end"
        )


def certainty_of(history: History, fall: RoleFall) -> Certainty | None:
    """None if the entropy was not recorded, as of an endpoint, or is 0 at the base or the peak."""
    trained = replace(history, evaluations=[row for row in history.evaluations if not row.get("rolled_back")])
    steps, values = trained.evaluated(f"role/{fall.role}/entropy")
    if fall.peak_step not in steps or steps[0] != 0:
        return None
    place = steps.index(fall.peak_step)
    near, last = values[max(0, place - 1) : place + 2], values[-LAST:]
    found = Certainty(values[0], sum(near) / len(near), sum(last) / len(last))
    return found if found.base > 0.0 and found.peak > 0.0 else None


def accuracy_line(fall: RoleFall) -> str:
    """The fall of the role in a line of evidence."""
    drop = fall.drop
    return (
        f"its own accuracy fell by {drop.value:.3f} [{drop.low:.3f}, {drop.high:.3f}] from its peak at step"
        f" {fall.peak_step}, paired over tasks, by the rule for a team's fall"
    )
