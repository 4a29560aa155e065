"""A policy that is trained and does not move."""

from counterpoint.history import History
from counterpoint.signatures.base import Finding, Signature, Thresholds


def find(history: History, limits: Thresholds) -> list[Finding]:
    findings = []
    for policy in history.policies:
        moved = sum(history.series(f"policy/{policy}/change").values)
        in_loss = [
            step
            for role in history.roles_of(policy)
            for step, part in zip(*history.series(f"role/{role}/in_loss"), strict=True)
            if part > 0.0
        ]
        steps = sorted(set(in_loss))
        if len(steps) >= limits.start and moved == 0.0:
            evidence = (
                f"its roles had samples in the loss in {len(steps)} steps, and policy/{policy}/change is 0 over all"
                f" {history.last} steps",
            )
            findings.append(
                Finding(signature="silent no-op", where=policy, steps=(steps[0], steps[-1]), evidence=evidence)
            )
    return findings


SILENT_NO_OP = Signature(
    name="silent no-op",
    find=find,
    meaning="There was something to learn, and the weights of a policy are those it began with.",
    advice=(
        "Look at policy/<policy>/learning_rate, at the policy's update schedule and warm-up, and whether it is frozen"
        " (policy.<policy>.trainable)."
    ),
)
