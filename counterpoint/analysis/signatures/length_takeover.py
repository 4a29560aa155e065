"""A role that should judge, choose or plan, and writes the solution instead."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds, at_the_start, lacks_steps, now, window

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
        "A role that should give a verdict, a choice or a plan now writes much longer replies than at the start. Often"
        " it solves the problem itself, and the other roles no longer matter."
    ),
    advice=(
        "Read its replies (`counterpoint show`). Use a length penalty (algorithm.overlong), or credit the role for its"
        ' own claim instead of the team\'s answer (algorithm.credit = "own").'
    ),
    lacks=lacks_steps,
)
