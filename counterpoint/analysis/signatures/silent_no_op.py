"""A policy that is trained and does not move."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds


def find(history: History, limits: Thresholds) -> list[Finding]:
    findings = []
    for policy in history.policies:
        moved = sum(history.series(f"policy/{policy}/change").values)
        in_loss = history.series(f"policy/{policy}/in_loss")
        steps = [step for step, calls in zip(*in_loss, strict=True) if calls > 0.0]
        if len(steps) >= limits.start and moved == 0.0:
            evidence = (
                f"policy/{policy}/in_loss is above 0 in {len(steps)} steps, and policy/{policy}/change is 0 over all"
                f" {history.last}",
            )
            found = Finding(signature="silent no-op", where=policy, steps=(steps[0], steps[-1]), evidence=evidence)
            findings.append(found)
    return findings


def lacks(history: History, limits: Thresholds) -> str | None:
    return f"{limits.start} training steps" if history.last < limits.start else None


SILENT_NO_OP = Signature(
    name="silent no-op",
    find=find,
    meaning="The loss had calls of a policy, but the policy's weights are those that it began with.",
    advice=(
        "Check policy/<policy>/learning_rate and gradient_norm, and the warm-up; then whether every advantage is 0, and"
        " whether the loss clips every token (loss/<policy>/<role>/clipped)."
    ),
    lacks=lacks,
)
