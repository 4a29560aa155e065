"""The roles' contributions g_r to its joint gradient g = sum of g_r, under any sharing."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Annotated

from pydantic import Field

from counterpoint.diagnostics.base import Diagnostic, Numbers, Step
from counterpoint.learners.base import Contribution, Gradient, chance_coherence, coherence, cosine, settled


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

    What each role adds to the loss, and how much of it was clipped or corrected, is reported too. Policies without a
    gradient in this step have no other numbers. `role/<role>/gradient_share` is the role's part of the sum of
    all contributions' norms, whatever policy they go to: with one shared policy it is its share there.
    """
    by_policy: dict[str, dict[str, Contribution]] = {}
    for source, contribution in step.contributions.items():
        by_policy.setdefault(source.policy, {})[source.role] = contribution
    mass = sum(contribution.mass for contribution in step.contributions.values())
    numbers: Numbers = {f"role/{source.role}/gradient_share": 0.0 for source in step.contributions if mass}
    for source, contribution in step.contributions.items() if mass else ():
        numbers[f"role/{source.role}/gradient_share"] += contribution.mass / mass
    for policy, roles in by_policy.items():
        found = policy_numbers(roles, updates=step.updates.get(policy, 1), norm=step.norms.get(policy))
        numbers |= {f"gradient/{policy}/{name}": value for name, value in found.items()}
    for source, contribution in step.contributions.items():
        facts = {"value": contribution.loss / step.updates.get(source.policy, 1), **contribution.facts}
        numbers |= {f"loss/{source.policy}/{source.role}/{name}": value for name, value in facts.items()}
        slots = slot_numbers(list(contribution.slots.values()))
        numbers |= {f"gradient/{source.policy}/{source.role}/{name}": value for name, value in slots.items()}
    return numbers


def policy_numbers(roles: Mapping[str, Contribution], *, updates: int = 1, norm: float | None = None) -> Numbers:
    """The numbers of one policy, `<role>/<name>` where they belong to a role; none if no role has a gradient.

    With g_r,u the gradient of role r in update u, g_r = sum_u g_r,u, g = sum_r g_r and M_r = sum_u |g_r,u|:
    share_r = M_r / sum_j M_j; dominance = max_r share_r; effective_roles = exp(-sum_r share_r ln share_r);
    alignment_r = cos(g_r, g); cosine(r, q) = cos(g_r, g_q); norm_r = M_r / `updates`, and the policy's norm =
    `norm` / `updates`, with `norm` = sum_u |g_u|, |g| if it is not given; per_call_norm_r = M_r / (weight of r in the
    loss). A cosine with a gradient that is zero is absent.
    """
    masses = {role: contribution.mass for role, contribution in roles.items()}
    mass = sum(masses.values())
    if not mass:
        return {}
    joint = settled(_sum([contribution.gradient for contribution in roles.values()]), mass)
    shares = {role: own / mass for role, own in masses.items()}
    numbers: Numbers = {
        "norm": (joint.norm() if norm is None else norm) / updates,
        "dominance": max(shares.values()),
        "effective_roles": math.exp(-sum(share * math.log(share) for share in shares.values() if share)),
    }
    cosines: dict[str, float | None] = {}
    for role, contribution in roles.items():
        numbers[f"{role}/norm"] = masses[role] / updates
        numbers[f"{role}/share"] = shares[role]
        numbers[f"{role}/per_call_norm"] = masses[role] / contribution.weight
        cosines[f"{role}/alignment"] = cosine(contribution.gradient, joint)
    for one, other in combinations(sorted(roles), 2):
        cosines[f"{one}+{other}/cosine"] = cosine(roles[one].gradient, roles[other].gradient)
    return numbers | {name: value for name, value in cosines.items() if value is not None}


def slot_numbers(gradients: Sequence[Gradient]) -> Numbers:
    """The parallel calls of a role compared: coherence = |sum_s g_s| / sum_s |g_s|, amplification = slots x coherence.

    Amplification is the number of slots if all push alike, and at `amplification_by_chance` = slots x
    sqrt(sum_s |g_s|^2) / sum_s |g_s| if they are at right angles, as independent ones nearly are: the root of their
    number for slots of one length. One slot, or slots without any gradient, have no numbers.
    """
    if len(gradients) < 2 or not any(gradient.norm() for gradient in gradients):
        return {}
    found, count = coherence(gradients), len(gradients)
    by_chance = count * chance_coherence(gradients)
    return {"coherence": found, "amplification": count * found, "amplification_by_chance": by_chance}


def _sum(gradients: list[Gradient]) -> Gradient:
    total, *others = gradients
    for gradient in others:
        total = total.plus(gradient)
    return total
