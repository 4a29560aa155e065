"""Each step proves what it trained; a violation stops the run and says which."""

from collections.abc import Collection, Mapping, Sequence

from counterpoint.clock import timed
from counterpoint.episode import Call, Group, calls_of
from counterpoint.errors import ProofError
from counterpoint.learners.base import Learner

Digests = Mapping[str, str]


@timed("proof")
def check_logprobs(learner: Learner, calls: Sequence[Call], tolerance: float) -> dict[str, float]:
    """Policy -> largest difference (nats) between the sampler's log-probabilities and the learner's, over all tokens.

    Raises ProofError if one is above `tolerance`, or is not a number.
    """
    largest: dict[str, float] = {}
    for call, recomputed in zip(calls, learner.logprobs(calls), strict=True):
        for place, (mine, theirs) in enumerate(zip(recomputed, call.logprobs, strict=True)):
            difference = abs(mine - theirs)
            if not difference <= tolerance:
                raise ProofError(
                    f"policy {call.policy!r}: the sampler gave token {place} of a call by {call.key.role} (version"
                    f" {call.version}) a log-probability of {theirs:.6f}, the learner {mine:.6f}: they differ by more"
                    f" than run.proof_tolerance = {tolerance:g}"
                )
            largest[call.policy] = max(largest.get(call.policy, 0.0), difference)
    return largest


def calls_to_check(groups: Sequence[Group], policies: Collection[str], count: int) -> list[Call]:
    """For each of `policies`, those that the learner holds, `count` of its calls, spread evenly over the step."""
    by_policy: dict[str, list[Call]] = {}
    for _, call in calls_of(groups):
        if call.policy in policies:
            by_policy.setdefault(call.policy, []).append(call)
    return [
        calls[place * len(calls) // min(count, len(calls))]
        for calls in by_policy.values()
        for place in range(min(count, len(calls)))
    ]


def check_moves(before: Digests, after: Digests, trained: Collection[str]) -> None:
    """Raises ProofError unless exactly the policies in `trained` have other weights than before."""
    for policy in after:
        changed = before[policy] != after[policy]
        if policy in trained and not changed:
            raise ProofError(f"policy {policy!r} was trained, but its weights are what they were before the step")
        if policy not in trained and changed:
            raise ProofError(f"policy {policy!r} had no signal in this step, but its weights have changed")


def check_restored(saved: Digests, learner: Digests) -> None:
    """Raises ProofError unless the learner holds exactly the weights that were saved."""
    for policy, digest in saved.items():
        if learner.get(policy) != digest:
            found = learner.get(policy, "nothing")[:12]
            raise ProofError(f"policy {policy!r}: the checkpoint was of {digest[:12]}, what was loaded is {found}")


def check_published(learner: Digests, sampler: Digests) -> None:
    """Raises ProofError unless the sampler speaks with the learner's weights, for every policy."""
    for policy, digest in learner.items():
        if sampler.get(policy) != digest:
            found = sampler.get(policy, "nothing")[:12]
            raise ProofError(f"policy {policy!r}: the learner holds {digest[:12]}, the sampler speaks with {found}")
