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
    meaning="In nearly all groups every reward is the same: nothing can be learned from them, however long the run is.",
    advice=(
        "Use easier or harder tasks, a larger rollout.group_size, a higher temperature, or dynamic sampling"
        " (algorithm.resample). If every reward is 0, read the replies first: an answer format that cannot be parsed"
        " looks the same."
    ),
)
