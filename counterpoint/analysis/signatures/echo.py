"""A role whose replies repeat its prompt."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import (
    Finding,
    Signature,
    Thresholds,
    at_the_start,
    lacks_steps,
    now,
    shown,
    window,
)


def find(history: History, limits: Thresholds) -> list[Finding]:
    findings = []
    for role in history.roles:
        metric = f"role/{role}/echo"
        before, after = at_the_start(history, metric, limits), now(history, metric, limits)
        if before is None or after is None:
            continue
        if after >= limits.echo and after - before >= limits.echo_rise:
            evidence = (
                f"{metric} went from {before:.2f} to {after:.2f}, thresholds {limits.echo} and a rise of"
                f" {limits.echo_rise}",
                *shown(history, limits, role, {"tokens_median": "half of its replies are shorter"}),
            )
            findings.append(Finding(signature="echo", where=role, steps=window(history, limits), evidence=evidence))
    return findings


ECHO = Signature(
    name="echo",
    find=find,
    meaning="The role's replies repeat its prompt, which costs nothing as long as the roles before it are right.",
    advice=(
        "Compare episode/helped with episode/hurt to see whether the role still helps. Credit it for what it adds"
        ' (algorithm.credit = "help_hurt"), or remove it from the workflow.'
    ),
    lacks=lacks_steps,
)
