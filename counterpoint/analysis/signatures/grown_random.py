"""A role that gets worse while its replies become more random than those of the base."""

from counterpoint.analysis.fallen import role_falls
from counterpoint.analysis.history import History
from counterpoint.analysis.signatures._certainty import accuracy_line, certainty_of
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds, lacks_evaluations, shown


def find(history: History, limits: Thresholds) -> list[Finding]:
    findings = []
    for fall in role_falls(history):
        found = certainty_of(history, fall)
        if found is not None and found.last >= limits.random * max(found.base, found.peak):
            evidence = (
                accuracy_line(fall),
                f"{found.words(fall.role)}; threshold {limits.random:g} times both",
                *shown(history, limits, fall.role, {"distance": "from the base", "unreadable": "replies"}),
            )
            steps = (fall.peak_step, history.last)
            findings.append(Finding(signature="grown random", where=fall.role, steps=steps, evidence=evidence))
    return findings


GROWN_RANDOM = Signature(
    name="grown random",
    find=find,
    meaning=(
        "The role is less often right than at its peak, and its replies are more random than those of the model that it"
        " began from: it lost accuracy and certainty, and not one for the other."
    ),
    advice=(
        "Hold the role near the base with a KL penalty (the intervention `anchor_roles`), credit it for its own claims"
        ' (algorithm.credit = "own" or "mix"), or give it a smaller rate (the intervention `role_rates`).'
    ),
    lacks=lacks_evaluations(4),
)
