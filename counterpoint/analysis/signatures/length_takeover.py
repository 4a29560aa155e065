"""A role that should judge, choose or plan, and writes the solution instead."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds, at_the_start, now, window

BRIEF = frozenset({"verdict", "choice", "proposal"})
"""Claims of roles whose replies have no reason to become solutions."""


def find(history: History, limits: Thresholds) -> list[Finding]:
    findings = []
    for role, claims in history.claims.items():
        metric = f"role/{role}/tokens"
        before, after = at_the_start(history, metric, limits), now(history, metric, limits)
        if not claims & BRIEF or before is None or after is None:
            continue
        if after >= max(limits.growth * before, before + limits.growth_tokens):
            evidence = (f"{metric} went from {before:.1f} to {after:.1f}, threshold {limits.growth:g} times",)
            steps = window(history, limits)
            findings.append(Finding(signature="length takeover", where=role, steps=steps, evidence=evidence))
    return findings


LENGTH_TAKEOVER = Signature(
    name="length takeover",
    find=find,
    meaning=(
        "A role whose part is a verdict, a choice or a plan now writes far more than at the start: often it solves the"
        " problem itself, and the roles around it become decoration."
    ),
    advice=(
        "Read its replies (`counterpoint show`). A length penalty (algorithm.overlong), credit for its own claim"
        ' (algorithm.credit = "own") instead of for the team\'s answer.'
    ),
)
