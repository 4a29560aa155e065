"""A role whose replies the workflow cannot read."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures._latest import lacks_episodes, latest, rate_of_calls
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds


def find(history: History, limits: Thresholds) -> list[Finding]:
    findings = []
    for role in history.roles:
        rates = [rate_of_calls(record, role, "unreadable") for record in latest(history, limits)]
        high = [rate for rate in rates if rate and rate.among >= limits.calls and rate.value >= limits.unreadable]
        if high:
            evidence = tuple(rate.evidence(f"role/{role}/unreadable", limits.unreadable) for rate in high)
            steps = (high[0].record.steps[0], high[-1].record.steps[1])
            findings.append(Finding(signature="unreadable replies", where=role, steps=steps, evidence=evidence))
    return findings


UNREADABLE_REPLIES = Signature(
    name="unreadable replies",
    find=find,
    meaning=(
        "At least half of the role's replies do not have the form that the workflow reads: each counts as wrong,"
        " whatever it says, and a role that is never readable learns nothing."
    ),
    advice=(
        "Read some replies (`counterpoint show RUN`). If they are cut off, raise rollout.max_tokens; otherwise show the"
        " form with a worked example in the prompt, check that the task reads the form that its prompt asks for, or use"
        " a model that follows instructions."
    ),
    lacks=lacks_episodes,
)
