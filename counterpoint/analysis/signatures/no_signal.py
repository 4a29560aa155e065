"""Groups that compare nothing."""

from statistics import fmean

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds, now, window


def find(history: History, limits: Thresholds) -> list[Finding]:
    rates = {role: now(history, f"role/{role}/without_signal", limits) for role in history.roles}
    known = {role: rate for role, rate in rates.items() if rate is not None}
    team = now(history, "episode/score", limits)
    if not known or fmean(known.values()) < limits.without_signal or (team is not None and team >= limits.solved):
        return []
    evidence = tuple(
        f"role/{role}/without_signal {rate:.2f}, threshold {limits.without_signal} on average"
        for role, rate in known.items()
    )
    return [Finding(signature="no signal", where="team", steps=window(history, limits), evidence=evidence)]


NO_SIGNAL = Signature(
    name="no signal",
    find=find,
    meaning="Nearly all groups have equal rewards: there is nothing to learn from, however long the run goes on.",
    advice=(
        "Tasks of another difficulty, a larger group_size, more temperature, or algorithm.resample (dynamic sampling)."
        " If every reward is 0, read the replies first: a format that nobody can read looks the same."
    ),
)
