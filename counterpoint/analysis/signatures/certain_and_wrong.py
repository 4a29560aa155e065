"""A role that gets worse while it stays certain: its errors are habits, not noise."""

from counterpoint.analysis.fallen import role_falls
from counterpoint.analysis.history import History
from counterpoint.analysis.signatures._certainty import accuracy_line, certainty_of
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds, lacks_evaluations


def find(history: History, limits: Thresholds) -> list[Finding]:
    findings = []
    for fall in role_falls(history):
        found = certainty_of(history, fall)
        if found is None or history.claims.get(fall.role) == frozenset({"choice"}):
            continue  # a role that only chooses gets worse with the answers that it is given
        if found.last <= limits.certain * found.base and found.last <= limits.as_certain * found.peak:
            evidence = (
                accuracy_line(fall),
                f"{found.words(fall.role)}; thresholds {limits.certain:g} times the base and {limits.as_certain:g}"
                " times the peak",
            )
            steps = (fall.peak_step, history.last)
            findings.append(Finding(signature="certain and wrong", where=fall.role, steps=steps, evidence=evidence))
    return findings


CERTAIN_AND_WRONG = Signature(
    name="certain and wrong",
    find=find,
    meaning=(
        "The role is less often right than at its peak and as certain as it was then: it gives its wrong replies as"
        " firmly as its right ones. Where parallel calls agree on them, groups have no contrast from which it could be"
        " learned to undo them."
    ),
    advice=(
        "Go back to the checkpoint of the peak, and train on from there with a lower learning rate or a KL penalty to"
        " the base (the intervention `anchor_roles`). A vote or more samples do not help against errors that every"
        " call makes; look in the evaluations for the tasks that all calls get wrong (`counterpoint show RUN"
        " --evaluation --outcome wrong`)."
    ),
    lacks=lacks_evaluations(4),
)
