"""A role that has stopped to explore before it was right."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds, at_the_start, now, window


def find(history: History, limits: Thresholds) -> list[Finding]:
    findings = []
    for role in history.roles:
        metric = f"role/{role}/entropy"
        before, after = at_the_start(history, metric, limits), now(history, metric, limits)
        accuracy = now(history, f"role/{role}/accuracy", limits)
        if before is None or after is None or (accuracy is not None and accuracy >= limits.solved):
            continue
        if after <= min(limits.entropy, limits.entropy_part * before):
            evidence = (
                f"{metric} went from {before:.3f} to {after:.4f} nats a token, thresholds {limits.entropy} and"
                f" {limits.entropy_part:g} of the start",
            )
            findings.append(
                Finding(signature="entropy collapse", where=role, steps=window(history, limits), evidence=evidence)
            )
    return findings


ENTROPY_COLLAPSE = Signature(
    name="entropy collapse",
    find=find,
    meaning="The role says the same thing every time, though it is not always right: its groups compare nothing.",
    advice=(
        'The intervention `entropy_floor` with algorithm.without_signal = "keep", a lower learning rate, a larger clip'
        " bound upwards (`high`), or a KL to the base."
    ),
)
