"""The roles' contributions g_r to its joint gradient g = sum of g_r, under any sharing."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Annotated

from pydantic import Field

from counterpoint.diagnostics.base import Diagnostic, Numbers, Step
from counterpoint.learners.base import Contribution, Gradient, coherence, cosine


class RoleGradients(Diagnostic):
    """`role_gradients` in each step; in every `every`-th also by slot, if `every` is not 0."""

    name = "role_gradients"

    def __init__(self, *, every: Annotated[int, Field(ge=0)] = 5) -> None:
        self._every = every

    def slots_apart(self, step: int) -> bool:
        return self._every > 0 and step % self._every == 0

    def look(self, step: Step) -> Numbers:
        return role_gradients(step)


def role_gradients(step: Step) -> Numbers:
    """Norms, shares and alignment per role, cosine per pair of roles, dominance and effective roles per policy.

    What each role adds to the loss, and how much of it was clipped or corrected, is reported too. Policies without
    signal in this step have no numbers. `role/<role>/gradient_share` is the role's part of the sum of
    all contributions' norms, whatever policy they go to: with one shared policy it is its share there.
    """
    by_policy: dict[str, dict[str, Contribution]] = {}
    for source, contribution in step.contributions.items():
        by_policy.setdefault(source.policy, {})[source.role] = contribution
    mass = sum(contribution.gradient.norm() for contribution in step.contributions.values())
    numbers: Numbers = {f"role/{source.role}/gradient_share": 0.0 for source in step.contributions}
    for source, contribution in step.contributions.items() if mass else ():
        numbers[f"role/{source.role}/gradient_share"] += contribution.gradient.norm() / mass
    for policy, roles in by_policy.items():
        numbers |= {f"gradient/{policy}/{name}": value for name, value in policy_numbers(roles).items()}
    for source, contribution in step.contributions.items():
        facts = {"value": contribution.loss, **contribution.facts}
        numbers |= {f"loss/{source.policy}/{source.role}/{name}": value for name, value in facts.items()}
        slots = slot_numbers(list(contribution.slots.values()))
        numbers |= {f"gradient/{source.policy}/{source.role}/{name}": value for name, value in slots.items()}
    return numbers


def policy_numbers(roles: Mapping[str, Contribution]) -> Numbers:
    """The numbers of one policy, `<role>/<name>` where they belong to a role.

    share_r = |g_r| / sum_j |g_j|; dominance = max_r share_r; effective_roles = exp(-sum_r share_r ln share_r);
    alignment_r = cos(g_r, g); cosine(r, q) = cos(g_r, g_q); per_call_norm_r = |g_r| / (weight of r in the loss).
    """
    joint = _sum([contribution.gradient for contribution in roles.values()])
    norms = {role: contribution.gradient.norm() for role, contribution in roles.items()}
    mass = sum(norms.values())
    shares = {role: norm / mass if mass else 0.0 for role, norm in norms.items()}
    numbers: Numbers = {
        "norm": joint.norm(),
        "dominance": max(shares.values()),
        "effective_roles": math.exp(-sum(share * math.log(share) for share in shares.values() if share)),
    }
    for role, contribution in roles.items():
        numbers[f"{role}/norm"] = norms[role]
        numbers[f"{role}/share"] = shares[role]
        numbers[f"{role}/alignment"] = cosine(contribution.gradient, joint)
        numbers[f"{role}/per_call_norm"] = norms[role] / contribution.weight
    for one, other in combinations(sorted(roles), 2):
        numbers[f"{one}+{other}/cosine"] = cosine(roles[one].gradient, roles[other].gradient)
    return numbers


def slot_numbers(gradients: Sequence[Gradient]) -> Numbers:
    """The parallel calls of a role compared: coherence = |sum_s g_s| / sum_s |g_s|, amplification = slots x coherence.

    Amplification is 1 if the slots add up to no more than one of them, and the number of slots if all push alike. One
    slot, or slots without any gradient, have no numbers.
    """
    if len(gradients) < 2 or not any(gradient.norm() for gradient in gradients):
        return {}
    found = coherence(gradients)
    return {"coherence": found, "amplification": len(gradients) * found}


def _sum(gradients: list[Gradient]) -> Gradient:
    total, *others = gradients
    for gradient in others:
        total = total.plus(gradient)
    return total
