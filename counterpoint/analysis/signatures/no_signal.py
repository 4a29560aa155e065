"""Groups that compare nothing."""

from statistics import fmean

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds, window


def find(history: History, limits: Thresholds) -> list[Finding]:
    young = history.last < limits.least
    if young and groups(history) < limits.groups:
        return []
    least, span = (1.0, (1, history.last)) if young else (limits.without_signal, window(history, limits))
    rates = {role: history.series(f"role/{role}/without_signal").between(*span).mean() for role in history.roles}
    known = {role: rate for role, rate in rates.items() if rate is not None}
    team = history.series("episode/score").between(*span).mean()
    if not known or fmean(known.values()) < least or (team is not None and team >= limits.solved):
        return []
    evidence = tuple(
        f"role/{role}/without_signal {rate:.2f}, threshold {least:g} on average" for role, rate in known.items()
    )
    return [Finding(signature="no signal", where="team", steps=span, evidence=evidence)]


def groups(history: History) -> float:
    """The number of groups in all training steps."""
    return sum(history.series("episode/tasks").values)


def lacks(history: History, limits: Thresholds) -> str | None:
    enough = history.last >= limits.least or groups(history) >= limits.groups
    return None if enough else f"{limits.groups} groups"


NO_SIGNAL = Signature(
    name="no signal",
    find=find,
    meaning="In nearly all groups every reward is the same: nothing can be learned from them, however long the run is.",
    advice=(
        "Use easier or harder tasks, a larger rollout.group_size, a higher temperature, or dynamic sampling"
        " (algorithm.resample). If every reward is 0, read the replies first: an answer format that cannot be parsed"
        " looks the same."
    ),
    lacks=lacks,
)
