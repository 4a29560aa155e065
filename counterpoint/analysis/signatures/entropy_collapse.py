"""A role that has stopped to explore before it was right."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds, at_the_start, lacks_steps, now, window


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
                f"{metric} went from {before:.3f} to {after:.4f} nats per token, thresholds {limits.entropy} and"
                f" {limits.entropy_part:g} times the value at the start",
            )
            findings.append(
                Finding(signature="entropy collapse", where=role, steps=window(history, limits), evidence=evidence)
            )
    return findings


ENTROPY_COLLAPSE = Signature(
    name="entropy collapse",
    find=find,
    meaning="The role gives nearly the same reply every time, though not always a right one: groups hold no contrast.",
    advice=(
        'Use the intervention `entropy_floor` with algorithm.without_signal = "keep", a lower learning rate, a larger'
        " upper clip bound (`high`), or a KL penalty to the base."
    ),
    lacks=lacks_steps,
)
