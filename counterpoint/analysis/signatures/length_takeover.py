"""A role that should judge, choose or plan, and writes the solution instead."""

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

BRIEF = frozenset({"verdict", "choice", "proposal"})
"""Claims of roles whose replies have no reason to become solutions."""


SHAPE = {
    "tokens_p95": "the length that 5 % of its replies exceed",
    "terse": "replies of at most 30 tokens",
    "hedging": "replies that hesitate",
}


def find(history: History, limits: Thresholds) -> list[Finding]:
    findings = []
    for role, claims in history.claims.items():
        evidence = [*_longer(history, limits, role), *_code(history, limits, role)] if claims & BRIEF else []
        if evidence:
            seen = (*evidence, *shown(history, limits, role, SHAPE))
            steps = window(history, limits)
            findings.append(Finding(signature="length takeover", where=role, steps=steps, evidence=seen))
    return findings


def _longer(history: History, limits: Thresholds, role: str) -> list[str]:
    metric = f"role/{role}/tokens"
    before, after = at_the_start(history, metric, limits), now(history, metric, limits)
    if before is None or after is None or after < max(limits.growth * before, before + limits.growth_tokens):
        return []
    return [f"{metric} went from {before:.1f} to {after:.1f}, threshold {limits.growth:g} times"]


def _code(history: History, limits: Thresholds, role: str) -> list[str]:
    metric = f"role/{role}/form_code"
    before, after = at_the_start(history, metric, limits), now(history, metric, limits)
    if before is None or after is None or after < max(limits.code, before + limits.code_rise):
        return []
    return [
        f"{metric} went from {before:.2f} to {after:.2f}, thresholds {limits.code} and a rise of {limits.code_rise}"
    ]


LENGTH_TAKEOVER = Signature(
    name="length takeover",
    find=find,
    meaning=(
        "A role that should give a verdict, a choice or a plan now writes much longer replies than at the start, or"
        " verdicts with code. Often it solves the problem itself, and the other roles no longer matter."
    ),
    advice=(
        "Read its replies (`counterpoint show`). Use a length penalty (algorithm.overlong), or credit the role for its"
        ' own claim instead of the team\'s answer (algorithm.credit = "own").'
    ),
    lacks=lacks_steps,
)
