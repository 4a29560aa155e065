"""Capture of a shared policy by one role."""

from itertools import islice
from typing import NamedTuple

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import (
    Finding,
    Signature,
    Thresholds,
    at_the_start,
    fall_from_the_best,
    lacks_window,
)


def find(history: History, limits: Thresholds) -> list[Finding]:
    found: list[Finding] = []
    for policy in history.policies:
        ends = reversed(range(limits.window, history.last + 1))
        caught = (one for end in ends if (one := captured(history, limits, policy, end)) is not None)
        found += islice(caught, 1)
    return found


def captured(history: History, limits: Thresholds, policy: str, end: int) -> Finding | None:
    """The capture of a policy in the window of steps that ends with `end`; None if there is none."""
    found = captor_of(history, limits, policy, end)
    if found is None:
        return None
    span, others = _span(limits, end), [role for role in history.roles_of(policy) if role != found.role]
    drifts = [text for role in others for text in drift(history, limits, role, span)]
    if not drifts:
        return None
    measured = (
        f"gradient/{policy}/dominance {found.dominance:.2f}, threshold {limits.dominance}",
        f"gradient/{policy}/{found.role}/alignment {found.alignment:.2f}, threshold {limits.alignment}",
    )
    return Finding(signature="capture", where=f"{policy} by {found.role}", steps=span, evidence=(*measured, *drifts))


class Captor(NamedTuple):
    """A role that dominates a policy which other roles use too."""

    role: str
    dominance: float
    alignment: float


def captor_of(history: History, limits: Thresholds, policy: str, end: int) -> Captor | None:
    """The role that dominates a policy in the window of steps that ends with `end`; None if there is none.

    Only the metrics of that window are read.
    """
    span = _span(limits, end)
    roles = history.roles_of(policy)
    updated = history.series(f"gradient/{policy}/dominance").between(*span)
    dominance = updated.mean()
    if len(roles) < 2 or dominance is None or dominance < limits.dominance:
        return None
    shares = {
        role: sum(history.series(f"gradient/{policy}/{role}/share").between(*span).values) / len(updated.steps)
        for role in roles
    }
    largest = max(shares, key=lambda role: shares[role])
    if shares[largest] < limits.dominance:  # dominance is high in every step, but not of the same role
        return None
    alignment = history.series(f"gradient/{policy}/{largest}/alignment").between(*span).mean() or 0.0
    return Captor(largest, dominance, alignment) if alignment >= limits.alignment else None


def _span(limits: Thresholds, end: int) -> tuple[int, int]:
    return end - limits.window + 1, end


def drift(history: History, limits: Thresholds, role: str, span: tuple[int, int]) -> list[str]:
    """The ways in which a role got worse up to the end of a window, in words; empty if it did not."""
    found = []
    accuracy = history.series(f"role/{role}/accuracy").between(1, span[1])
    fall = fall_from_the_best(accuracy, limits.window)
    if fall.counts(limits):
        found.append(f"role/{role}/accuracy fell {fall.amount:.3f} from its best, threshold {limits.decline}")
    for name, least in (("tokens", limits.growth_tokens), ("unreadable", limits.decline)):
        metric = f"role/{role}/{name}"
        before, after = at_the_start(history, metric, limits), history.series(metric).between(*span).mean()
        if before is not None and after is not None and after >= max(limits.growth * before, before + least):
            found.append(f"{metric} went from {before:.3g} to {after:.3g}, threshold {limits.growth:g} times")
    return found


CAPTURE = Signature(
    name="capture",
    find=find,
    meaning=(
        "One role has nearly all of the gradient mass of a policy that other roles use too, its gradient determines the"
        " direction of the policy's updates, and another role gets worse. The study found shared policies captured by"
        " the role with the most gradient mass."
    ),
    advice=(
        'Balance the roles of the policy (algorithm.role_weights = "balance", or the intervention `balance`), or give'
        " the role that suffers a policy of its own."
    ),
    lacks=lacks_window,
)
